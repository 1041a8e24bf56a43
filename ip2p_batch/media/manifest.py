"""A list of pictures, each with its own instruction: a CSV or JSONL file.

::

    path,instruction,output,seed,negative_prompt       {"path": "a.jpg", "instruction": "..."}
    a.jpg,make it snow,,7,                             {"path": "b.jpg", "seed": 3}

Only ``path`` is needed. A fault of the file's form ends the reading; a fault in one row becomes
an item with an error that names its line, so that the other rows go on.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..errors import SourceError
from ..job import Item
from .naming import is_text, printable, refuse_clashes, renamed
from .opening import FORMATS_TEXT, suffix_format

COLUMNS = ("path", "instruction", "output", "seed", "negative_prompt")
_SEED_LIMIT = 2**63

Row = Mapping[str, Any]


def read_manifest(
    path: Path,
    output: Path,
    *,
    format: str | None = None,
) -> list[Item]:
    """The pictures that a manifest lists, in its order.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, in UTF-8. Pictures are relative to
            its folder.
        output: folder of the results. Outputs are relative to it; by default they are the
            pictures' own relative paths, or only their names for pictures from elsewhere.
        format: format of the results; None goes by each output's suffix.

    Raises:
        SourceError: the file cannot be read, is not well-formed (names the line), or has
            columns that no manifest has.
    """
    path, output = path.absolute(), output.absolute()
    items = []
    for line, row in _rows(path):
        try:
            items.append(_item(row, path.parent, output, format))
        except ValueError as error:
            name = row.get("path")
            known = isinstance(name, str) and name.strip() and is_text(name)
            source = path.parent / str(name) if known else path
            items.append(Item(source=printable(source), output="", error=f"line {line}: {error}"))
    return refuse_clashes(items)


def _item(row: Row, folder: Path, output: Path, format: str | None) -> Item:
    """One row.

    Raises:
        ValueError: says what is wrong with it.
    """
    if _SURPLUS in row:
        raise ValueError(
            f"{row[_SURPLUS]} cells more than the header names; put texts with commas in quotes"
        )
    for key in COLUMNS:
        value = row.get(key)
        if key != "seed" and value is not None and not isinstance(value, str):
            raise ValueError(f"{key} is not text")
        if isinstance(value, str) and not is_text(value):
            raise ValueError(f"{key} holds characters that no file can")
    name = (row.get("path") or "").strip()
    if not name:
        raise ValueError("path is missing")
    instruction = row.get("instruction")
    if instruction is not None and not instruction.strip():
        raise ValueError("instruction is empty")
    source = folder / name
    return Item(
        source=os.path.normpath(source),
        output=str(renamed(_output(row, source, folder, output), format)),
        instruction=instruction,
        negative_prompt=row.get("negative_prompt"),
        seed=_seed(row.get("seed")),
    )


def _output(row: Row, source: Path, folder: Path, output: Path) -> Path:
    asked = (row.get("output") or "").strip()
    if asked:
        target = Path(os.path.normpath(output / asked))
        if not target.is_relative_to(output) or target == output:
            raise ValueError(f"output {asked} is not inside {output}")
    else:
        own = Path(os.path.normpath(source))
        home = os.path.normpath(folder)
        target = output / (own.relative_to(home) if own.is_relative_to(home) else own.name)
    if suffix_format(target) is None:
        what = f"output {asked}" if asked else target.name
        raise ValueError(f"{what} has no suffix of a known format ({FORMATS_TEXT})")
    return target


def _seed(value: object) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise ValueError(f"seed {value!r} is not a whole number") from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"seed {value!r} is not a whole number")
    if not 0 <= value < _SEED_LIMIT:
        raise ValueError(f"seed {value} is not from 0 to 2**63 - 1")
    return value


# -- rows ---------------------------------------------------------------------------------

#: Key of a CSV row that counts the cells beyond the header's; no column can be called that.
_SURPLUS = "\0"


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """``(line, row)``; a row holds known columns only."""
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        _fail(path, f"cannot be read: {error.strerror}", "Check that it is there and readable.")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        _fail(path, f"line {line} is not UTF-8", "Save the manifest as UTF-8.")
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(path, text)
    if suffix in (".csv", ".tsv"):
        return _csv_rows(path, text, "\t" if suffix == ".tsv" else ",")
    return _fail(path, "not a manifest", "A manifest is a .csv, .tsv or .jsonl file.")


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, Row]]:
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
                _check_columns(path, header, f"line {line}")
                continue
            row: dict[str, Any] = dict(zip(header, cells, strict=False))
            # Cells left out at the end are empty ones.
            row |= dict.fromkeys(header[len(cells) :], "")
            if row.get("negative_prompt") == "":
                del row["negative_prompt"]  # an empty cell means the recipe's
            if len(cells) > len(header):
                row[_SURPLUS] = len(cells) - len(header)
            yield line, row
    except csv.Error as error:
        _fail(path, f"line {start} is not CSV: {error}", "Look for a quote that is not closed.")


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    for line, part in enumerate(text.split("\n"), start=1):
        if not part.strip():
            continue
        try:
            row = json.loads(part)
        except (ValueError, RecursionError) as error:
            what = getattr(error, "msg", "nested too deeply")
            _fail(path, f"line {line} is not JSON: {what}", "Put one JSON object on each line.")
        if not isinstance(row, dict):
            _fail(path, f"line {line} is not an object", 'Write {"path": ..., "instruction": ...}.')
        _check_columns(path, list(row), f"line {line}", need_path=False)
        yield line, row


def _check_columns(path: Path, names: list[str], where: str, *, need_path: bool = True) -> None:
    hint = f"Columns are: {', '.join(COLUMNS)}."
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        _fail(path, f"{where} names an unknown column {unknown[0]!r}", hint)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        _fail(path, f"{where} names the column {twice[0]!r} twice", hint)
    if need_path and "path" not in names:
        _fail(path, f"{where} names no column 'path'", hint)


def _fail(path: Path, reason: str, hint: str) -> NoReturn:
    raise SourceError(f"{path}: {reason}", path=path, hint=hint)
