"""Manifests: lists of images, each with its own instruction."""

import json
import os
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.codec import decode, encode
from ip2p_batch.jobs.spec import Item
from ip2p_batch.media.images.listing import measure_items, read_manifest


def manifest(tmp_path, text, name="list.csv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return read_manifest(path, tmp_path / "out", format=options.get("format")).items


def test_each_row_has_its_own_instruction(tmp_path):
    items = manifest(
        tmp_path,
        "path,instruction,output,seed,negative_prompt\r\n"
        "a.jpg,make it snow,,,\r\n"
        'deep/b.png,"make it night, with stars",x/c.png,7,blurry\r\n'
        "\r\n"
        '/photos/d.tif,"two\r\nlines",,0,\r\n',
    )
    assert items == [
        Item(
            source=str(tmp_path / "a.jpg"),
            output=str(tmp_path / "out/a.jpg"),
            instruction="make it snow",
        ),
        Item(
            source=str(tmp_path / "deep/b.png"),
            output=str(tmp_path / "out/x/c.png"),
            instruction="make it night, with stars",
            seed=7,
            negative_prompt="blurry",
        ),
        Item(
            source="/photos/d.tif",
            output=str(tmp_path / "out/d.tif"),
            instruction="two\nlines",
            seed=0,
        ),
    ]


def test_json_lines_give_the_same_items_as_csv(tmp_path):
    rows = [
        {"path": "a.jpg", "instruction": "füge Schnee hinzu", "seed": 3},
        {"path": "../b.png", "negative_prompt": "", "output": "deep/b.webp"},
        {"path": "c.png", "instruction": None, "seed": None},
    ]
    text = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    items = manifest(tmp_path, text, "list.jsonl")
    assert [i.error for i in items] == [None] * 3
    assert items[0].instruction == "füge Schnee hinzu" and items[0].seed == 3
    assert items[1].source == str(tmp_path.parent / "b.png")
    assert items[1].output == str(tmp_path / "out/deep/b.webp") and items[1].negative_prompt == ""
    assert items[2].instruction is None and items[2].seed is None


def test_a_byte_order_mark_and_tabs_are_accepted(tmp_path):
    assert manifest(tmp_path, "\ufeffpath,instruction\na.jpg,x\n")[0].error is None
    assert manifest(tmp_path, "Path\tInstruction\na.jpg\tx, y\n", "a.tsv")[0].instruction == "x, y"


def test_an_image_may_be_edited_twice_with_two_outputs(tmp_path):
    items = manifest(
        tmp_path, "path,instruction,output\na.jpg,x,1.jpg\na.jpg,y,2.jpg\na.jpg,z,2.jpg\n"
    )
    assert [i.error is None for i in items] == [True, True, False]
    assert "is already the output of" in items[2].error


def test_an_output_that_is_a_source_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,output\na.jpg,b.jpg\nb.jpg,c.jpg\n")
    items = read_manifest(path, tmp_path).items
    assert "is itself an image to edit" in (items[0].error or "")
    assert items[1].error is None


def test_the_format_changes_suffixes_as_in_a_folder(tmp_path):
    items = manifest(tmp_path, "path,output\na.jpg,\nb.jpg,x.jpeg\n", format="png")
    assert [os.path.basename(i.output) for i in items] == ["a.png", "x.png"]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (",make it snow,,", "line 2: path is missing"),
        ("a.jpg,x,,seven", "line 2: seed 'seven' is not a whole number"),
        ("a.jpg,x,,1.5", "line 2: seed '1.5' is not a whole number"),
        ("a.jpg,x,,-1", "line 2: seed is -1; it must be a whole number from 0 to 2^63 - 1"),
        ("a.jpg,x,,9223372036854775808", "line 2: seed is 9223372036854775808; it must be"),
        ("a.jpg,x,../y.jpg,", "line 2: output ../y.jpg is not inside"),
        ("a.jpg,x,/etc/y.jpg,", "line 2: output /etc/y.jpg is not inside"),
        ("a.jpg,x,y/../../y.jpg,", "line 2: output y/../../y.jpg is not inside"),
        ("a.jpg,x,y.gif,", "line 2: output y.gif has no suffix of a known format"),
        ("a.jpg,x,y,", "line 2: output y has no suffix of a known format"),
        ("a,x,,", "line 2: a has no suffix of a known format"),
        ("a.jpg,make it snow, please,,,", "line 2: 2 cells more than the header names"),
        ("a\0.jpg,x,,", "line 2: path holds characters"),
    ],
)
def test_an_invalid_row_becomes_an_error_with_its_line(tmp_path, row, error):
    items = manifest(tmp_path, f"path,instruction,output,seed\n{row}\nz.jpg,x,,1\n")
    assert (items[0].error or "").startswith(error)
    assert items[1].error is None and items[1].seed == 1
    assert "\0" not in items[0].source


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ('{"instruction": "x"}', "line 1: path is missing"),
        ('{"path": 7}', "line 1: path is not text"),
        ('{"path": "a.jpg", "instruction": ["x"]}', "line 1: instruction is not text"),
        ('{"path": "a.jpg", "seed": true}', "line 1: seed True is not a whole number"),
        ('{"path": "a.jpg", "seed": 1.5}', "line 1: seed 1.5 is not a whole number"),
        ('{"path": "a\\ud800.jpg"}', "line 1: path holds characters"),
        ('{"path": "a.jpg", "instruction": "\\ud800"}', "line 1: instruction holds characters"),
    ],
)
def test_an_invalid_json_row_becomes_an_error_with_its_line(tmp_path, row, error):
    items = manifest(tmp_path, f'{row}\n{{"path": "z.jpg"}}\n', "list.jsonl")
    assert (items[0].error or "").startswith(error) and items[1].error is None
    assert all(decode(encode(item), Item) == item for item in items)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("l.csv", "path,instuction\na.jpg,x\n", "line 1 names a column 'instuction'"),
        ("l.csv", "instruction\nx\n", "line 1 names no column 'path'"),
        ("l.csv", "path,seed,seed\na.jpg,1,2\n", "line 1 names the column 'seed' twice"),
        ("l.csv", 'path,instruction\na.jpg,x\nb.jpg,"never closed\nc', "line 3 is not CSV"),
        ("l.csv", 'path,instruction\na.jpg,"x"y\n', "line 2 is not CSV"),
        ("l.jsonl", '{"path": "a.jpg"}\n{"path": \n', "line 2 is not JSON"),
        ("l.jsonl", '["a.jpg"]\n', "line 1 is not an object"),
        (
            "l.jsonl",
            '{"path": "a.jpg"}\n\n{"paths": "b"}\n{"path":\n',
            "line 3 names a column 'paths'; line 4 is not JSON",
        ),
        ("l.txt", "a.jpg\n", "not a table"),
    ],
)
def test_a_malformed_manifest_is_refused_with_its_line(tmp_path, name, text, reason):
    with pytest.raises(SourceError) as caught:
        manifest(tmp_path, text, name)
    assert caught.value.message.startswith(f"{tmp_path / name}: {reason}") and caught.value.hint


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_manifest(tmp_path / "missing.csv", tmp_path)


def test_a_row_may_have_its_own_steps_and_scales_with_a_decimal_comma(tmp_path):
    items = manifest(
        tmp_path,
        "path;guidance_scale;Image Guidance Scale;num-inference-steps\n"
        "a.jpg;7,5;1.25;30\nb.jpg;;;20.0\nc.jpg;0,5;;\nd.jpg;x;;\ne.jpg;;;0\nf.jpg;nan;;\n",
    )
    own = [(i.guidance_scale, i.image_guidance_scale, i.num_inference_steps) for i in items]
    assert own[:2] == [(7.5, 1.25, 30), (None, None, 20)]
    errors = [item.error or "" for item in items]
    assert errors[:2] == ["", ""]
    assert errors[2].startswith("line 4: guidance_scale is 0.5; it must be a number from 1 to 100")
    assert errors[3] == "line 5: guidance_scale 'x' is not a number"
    assert errors[4].startswith("line 6: num_inference_steps is 0; it must be a whole number")
    assert errors[5] == "line 7: guidance_scale is nan; it must be a number from 1 to 100"


def test_an_empty_instruction_means_the_commands(tmp_path):
    items = manifest(tmp_path, "path,instruction\na.jpg,x\nb.jpg, \nc.jpg\n")
    assert [item.instruction for item in items] == ["x", None, None]
    (item,) = manifest(tmp_path, '{"path": "a.jpg", "instruction": ""}\n', "l.jsonl")
    assert item.instruction is None and item.error is None


def test_other_columns_are_ignored_and_noted_once(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('SKU,path,instruction,price\n4711,a.jpg,x,"9,99"\n')
    listing = read_manifest(path, tmp_path / "out")
    assert [item.instruction for item in listing.items] == ["x"]
    assert listing.notes == ("list.csv: ignored columns: 'SKU', 'price'.",)


def test_backslashes_separate_folders(tmp_path):
    (tmp_path / "shoes").mkdir()
    (tmp_path / "shoes/red.jpg").touch()
    (tmp_path / "odd\\name.jpg").touch()  # its own name comes first
    items = manifest(
        tmp_path,
        "path,output\nshoes\\red.jpg,new\\r.jpg\nodd\\name.jpg,\nC:\\p\\a.jpg,\nshoes\\red.jpg,..\\..\\r.jpg",
    )
    assert items[0].source == str(tmp_path / "shoes/red.jpg")
    assert items[0].output == str(tmp_path / "out/new/r.jpg")
    assert items[1].source == str(tmp_path / "odd\\name.jpg")
    assert "is on a drive of Windows" in (items[2].error or "")
    assert "is not inside" in (items[3].error or "")


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_found_in_either_unicode_normal_form(tmp_path, on_disk, in_table):
    name = "Gr\u00fcn/\u00e9t\u00e9.jpg"
    path = tmp_path / unicodedata.normalize(on_disk, name)
    path.parent.mkdir()
    path.touch()
    text = "path\n" + unicodedata.normalize(in_table, name) + "\n"
    (item,) = manifest(tmp_path, text)
    assert item.source == str(path)


def test_a_manifest_without_rows_lists_nothing(tmp_path):
    assert manifest(tmp_path, "path,instruction\n") == []
    assert manifest(tmp_path, "") == [] and manifest(tmp_path, "\n\n", "l.jsonl") == []


@given(text=st.text(max_size=80), name=st.sampled_from(["l.csv", "l.jsonl"]))
@settings(max_examples=150)
def test_any_text_gives_items_or_a_source_error(tmp_path_factory, text, name):
    folder = tmp_path_factory.mktemp("m")
    for content in (text, f"path,instruction\n{text}", json.dumps({"path": text})):
        (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            items = read_manifest(folder / name, folder / "out").items
        except SourceError as error:
            assert str(folder / name) in error.message
        else:
            for item in measure_items(items):
                msgspec.json.encode(item)
                assert item.error
