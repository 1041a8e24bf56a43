"""Tables: separators, encodings, Parquet, and faults."""

import csv
import io

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from ip2p_batch.errors import SourceError
from ip2p_batch.media.table import parse_number, read_table
from ip2p_batch.media.table_text import decode_text, find_delimiter

COLUMNS = ("path", "instruction", "seed")
TEXT = 'path;instruction\r\nschuhe/gr\u00fcn.jpg;"make it ""snow""; with ice"\r\n'
ROWS = [("line 2", {"path": "schuhe/gr\u00fcn.jpg", "instruction": 'make it "snow"; with ice'})]


def table(tmp_path, data, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path, COLUMNS, required=("path",))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_encodings_are_detected(tmp_path, encoding):
    result = table(tmp_path, TEXT.encode(encoding))
    assert list(result.rows) == ROWS and not result.notes


def test_other_text_is_read_as_windows_1252_with_a_note(tmp_path):
    result = table(tmp_path, TEXT.encode("cp1252"))
    assert list(result.rows) == ROWS
    (note,) = result.notes
    assert "line 2 is not UTF-8" in note and "Windows-1252 (cp1252)" in note
    with pytest.raises(SourceError, match="line 2 is neither UTF-8 nor Windows-1252"):
        table(tmp_path, b"path\n\x81.jpg\n")


def test_excels_separator_line_names_the_separator_and_keeps_line_numbers(tmp_path):
    for first in ("sep=;", '"sep=;"', "SEP=;"):
        result = table(tmp_path, "\ufeff" + first + "\r\n" + TEXT)
        assert list(result.rows) == [("line 3", ROWS[0][1])]


@pytest.mark.parametrize("name", ["l.csv", "l.tsv"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@given(
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    cells=st.lists(st.text("ab,;|\t\"'\u00fc \n", min_size=1, max_size=9), min_size=2, max_size=2),
)
def test_any_separator_is_detected_from_the_header(
    tmp_path_factory, name, quoting, delimiter, cells
):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)
    writer.writerows([["Path", " Instruction"], ["x" + cells[0], cells[1]]])
    result = table(tmp_path_factory.mktemp("t"), text.getvalue(), name)
    assert [row for _, row in result.rows] == [{"path": "x" + cells[0], "instruction": cells[1]}]


def test_one_column_needs_no_separator(tmp_path):
    assert table(tmp_path, "path\na;b.jpg\n").rows == (("line 2", {"path": "a;b.jpg"}),)
    assert find_delimiter("a|b|c", ("path",), ",")[1] == "|"


def test_one_error_lists_all_faulty_lines(tmp_path):
    with pytest.raises(SourceError) as caught:
        table(tmp_path, 'path,seed\na,1\n"b"b,2\nc,3\n"d"d,4\n')
    assert "line 3 is not CSV" in caught.value.message
    assert "line 5 is not CSV" in caught.value.message
    with pytest.raises(SourceError, match=r"line 10 is not JSON[^;]*; and 3 more"):
        table(tmp_path, "{\n" * 13, "l.jsonl")


def test_a_misspelled_column_is_refused_unless_the_right_one_is_there(tmp_path):
    with pytest.raises(SourceError, match="line 1 names a column 'instruktion'") as caught:
        table(tmp_path, "path,instruktion\n")
    assert caught.value.hint == "Rename it to 'instruction'."
    result = table(tmp_path, "path,instruction,instructions\na,x,y\n")
    assert result.notes == ("list.csv: ignored columns: 'instructions'.",)


def test_parquet_has_rows_of_values(tmp_path):
    columns = {"path": ["a.jpg", "b.jpg"], "seed": [7.0, None], "sku": [[1], [2]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "l.parquet")
    result = read_table(tmp_path / "l.parquet", COLUMNS, required=("path",))
    assert result.rows == (
        ("row 1", {"path": "a.jpg", "seed": 7.0}),
        ("row 2", {"path": "b.jpg", "seed": None}),
    )
    assert result.notes == ("l.parquet: ignored columns: 'sku'.",)
    with pytest.raises(SourceError, match="it is not a Parquet table"):
        table(tmp_path, b"PAR1", "damaged.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SourceError, match="requires pyarrow") as caught:
        table(tmp_path, b"PAR1", "l.parquet")
    assert "ip2p-batch[parquet]" in caught.value.hint


@pytest.mark.parametrize("value", ["x", "1,2,3", "1e999x", "", True, [1], "nan", "inf", 1.5])
def test_a_cell_that_is_no_whole_number_is_refused_or_empty(value):
    if value == "":
        assert parse_number(value, int) is None
        return
    with pytest.raises(ValueError, match="is not a whole number"):
        parse_number(value, int)


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_name_a_line(data):
    try:
        text, _ = decode_text(data)
    except ValueError as error:
        assert "line " in str(error)
    else:
        assert isinstance(text, str)
