"""Paired data: a picture, a sentence, and the picture that the sentence should make of it.

A dataset is a table (CSV or JSONL) beside its pictures, or a folder that holds one, named
``pairs`` or, as in the ``imagefolder`` layout of Hugging Face datasets, ``metadata``::

    input,instruction,edited           {"input": "in/1.png", "instruction": "make it night",
    in/0.png,make it snow,out/0.png     "edited": "out/1.png"}

The column names of the published InstructPix2Pix datasets are understood, too. Columns that mean
nothing here are passed over, so that a table can keep what made it: caption, seed, CLIP scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ..errors import SourceError
from ..media.images.codec import still_size
from ..media.table import TABLES, read_rows

#: Column names as written by others -> ours.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "input": "input", "input_image": "input", "original_image": "input",
        "input_file_name": "input", "input_image_file_name": "input",
        "original_image_file_name": "input", "source": "input",
        "instruction": "instruction", "edit_prompt": "instruction", "edit": "instruction",
        "prompt": "instruction",
        "edited": "edited", "edited_image": "edited", "edited_file_name": "edited",
        "edited_image_file_name": "edited", "target": "edited", "output": "edited",
    }
)  # fmt: skip
_NAMES = ("pairs", "metadata")
#: Sides of the two pictures may differ in proportion by this much, from rounding in a resize.
_SHAPE_TOLERANCE = 0.02

Progress = Callable[[int], None]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One example. Paths are absolute."""

    input: str
    instruction: str
    edited: str


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cannot be learned from, and why."""

    where: str
    why: str


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset holds, in the order of its table."""

    good: tuple[Pair, ...]
    bad: tuple[BadRow, ...]


def find_table(dataset: Path) -> Path:
    """The table of a dataset: ``dataset`` itself, or the one in that folder.

    Raises:
        SourceError: there is none, or more than one.
    """
    if not dataset.is_dir():
        if dataset.suffix.lower() in TABLES and dataset.is_file():
            return dataset
        raise SourceError(
            f"{dataset}: no such dataset.", path=dataset, hint="Give a folder, a CSV or a JSONL."
        )
    found = [
        path
        for name in _NAMES
        for suffix in TABLES
        if (path := dataset / (name + suffix)).is_file()
    ]
    if len(found) == 1:
        return found[0]
    raise SourceError(
        f"{dataset}: it holds {'no table' if not found else f'{len(found)} tables'} of pairs.",
        path=dataset,
        hint="Put one pairs.csv or pairs.jsonl there, with columns input, instruction, edited.",
    )


def read_pairs(dataset: Path, *, progress: Progress = lambda _: None) -> Pairs:
    """Read a dataset's table and the headers of its pictures.

    A row whose pictures cannot be opened, or are not of one shape, is listed as bad; the others
    are good, as far as headers tell.

    Raises:
        SourceError: there is no table, it is not well-formed, lacks a column, or not one row of
            it is good.
    """
    table = find_table(dataset.expanduser().absolute())
    good: list[Pair] = []
    bad: list[BadRow] = []
    for number, (line, row) in enumerate(_rows(table), start=1):
        try:
            good.append(_checked(row, table.parent))
        except (ValueError, SourceError) as error:
            why = error.message if isinstance(error, SourceError) else str(error)
            bad.append(BadRow(where=f"{table.name} line {line}", why=why))
        progress(number)
    if not good:
        first = f" The first: {bad[0].where}: {bad[0].why}" if bad else ""
        raise SourceError(
            f"{table}: not one row can be learned from.{first}",
            path=table,
            hint="Paths are relative to the table's folder.",
        )
    return Pairs(good=tuple(good), bad=tuple(bad))


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with our own column names.

    Raises:
        SourceError: two columns mean the same.
    """
    for line, row in read_rows(table, tuple(ALIASES), required=(), others=True):
        ours: dict[str, Any] = {}
        for name, value in row.items():
            meaning = ALIASES.get(name)
            if meaning is None:
                continue
            if meaning in ours:
                raise SourceError(
                    f"{table}: line {line} has two columns for {meaning!r}.",
                    path=table,
                    hint="Keep one of them.",
                )
            ours[meaning] = value
        yield line, ours


def _checked(row: Mapping[str, Any], folder: Path) -> Pair:
    """One row.

    Raises:
        ValueError: says what is wrong with it.
        SourceError: one of its pictures cannot be opened.
    """
    values = {}
    for name in ("input", "instruction", "edited"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} is missing")
        values[name] = value.strip()
    paths = [folder / values["input"], folder / values["edited"]]
    (width, height), (edited_width, edited_height) = map(still_size, paths)
    ratio = (width * edited_height) / (height * edited_width)
    if abs(ratio - 1) > _SHAPE_TOLERANCE:
        raise ValueError(
            f"the pictures have two shapes, {width}x{height} and {edited_width}x{edited_height}"
        )
    return Pair(input=str(paths[0]), instruction=values["instruction"], edited=str(paths[1]))
