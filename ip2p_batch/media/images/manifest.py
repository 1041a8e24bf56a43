"""Read a manifest: a CSV, JSONL or Parquet file of images and videos with their own instructions.

::

    path,instruction,output,seed,negative_prompt       {"path": "a.jpg", "instruction": "..."}
    a.jpg,make it snow,,7,                             {"path": "b.jpg", "guidance_scale": 6}

Only ``path`` is required; an empty cell means the recipe's value. A malformed file is an error; an
invalid row becomes an item with an error that names its line, and the other rows are used.
"""

from __future__ import annotations

import os
from itertools import compress
from pathlib import Path
from typing import Any

from ...errors import RecipeError
from ...jobs.items import STATE_COLUMNS
from ...jobs.spec import Item
from ...recipe import FIELDS
from ...storage.sequence import is_sequence
from ..animation.files import is_animation
from ..find_file import FileFinder
from ..table import EXTRA_CELLS, TEXT_CELLS, Row, parse_number, read_table
from ..video.suffixes import VIDEO_SUFFIXES
from .formats import FORMATS_TEXT, result_format, suffix_format
from .naming import (
    Listing,
    alike_names,
    is_text,
    printable,
    reject_conflicts,
    with_format_suffix,
)

#: Columns of numbers: recipe fields that an image may have of its own, with the types of their
#: cells. The recipe's own declarations give the ranges.
NUMBERS: dict[str, type[int] | type[float]] = {
    "seed": int,
    "guidance_scale": float,
    "image_guidance_scale": float,
    "num_inference_steps": int,
}
COLUMNS = ("path", "instruction", "output", "negative_prompt", *NUMBERS)


def read_manifest(path: Path, output: Path, *, format: str | None = None) -> Listing:
    """Read the images and videos that a manifest lists, in its order.

    Args:
        path: see :func:`~..table.read_table`. Files are relative to its folder.
        output: folder of the results. Outputs are relative to it; by default they are the
            files' own relative paths, or only their names for files from elsewhere.
        format: format of the results; None goes by each output's suffix.

    Raises:
        SourceError: the file cannot be read, or is not well-formed (names the lines).
    """
    path, output = path.absolute(), output.absolute()
    found, finder = [], FileFinder()
    # The item table of a job is a list of its sources, too.
    table = read_table(path, COLUMNS, required=("path",), expected=STATE_COLUMNS)
    for place, row in table.rows:
        if path.suffix.lower() in TEXT_CELLS and row.get("negative_prompt") == "":
            del row["negative_prompt"]  # an empty cell means the recipe's
        try:
            found.append(_item(row, path.parent, output, format, finder))
        except ValueError as error:
            name = row.get("path")
            known = isinstance(name, str) and name.strip() and is_text(name)
            source = path.parent / str(name) if known else path
            found.append(Item(source=printable(source), output="", error=f"{place}: {error}"))
    flags = [_is_video(item.source) for item in found]
    videos = tuple(compress(found, flags))
    items = reject_conflicts(compress(found, (not flag for flag in flags)))
    return Listing(items, (*table.notes, *alike_names([*items, *videos])), videos)


def _is_video(path: str) -> bool:
    """Whether a row is about a video, an animation or an image sequence."""
    if ("%" in path or "##" in path) and is_sequence(path):
        return True
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - half the time, 100 000 times
    return suffix in VIDEO_SUFFIXES or is_animation(Path(path))


def _item(row: Row, folder: Path, output: Path, format: str | None, finder: FileFinder) -> Item:
    """One row.

    Raises:
        ValueError: says what is wrong with it.
    """
    if EXTRA_CELLS in row:
        raise ValueError(
            f"{row[EXTRA_CELLS]} cells more than the header names; put texts that hold the"
            " separator in quotes"
        )
    for key in COLUMNS:
        value = row.get(key)
        if key not in NUMBERS and value is not None and not isinstance(value, str):
            raise ValueError(f"{key} is not text")
        if isinstance(value, str) and not is_text(value):
            raise ValueError(f"{key} holds characters that no file can")
    name = (row.get("path") or "").strip()
    if not name:
        raise ValueError("path is missing")
    instruction = row.get("instruction")
    source = finder.find(folder, name)
    return Item(
        source=os.path.normpath(source),
        output=str(_output(row, source, folder, output, format)),
        instruction=instruction if instruction and instruction.strip() else None,
        negative_prompt=row.get("negative_prompt"),
        **{key: _number(key, row.get(key)) for key in NUMBERS},
    )


def _output(row: Row, source: Path, folder: Path, output: Path, format: str | None) -> Path:
    # A backslash is a separator: a table with results on Windows, and no name of a result has one.
    requested = (row.get("output") or "").strip().replace("\\", "/")
    if requested:
        target = Path(os.path.normpath(output / requested))
        if not target.is_relative_to(output) or target == output:
            raise ValueError(f"output {requested} is not inside {output}")
    else:
        own = Path(os.path.normpath(source))
        home = os.path.normpath(folder)
        target = output / (own.relative_to(home) if own.is_relative_to(home) else own.name)
    if _is_video(str(source)):
        return target  # its suffix is checked with the codec
    if (suffix_format if requested else result_format)(target) is None:
        what = f"output {requested}" if requested else target.name
        raise ValueError(f"{what} has no suffix of a known format ({FORMATS_TEXT})")
    return with_format_suffix(target, format)


def _number(key: str, value: object) -> Any:
    """The value of a recipe field for one image; None for an empty cell.

    Raises:
        ValueError: it is not a number, or out of the field's range.
    """
    try:
        number = parse_number(value, NUMBERS[key])
        return None if number is None else FIELDS[key].convert(number)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from None
    except RecipeError as error:
        raise ValueError(error.message.rstrip(".")) from None
