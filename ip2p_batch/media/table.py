"""Read CSV and JSONL tables; errors name the line they are in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import SourceError

#: Suffixes of the files that are read.
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
#: Key of a CSV row for the number of cells beyond the header; no column can have this name.
EXTRA_CELLS = "\0"

Row = dict[str, Any]


def read_rows(
    path: Path, columns: Sequence[str], *, required: Sequence[str], allow_others: bool = False
) -> Iterator[tuple[int, Row]]:
    """Yield ``(line, row)`` of each row; a row has known columns only, and in CSV only text.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, in UTF-8.
        columns: all names that a column may have.
        required: columns that the header of a CSV must have.
        allow_others: whether to ignore columns of other names instead of refusing them.

    Raises:
        SourceError: the file cannot be read, is not well-formed (names the line), or has
            columns that are not known.
    """
    form = _Schema(path, tuple(columns), tuple(required), allow_others)
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        _fail(path, f"cannot be read: {error.strerror}", "Check that it is there and readable.")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        _fail(path, f"line {line} is not UTF-8", "Save it as UTF-8.")
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(form, text)
    if suffix in (".csv", ".tsv"):
        return _csv_rows(form, text, "\t" if suffix == ".tsv" else ",")
    return _fail(path, "not a table", "It must be a .csv, .tsv or .jsonl file.")


@dataclass(frozen=True, slots=True)
class _Schema:
    """A file, and the columns its rows may have."""

    path: Path
    columns: tuple[str, ...]
    required: tuple[str, ...]
    allow_others: bool

    def check(self, names: Sequence[str], where: str, *, whole: bool) -> None:
        hint = f"Columns are: {', '.join(self.columns)}."
        unknown = [name for name in names if name not in self.columns]
        if unknown and not self.allow_others:
            _fail(self.path, f"{where} names an unknown column {unknown[0]!r}", hint)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            _fail(self.path, f"{where} names the column {twice[0]!r} twice", hint)
        missing = [name for name in self.required if name not in names]
        if whole and missing:
            _fail(self.path, f"{where} names no column {missing[0]!r}", hint)


def _csv_rows(form: _Schema, text: str, delimiter: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            line, start = start, reader.line_num + 1  # a quoted cell can span lines
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                form.check(header, f"line {line}", whole=True)
                continue
            row: dict[str, Any] = dict(zip(header, cells, strict=False))
            # Cells left out at the end are empty ones.
            row |= dict.fromkeys(header[len(cells) :], "")
            if len(cells) > len(header):
                row[EXTRA_CELLS] = len(cells) - len(header)
            yield line, row
    except csv.Error as error:
        _fail(
            form.path, f"line {start} is not CSV: {error}", "Look for a quote that is not closed."
        )


def _json_rows(form: _Schema, text: str) -> Iterator[tuple[int, Row]]:
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            row = json.loads(part)
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits is a plain ValueError.
            deep = isinstance(error, RecursionError)
            what = "nested too deeply" if deep else getattr(error, "msg", str(error))
            _fail(
                form.path, f"line {line} is not JSON: {what}", "Put one JSON object on each line."
            )
        if not isinstance(row, dict):
            _fail(form.path, f"line {line} is not an object", 'Write {"column": "value", ...}.')
        form.check(list(row), f"line {line}", whole=False)
        yield line, row


def _fail(path: Path, reason: str, hint: str) -> NoReturn:
    raise SourceError(f"{path}: {reason}", path=path, hint=hint)
