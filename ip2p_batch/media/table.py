"""Read tables: CSV, JSONL and Parquet. Errors name the lines they are in."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..errors import SourceError
from .parquet import read_parquet
from .table_text import column_name, decode_text, find_delimiter

#: Suffixes of the files that are read.
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
#: Suffixes of tables whose cells are all texts.
TEXT_CELLS = (".csv", ".tsv")
#: Key of a CSV row for the number of cells beyond the header; no column can have this name.
EXTRA_CELLS = "\0"
#: An error lists at most this many lines.
_MAX_FAULTS = 10
#: A column is a misspelling of another from this similarity on (difflib's ratio, 0 to 1).
_SIMILAR = 0.8

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table.

    Attributes:
        rows: ``(place, row)``; the place is ``line 7``, or ``row 7`` where a file has no lines.
            A row has known columns only, and in CSV only text.
        notes: one line each on what was ignored or guessed.
    """

    rows: tuple[tuple[str, Row], ...]
    notes: tuple[str, ...]


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    required: Sequence[str],
    note_others: bool = True,
    expected: Sequence[str] = (),
) -> Table:
    """Read a table. Other columns than ``columns`` are ignored.

    Args:
        path: ``.csv`` or ``.tsv`` (the separator is detected), ``.jsonl`` or ``.ndjson``, in UTF-8,
            UTF-16 or Windows-1252; or ``.parquet``.
        columns: names of the columns to read.
        required: columns that the header of a CSV or Parquet file must have.
        note_others: note the columns that are ignored, and refuse one whose name is nearly that of
            a column that the table lacks.
        expected: names of columns that are ignored without a note.

    Raises:
        SourceError: the file cannot be read or is not well-formed. It names up to ten lines.
    """
    form = _Form(path, tuple(columns), tuple(required), note_others, frozenset(expected))
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = tuple(_parquet_rows(form))
    elif suffix in (".jsonl", ".ndjson"):
        rows = tuple(_json_rows(form, _text(form)))
    elif suffix in TEXT_CELLS:
        rows = tuple(_csv_rows(form, _text(form)))
    else:
        _fail(path, "not a table", "It must be a .csv, .tsv, .jsonl or .parquet file.")
    form.raise_faults()
    if form.ignored:
        names = ", ".join(repr(name) for name in form.ignored)
        form.notes.append(f"{path.name}: ignored columns: {names}.")
    return Table(rows, tuple(form.notes))


@dataclass(slots=True)
class _Form:
    """A file, the columns its rows may have, and what was found so far."""

    path: Path
    columns: tuple[str, ...]
    required: tuple[str, ...]
    note_others: bool
    expected: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    ignored: dict[str, None] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def check(self, headings: Sequence[str], where: str, *, whole: bool) -> bool:
        """Check the headings of columns; False if there is a fault."""
        names = [column_name(heading) for heading in headings]
        hint = f"Columns are: {', '.join(self.columns)}."
        before = len(self.faults)
        lacking = [name for name in self.columns if name not in names]
        for heading, name in zip(headings, names, strict=True):
            is_other = name and name not in self.columns and name not in self.expected
            if not is_other or not self.note_others:
                continue
            meant = difflib.get_close_matches(name, lacking, n=1, cutoff=_SIMILAR)
            if meant:
                self.fault(
                    f"{where} names a column {heading.strip()!r}", f"Rename it to {meant[0]!r}."
                )
            else:
                self.ignored[heading.strip()] = None
        for name in dict.fromkeys(n for n in names if n in self.columns and names.count(n) > 1):
            self.fault(f"{where} names the column {name!r} twice", hint)
        for name in self.required if whole else ():
            if name not in names:
                self.fault(f"{where} names no column {name!r}", f"It must name the columns. {hint}")
        return len(self.faults) == before

    def fault(self, reason: str, hint: str) -> None:
        self.faults.append((reason, hint))

    def raise_faults(self) -> None:
        if not self.faults:
            return
        reasons = [reason for reason, _ in self.faults]
        listed = "; ".join(reasons[:_MAX_FAULTS])
        if len(reasons) > _MAX_FAULTS:
            listed += f"; and {len(reasons) - _MAX_FAULTS} more"
        _fail(self.path, listed, self.faults[0][1])

    def known(self, row: Row) -> Row:
        return {name: value for name, value in row.items() if name in self.columns}


def _text(form: _Form) -> str:
    try:
        text, note = decode_text(form.path.read_bytes())
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        _fail(form.path, reason, "Check that it is there and readable.")
    except ValueError as error:
        _fail(form.path, str(error), "Save it as UTF-8.")
    if note:
        form.notes.append(f"{form.path.name}: {note}")
    return text


def _csv_rows(form: _Form, text: str) -> Iterator[tuple[str, Row]]:
    default = "\t" if form.path.suffix.lower() == ".tsv" else ","
    text, delimiter = find_delimiter(text, form.columns, default)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            form.fault(
                f"line {start} is not CSV: {error}",
                "Look for a quote that is not closed, or not doubled inside quotes.",
            )
            start = reader.line_num + 1
            continue
        line, start = start, reader.line_num + 1  # a quoted cell can span lines
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [column_name(cell) for cell in cells]
            if not form.check(cells, f"line {line}", whole=True):
                return
            continue
        row: Row = form.known(dict(zip(header, cells, strict=False)))
        # Cells left out at the end are empty ones.
        row |= dict.fromkeys((n for n in header[len(cells) :] if n in form.columns), "")
        if len(cells) > len(header):
            row[EXTRA_CELLS] = len(cells) - len(header)
        yield f"line {line}", row


def _json_rows(form: _Form, text: str) -> Iterator[tuple[str, Row]]:
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            row = json.loads(part)
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits is a plain ValueError.
            deep = isinstance(error, RecursionError)
            what = "nested too deeply" if deep else getattr(error, "msg", str(error))
            form.fault(f"line {line} is not JSON: {what}", "Put one JSON object on each line.")
            continue
        if not isinstance(row, dict):
            form.fault(f"line {line} is not an object", 'Write {"column": "value", ...}.')
            continue
        if form.check(list(row), f"line {line}", whole=False):
            yield f"line {line}", form.known({column_name(k): v for k, v in row.items()})


def _parquet_rows(form: _Form) -> Iterator[tuple[str, Row]]:
    names, rows = read_parquet(form.path)
    if not form.check(names, "the file", whole=True):
        return
    own = [name for name in names if column_name(name) in form.columns]
    for number, row in enumerate(rows(own), start=1):
        yield f"row {number}", form.known({column_name(k): v for k, v in row.items()})


def parse_number(value: object, kind: type[int] | type[float]) -> int | float | None:
    """Convert a cell to a number; None for an empty one.

    A text may have a decimal comma, and spreadsheets may write a whole number as ``20.0``.

    Raises:
        ValueError: it is not a number of this kind; says so.

    >>> parse_number("7,5", float), parse_number("20.0", int), parse_number(" ", int)
    (7.5, 20, None)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    what = "a whole number" if kind is int else "a number"
    number: object = value
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?[0-9]+", text):
            number = int(text) if len(text) < 40 else value
        else:
            try:
                number = float(text.replace(",", ".") if text.count(",") == 1 else text)
            except ValueError:
                number = value
    if isinstance(number, float) and number != number and not isinstance(value, str):
        return None  # pandas and Parquet write NaN for an empty cell
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{value!r} is not {what}")
    if kind is float:
        return float(number)
    if number != number or number in (float("inf"), -float("inf")) or number != int(number):
        raise ValueError(f"{value!r} is not {what}")
    return int(number)


def _fail(path: Path, reason: str, hint: str) -> NoReturn:
    raise SourceError(f"{path}: {reason}", path=path, hint=hint)
