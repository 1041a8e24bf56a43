"""Datasets of pairs: both layouts, alternative column names, and rows that cannot be used."""

import json

import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.training.pairs import find_table, read_pairs

from .pictures import save, scene


@pytest.fixture
def folder(tmp_path):
    for name in ("in/0.png", "in/1.jpg", "out/0.png", "out/1.jpg"):
        save(tmp_path / name, scene(48, 32))
    return tmp_path


def write(folder, rows, name="pairs.csv", header="input,instruction,edited"):
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


ROWS = ["in/0.png,make it snow,out/0.png", "in/1.jpg,make it night,out/1.jpg"]


@pytest.mark.parametrize(
    "header",
    [
        "input,instruction,edited",
        "original_image,edit_prompt,edited_image",
        "input_file_name,edit,edited_file_name",
    ],
)
def test_alternative_column_names_are_accepted(folder, header):
    pairs = read_pairs(write(folder, ROWS, header=header))
    assert [p.instruction for p in pairs.good] == ["make it snow", "make it night"]
    assert pairs.good[0].input == str(folder / "in/0.png") and not pairs.bad


def test_the_imagefolder_layout_is_read_and_other_columns_are_ignored(folder):
    row = {"input_image": "in/0.png", "edit_prompt": "x", "edited_image": "out/0.png", "clip": 0.3}
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    assert len(read_pairs(folder).good) == 1
    assert len(read_pairs(folder / "metadata.jsonl").good) == 1


def test_bad_rows_are_listed_with_their_line_and_the_others_kept(folder):
    (folder / "in/text.png").write_text("no picture")
    save(folder / "out/wide.png", scene(64, 32))
    rows = [
        *ROWS,
        "in/gone.png,make it snow,out/0.png",
        "in/text.png,make it snow,out/0.png",
        "in/0.png,  ,out/0.png",
        "in/0.png,make it snow,",
        "in/0.png,make it snow,out/wide.png",
    ]
    pairs = read_pairs(write(folder, rows))
    assert len(pairs.good) == 2
    lines = [f"{row.location}: {row.reason}" for row in pairs.bad]
    words = ["line 4", "line 5", "line 6: instruction", "line 7: edited", "48x32 and 64x32"]
    assert all(word in text for word, text in zip(words, lines, strict=True)), lines


def test_a_dataset_without_a_good_row_is_refused_with_the_first_reason(folder):
    with pytest.raises(SourceError, match=r"no row can be used.*line 2.*gone"):
        read_pairs(write(folder, ["in/gone.png,x,out/0.png"]))


def test_a_source_that_is_not_a_dataset_is_refused(folder):
    with pytest.raises(SourceError, match="no table"):
        find_table(folder)
    write(folder, ROWS)
    write(folder, ROWS, name="metadata.csv")
    with pytest.raises(SourceError, match="2 tables"):
        find_table(folder)
    with pytest.raises(SourceError, match="no such dataset"):
        find_table(folder / "nowhere")
    with pytest.raises(SourceError, match="two columns for 'input'"):
        read_pairs(write(folder, ["a,b,c,d"], "x.csv", "input,source,instruction,edited") / "x.csv")


def test_progress_counts_rows(folder):
    counts = []
    read_pairs(write(folder, ROWS), progress=counts.append)
    assert counts == [1, 2]
