"""Decode the text of a table, and detect what separates its cells.

Spreadsheet programs save "CSV" by the rules of the country and the system: Excel separates by
semicolons where the comma is the decimal mark, writes its "CSV" in the system's code page, its
"Unicode text" in UTF-16 with tabs, and may begin with a line ``sep=;``.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Container

#: Separators of cells, the most likely first.
DELIMITERS = (",", ";", "\t", "|")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Excel's own line: it names the separator and belongs to no row.
_SEPARATOR_LINE = re.compile(r'\A"?sep=(.)"?(?=\n|\Z)', re.IGNORECASE)
_NAME_BREAKS = re.compile(r"[\s-]+")


def decode_text(data: bytes) -> tuple[str, str]:
    """Decode a table: UTF-8 or UTF-16 by its byte order mark, else UTF-8, else Windows-1252.

    Returns:
        ``(text, note)``: ``note`` says that the encoding is a guess; empty if it is certain.

    Raises:
        ValueError: names the first line that is in none of these encodings.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), _without_mark(data))
    try:
        return _with_line_feeds(data.decode(encoding)), ""
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(f"line {_line(error)} is not {encoding.upper()}") from None
        line = _line(error)
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise ValueError(f"line {line} is neither UTF-8 nor Windows-1252") from None
    return _with_line_feeds(text), (
        f"line {line} is not UTF-8; the table is read as Windows-1252 (cp1252). If letters are"
        " wrong, save it as UTF-8."
    )


def _with_line_feeds(text: str) -> str:
    """The text with line feeds as ends of lines; a carriage return in a quoted cell stays."""
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def _without_mark(data: bytes) -> str:
    """UTF-16 has a zero in every other byte of plain letters; no other text has zeros."""
    head = data[:512]
    zeros = head[0::2].count(0), head[1::2].count(0)
    most = len(head) // 2
    if len(head) >= 8 and max(zeros) > most * 0.6 and min(zeros) < most * 0.1:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def _line(error: UnicodeDecodeError) -> int:
    return error.object[: error.start].count(b"\n") + 1


def column_name(text: str) -> str:
    """Normalize a heading: ``Negative Prompt`` is the column ``negative_prompt``.

    >>> column_name(" Guidance-Scale ")
    'guidance_scale'
    """
    return _NAME_BREAKS.sub("_", text.strip().lower())


def find_delimiter(text: str, known: Container[str], default: str) -> tuple[str, str]:
    """Detect what separates the cells of a table.

    Args:
        text: the table, with a header.
        known: names of columns. The separator that gives the most of them wins, then the one that
            gives the most cells.
        default: the separator if nothing else decides.

    Returns:
        ``(text, delimiter)``: the text without Excel's ``sep=`` line, which becomes an empty line.
    """
    line = _SEPARATOR_LINE.match(text)
    if line:
        return text[line.end() :], line[1]

    def score(delimiter: str) -> tuple[int, int, bool]:
        names = _header(text, delimiter)
        return sum(name in known for name in names), len(names), delimiter == default

    return text, max(DELIMITERS, key=score)


def _header(text: str, delimiter: str) -> list[str]:
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if any(cell.strip() for cell in cells):
                return [column_name(cell) for cell in cells]
    except csv.Error:
        pass
    return []
