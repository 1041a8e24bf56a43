"""Read paired data: a source image, an instruction, and the edited image.

A dataset is a table (CSV, JSONL or Parquet) with paths relative to it, or a folder with one table
named ``pairs`` or, as in the ``imagefolder`` layout of Hugging Face datasets, ``metadata``::

    input,instruction,edited           {"input": "in/1.png", "instruction": "make it night",
    in/0.png,make it snow,out/0.png     "edited": "out/1.png"}

The column names of the published InstructPix2Pix datasets are also accepted. Other columns are
ignored, so a table can also record captions, seeds or CLIP scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ..errors import SourceError
from ..media.find_file import FileFinder
from ..media.images.reader import still_size
from ..media.table import TABLES, read_table

#: Accepted column names -> our names.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "input": "input", "input_image": "input", "original_image": "input",
        "file_name": "input", "input_file_name": "input", "input_image_file_name": "input",
        "original_image_file_name": "input", "source": "input",
        "instruction": "instruction", "edit_prompt": "instruction", "edit": "instruction",
        "prompt": "instruction",
        "edited": "edited", "edited_image": "edited", "edited_file_name": "edited",
        "edited_image_file_name": "edited", "target": "edited", "output": "edited",
    }
)  # fmt: skip
_TABLE_STEMS = ("pairs", "metadata")
#: Tolerated difference of the two aspect ratios, from rounding in a resize.
_ASPECT_TOLERANCE = 0.02

Progress = Callable[[int], None]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One training example; ``input`` and ``edited`` are absolute paths."""

    input: str
    instruction: str
    edited: str


class BadRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that cannot be used.

    Attributes:
        location: file and line, or the photo's name.
        reason: what is wrong with it.
    """

    location: str
    reason: str


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """The good and bad rows of a dataset, in the order of its table.

    Attributes:
        notes: one line each on what was guessed in reading the table.
    """

    good: tuple[Pair, ...]
    bad: tuple[BadRow, ...]
    notes: tuple[str, ...] = ()


def find_table(dataset: Path) -> Path:
    """Return the table of a dataset: ``dataset`` itself, or the table in that folder.

    Raises:
        SourceError: there is no table, or more than one.
    """
    if not dataset.is_dir():
        if dataset.suffix.lower() in TABLES and dataset.is_file():
            return dataset
        raise SourceError(
            f"{dataset}: no such dataset.",
            path=dataset,
            hint="Name a folder, a CSV file or a JSONL file.",
        )
    tables = [
        path
        for stem in _TABLE_STEMS
        for suffix in TABLES
        if (path := dataset / (stem + suffix)).is_file()
    ]
    if len(tables) == 1:
        return tables[0]
    raise SourceError(
        f"{dataset}: it contains {len(tables) or 'no'} tables of pairs.",
        path=dataset,
        hint="Keep one pairs.csv or pairs.jsonl, with the columns input, instruction, edited.",
    )


def read_pairs(dataset: Path, *, progress: Progress = lambda _: None) -> Pairs:
    """Read a dataset's table and the headers of its images.

    A row is bad if a column is empty, an image cannot be opened, or the aspect ratios of its
    images differ. Pixels are not decoded.

    Args:
        dataset: a table, or a folder with one.
        progress: called with the number of rows read, after each row.

    Raises:
        SourceError: there is no table, it is not well-formed, a column is missing, or no row is
            good.
    """
    table = find_table(dataset.expanduser().absolute())
    good: list[Pair] = []
    bad: list[BadRow] = []
    finder = FileFinder()
    content = read_table(table, tuple(ALIASES), required=(), note_others=False)
    for number, (place, row) in enumerate(_renamed(table, content.rows), start=1):
        try:
            good.append(_parse_row(row, table.parent, finder))
        except (ValueError, SourceError) as error:
            reason = error.message if isinstance(error, SourceError) else str(error)
            bad.append(BadRow(location=f"{table.name} {place}", reason=reason))
        progress(number)
    if not good:
        first = f" The first: {bad[0].location}: {bad[0].reason}" if bad else ""
        raise SourceError(
            f"{table}: no row can be used.{first}",
            path=table,
            hint="The columns are input, instruction and edited; paths are relative to the table's"
            " folder.",
        )
    return Pairs(good=tuple(good), bad=tuple(bad), notes=content.notes)


def _renamed(
    table: Path, rows: Iterable[tuple[str, dict[str, Any]]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield places and rows with our column names.

    Raises:
        SourceError: two columns have the same meaning.
    """
    for place, row in rows:
        renamed: dict[str, Any] = {}
        for alias, value in row.items():
            name = ALIASES.get(alias)
            if name is None:
                continue
            if name in renamed:
                raise SourceError(
                    f"{table}: {place} has two columns for {name!r}.",
                    path=table,
                    hint="Keep one of them.",
                )
            renamed[name] = value
        yield place, renamed


def _parse_row(row: Mapping[str, Any], folder: Path, finder: FileFinder) -> Pair:
    """Convert a row to a :class:`Pair`.

    Raises:
        ValueError: a column is empty, or the aspect ratios differ.
        SourceError: an image cannot be opened.
    """
    values = {}
    for name in ("input", "instruction", "edited"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} is missing")
        values[name] = value.strip()
    paths = [finder.find(folder, values[name]) for name in ("input", "edited")]
    (width, height), (edited_width, edited_height) = map(still_size, paths)
    ratio = (width * edited_height) / (height * edited_width)
    if abs(ratio - 1) > _ASPECT_TOLERANCE:
        raise ValueError(
            "the images differ in aspect ratio:"
            f" {width}x{height} and {edited_width}x{edited_height}"
        )
    return Pair(input=str(paths[0]), instruction=values["instruction"], edited=str(paths[1]))
