"""Before and after, side by side, as one PNG to look at."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ..errors import OutputError
from ..frame import Image
from ..storage.atomic import atomic_path

_MAX_WIDTH = 1400
_MARGIN = 40
_GAP = 8  # between a picture and its result
_GUTTER = 36  # between one pair and the next beside it
_TALLEST = 460  # a portrait pair must not fill the screen
_LARGEST_SCALE = 3.0
_PAPER, _INK, _SOFT, _MAT = "#f6f5f2", "#1c1c1e", "#77777c", "#e6e4df"
_TITLE, _LABEL, _CAPTION = 32, 17, 17


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels. A cell holds one picture; two cells and a caption make a pair."""

    cell: tuple[int, int]
    columns: int
    lines: int

    @property
    def pair_width(self) -> int:
        return 2 * self.cell[0] + _GAP

    @property
    def line_height(self) -> int:
        return self.cell[1] + _CAPTION + 26

    @property
    def width(self) -> int:
        return 2 * _MARGIN + self.columns * self.pair_width + (self.columns - 1) * _GUTTER


def write_before_after(
    rows: Sequence[tuple[Image, Image]], path: Path, *, title: str, captions: Sequence[str]
) -> None:
    """Write a sheet of pairs, source left and result right; narrow pairs stand side by side.

    Args:
        rows: pairs ``(source, result)`` of uint8 RGB pixels, of any sizes.
        path: the PNG to write; it appears only when whole.
        title: what was asked for; wrapped to two lines at most.
        captions: one short text for each pair.

    Raises:
        ValueError: there are no pairs, or not one caption for each.
        OutputError: the file cannot be written.
    """
    if not rows or len(rows) != len(captions):
        raise ValueError(f"{len(rows)} pairs and {len(captions)} captions make no sheet")
    layout = _layout([image.shape[:2] for pair in rows for image in pair], len(rows))
    title_lines = _wrapped(title, layout.width - 2 * _MARGIN, lines=2)
    top = _MARGIN + len(title_lines) * (_TITLE + 10) + 16
    pictures_top = top + _LABEL + 14
    height = pictures_top + layout.lines * layout.line_height + _MARGIN - 22
    sheet = Pillow.new("RGB", (layout.width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, words in enumerate(title_lines):
        draw.text((_MARGIN, _MARGIN - 8 + number * (_TITLE + 10)), words, _INK, _font(_TITLE))
    for column in range(layout.columns):
        left = _MARGIN + column * (layout.pair_width + _GUTTER)
        draw.text((left, top), "Before", _SOFT, _font(_LABEL))
        draw.text((left + layout.cell[0] + _GAP, top), "After", _SOFT, _font(_LABEL))
    for number, (pair, caption) in enumerate(zip(rows, captions, strict=True)):
        line, column = divmod(number, layout.columns)
        left = _MARGIN + column * (layout.pair_width + _GUTTER)
        y = pictures_top + line * layout.line_height
        for place, image in enumerate(pair):
            _paste(sheet, image, (left + place * (layout.cell[0] + _GAP), y), layout.cell)
        text = _shortened(_clean(caption), layout.pair_width, _CAPTION)
        draw.text((left, y + layout.cell[1] + 8), text, _SOFT, _font(_CAPTION))
    _save(sheet, path)


def write_contact_sheet(
    columns: Sequence[tuple[str, Sequence[Image]]], path: Path, *, cell: int = 144, across: int = 10
) -> None:
    """Write a grid: a column for each heading, a row for each picture under it.

    Args:
        columns: heading and pictures; all columns are of one length. The first is repeated at the
            left of every band of columns.
        path: the PNG to write; it appears only when whole.
        cell: side of a picture in pixels; pictures are scaled to fit.
        across: columns beside each other; the others go into further bands below.

    Raises:
        ValueError: there are no columns, or they differ in length.
        OutputError: the file cannot be written.
    """
    if not columns or len({len(pictures) for _, pictures in columns}) != 1 or across < 2:
        raise ValueError("columns of one length are needed, and two beside each other at least")
    first, others = columns[0], columns[1:]
    bands = [[first, *others[at : at + across - 1]] for at in range(0, len(others), across - 1)]
    step, rows = cell + _GAP // 2, len(first[1])
    band_height = _LABEL + 14 + rows * step + 18
    width = 2 * _MARGIN + max(len(band) for band in bands) * step
    sheet = Pillow.new("RGB", (width, 2 * _MARGIN + len(bands) * band_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, band in enumerate(bands):
        top = _MARGIN + number * band_height
        for column, (heading, pictures) in enumerate(band):
            left = _MARGIN + column * step
            draw.text((left, top), _shortened(_clean(heading), cell, 14), _INK, _font(14))
            for row, image in enumerate(pictures):
                _paste(sheet, image, (left, top + _LABEL + 10 + row * step), (cell, cell))
    _save(sheet, path)


def _layout(shapes: Sequence[tuple[int, ...]], pairs: int) -> _Layout:
    """Cells of the middle aspect ratio, as large as fit, and as many pairs in a line as do."""
    aspect = statistics.median(width / height for height, width in shapes)
    largest = max(height for height, _ in shapes) * _LARGEST_SCALE
    widest = (_MAX_WIDTH - 2 * _MARGIN - _GAP) // 2
    cell_height = min(widest / aspect, _TALLEST, largest)
    cell = (max(96, min(widest, round(cell_height * aspect))), max(48, round(cell_height)))
    pair = 2 * cell[0] + _GAP
    fitting = max(1, (_MAX_WIDTH - 2 * _MARGIN + _GUTTER) // (pair + _GUTTER))
    lines = -(-pairs // fitting)
    return _Layout(cell=cell, columns=-(-pairs // lines), lines=lines)


def _paste(
    sheet: Pillow.Image, image: Image, place: tuple[int, int], cell: tuple[int, int]
) -> None:
    """A picture in the middle of its cell; where it does not fill it, on a mat."""
    height, width = image.shape[:2]
    scale = min(cell[0] / width, cell[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if abs(size[0] - cell[0]) <= 1 and abs(size[1] - cell[1]) <= 1:
        size = cell  # a pixel of rounding is no reason for a mat
    else:
        sheet.paste(_MAT, (*place, place[0] + cell[0], place[1] + cell[1]))
    picture = Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS)
    sheet.paste(picture, (place[0] + (cell[0] - size[0]) // 2, place[1] + (cell[1] - size[1]) // 2))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _clean(text: str) -> str:
    """On one line, and drawable: file names may hold what no font can."""
    text = " ".join(text.split()).encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)


def _wrapped(text: str, width: int, *, lines: int) -> list[str]:
    """Words in lines of at most ``width`` pixels; the last one is shortened if need be."""
    result = [""]
    for word in _clean(text).split():
        longer = f"{result[-1]} {word}".strip()
        if len(result) < lines and result[-1] and _length(longer, _TITLE) > width:
            result.append(word)
        else:
            result[-1] = longer
    return [_shortened(line, width, _TITLE) for line in result]


def _shortened(text: str, width: int, size: int) -> str:
    if _length(text, size) <= width:
        return text
    fits, fails = 0, len(text)  # characters that fit with an ellipsis, and that do not
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if _length(text[:middle] + "…", size) <= width:
            fits = middle
        else:
            fails = middle
    return text[:fits].rstrip() + "…"


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _save(sheet: Pillow.Image, path: Path) -> None:
    try:
        with atomic_path(path, durable=False) as temporary:
            sheet.save(temporary, format="PNG")
    except OutputError as error:  # a sheet belongs to no job
        hint = "Choose a folder that can be written and has room."
        raise OutputError(error.message, path=path, hint=hint) from error
