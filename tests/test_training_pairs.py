"""Datasets of pairs: both layouts, others' column names, and rows that cannot be used."""

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
def test_a_folder_with_a_table_is_a_dataset_whatever_its_columns_are_called(folder, header):
    pairs = read_pairs(write(folder, ROWS, header=header))
    assert [p.instruction for p in pairs.good] == ["make it snow", "make it night"]
    assert pairs.good[0].input == str(folder / "in/0.png") and not pairs.bad


def test_the_imagefolder_layout_and_json_lines_are_read_and_other_columns_passed_over(folder):
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
    told = [f"{row.where}: {row.why}" for row in pairs.bad]
    words = ["line 4", "line 5", "line 6: instruction", "line 7: edited", "48x32 and 64x32"]
    assert all(word in text for word, text in zip(words, told, strict=True)), told


def test_a_dataset_without_one_good_row_says_why(folder):
    with pytest.raises(SourceError, match=r"not one row.*line 2.*gone"):
        read_pairs(write(folder, ["in/gone.png,x,out/0.png"]))


def test_what_is_no_dataset_is_refused_in_words(folder):
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
    told = []
    read_pairs(write(folder, ROWS), progress=told.append)
    assert told == [1, 2]
