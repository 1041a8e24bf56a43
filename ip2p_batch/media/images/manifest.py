"""Read a manifest: a CSV or JSONL file of images, each with its own instruction.

::

    path,instruction,output,seed,negative_prompt       {"path": "a.jpg", "instruction": "..."}
    a.jpg,make it snow,,7,                             {"path": "b.jpg", "seed": 3}

Only ``path`` is required. A malformed file is an error; an invalid row becomes an item with an
error that names its line, and the other rows are used.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...jobs.spec import Item
from ..table import EXTRA_CELLS, Row, read_rows
from .formats import FORMATS_TEXT, suffix_format
from .naming import is_text, printable, reject_conflicts, with_format_suffix

COLUMNS = ("path", "instruction", "output", "seed", "negative_prompt")
_SEED_LIMIT = 2**63


def read_manifest(
    path: Path,
    output: Path,
    *,
    format: str | None = None,
) -> list[Item]:
    """Read the images that a manifest lists, in its order.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, in UTF-8. Images are relative to
            its folder.
        output: folder of the results. Outputs are relative to it; by default they are the
            images' own relative paths, or only their names for images from elsewhere.
        format: format of the results; None goes by each output's suffix.

    Raises:
        SourceError: the file cannot be read, is not well-formed (names the line), or has
            columns that no manifest has.
    """
    path, output = path.absolute(), output.absolute()
    items = []
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    for line, row in read_rows(path, COLUMNS, required=("path",)):
        if is_csv and row.get("negative_prompt") == "":
            del row["negative_prompt"]  # an empty cell means the recipe's
        try:
            items.append(_item(row, path.parent, output, format))
        except ValueError as error:
            name = row.get("path")
            known = isinstance(name, str) and name.strip() and is_text(name)
            source = path.parent / str(name) if known else path
            items.append(Item(source=printable(source), output="", error=f"line {line}: {error}"))
    return reject_conflicts(items)


def _item(row: Row, folder: Path, output: Path, format: str | None) -> Item:
    """One row.

    Raises:
        ValueError: says what is wrong with it.
    """
    if EXTRA_CELLS in row:
        raise ValueError(
            f"{row[EXTRA_CELLS]} cells more than the header names; put texts with commas in quotes"
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
        output=str(with_format_suffix(_output(row, source, folder, output), format)),
        instruction=instruction,
        negative_prompt=row.get("negative_prompt"),
        seed=_seed(row.get("seed")),
    )


def _output(row: Row, source: Path, folder: Path, output: Path) -> Path:
    requested = (row.get("output") or "").strip()
    if requested:
        target = Path(os.path.normpath(output / requested))
        if not target.is_relative_to(output) or target == output:
            raise ValueError(f"output {requested} is not inside {output}")
    else:
        own = Path(os.path.normpath(source))
        home = os.path.normpath(folder)
        target = output / (own.relative_to(home) if own.is_relative_to(home) else own.name)
    if suffix_format(target) is None:
        what = f"output {requested}" if requested else target.name
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
