"""Boxes with times: a CSV file with the columns start, end, x, y, width and height."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import RecipeError
from ..frame import Mask

_COLUMNS = ("start", "end", "x", "y", "width", "height")


class Box(NamedTuple):
    """A box in which frames may change.

    Attributes:
        start, end: seconds from the first frame of the video, half-open; no end is infinite.
        x, y, width, height: in pixels of the source, from its left and top.
    """

    start: float
    end: float
    x: int
    y: int
    width: int
    height: int


def read_boxes(path: Path) -> list[Box]:
    """Read a file of boxes.

    Raises:
        RecipeError: it cannot be read, or a line is no box; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"is not a CSV file in UTF-8: {error}") from None
    if not rows:
        raise _refused(path, "has no boxes")
    missing = [name for name in _COLUMNS if name not in rows[0]]
    if missing:
        raise _refused(path, f"has no column {missing[0]}")
    return [_box(path, number, row) for number, row in enumerate(rows, 2)]


def _box(path: Path, line: int, row: dict[str, str | None]) -> Box:
    try:
        values = [str(row[name] or "").strip() for name in _COLUMNS]
        start, end = float(values[0] or 0), float(values[1] or "inf")
        x, y, width, height = map(int, values[2:])
    except ValueError as error:
        raise _refused(path, f"line {line} is not a box: {error}") from None
    if not 0 <= start < end or width < 1 or height < 1:
        raise _refused(path, f"line {line}: start < end, and sides of at least 1 pixel, are needed")
    return Box(start, end, x, y, width, height)


def _refused(path: Path, reason: str) -> RecipeError:
    return RecipeError(f"{path} {reason}.", hint=f"Its first line is {','.join(_COLUMNS)}.")


def drawn_runs(
    boxes: Sequence[Box], seconds: Sequence[float], numbers: range, size: tuple[int, int]
) -> Iterator[tuple[range, Mask]]:
    """The masks of consecutive frames with the same boxes; frames without boxes are left out.

    Args:
        seconds: of all frames of the video, from the first, ascending.
        numbers: of the frames that are edited.
        size: width and height of the source.
    """
    begin, active = numbers.start, _active(boxes, seconds[numbers.start])
    for number in range(numbers.start, numbers.stop + 1):
        now = _active(boxes, seconds[number]) if number < numbers.stop else None
        if now == active:
            continue
        if active:
            yield range(begin, number), _mask(active, size)
        begin, active = number, now or ()


def _active(boxes: Sequence[Box], at: float) -> tuple[Box, ...]:
    # A microsecond of tolerance: 0.04 s is the frame at 1/25 s whatever the rounding.
    return tuple(box for box in boxes if box.start <= at + 1e-6 < box.end)


def _mask(boxes: Sequence[Box], size: tuple[int, int]) -> Mask:
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    for box in boxes:
        rows = slice(max(0, box.y), max(0, box.y + box.height))
        mask[rows, max(0, box.x) : max(0, box.x + box.width)] = 255
    return mask
