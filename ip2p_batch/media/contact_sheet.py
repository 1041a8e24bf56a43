"""Write contact sheets: before and after in pairs, or grids of images, as PNG."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..errors import OutputError
from ..frame import Image
from ..storage.atomic import atomic_path
from ..storage.publish import REPORT_MARK, publish_report
from .gradient import busiest_window

_MAX_WIDTH = 1400
_MARGIN = 40
_GAP = 8  # pixels between an image and its result
_GUTTER = 36  # pixels between two pairs in a row
_MAX_CELL_HEIGHT = 460  # keeps portrait images smaller than a screen
_MAX_ENLARGEMENT = 3.0
_LEAST_ENLARGEMENT = 1.25  # less would blur the pixels and show nothing larger
_CROPS, _MAX_CROP_HEIGHT = 2, 320
_BACKGROUND, _TEXT, _MUTED_TEXT, _CELL_BACKGROUND = "#f6f5f2", "#1c1c1e", "#77777c", "#e6e4df"
_TITLE, _LABEL, _CAPTION = 32, 17, 17  # font sizes
_UNDER = _CAPTION + 26  # pixels below an image, for its caption


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels. A cell holds one image; a pair has two cells and a caption."""

    cell: tuple[int, int]
    columns: int
    rows: int

    @property
    def pair_width(self) -> int:
        return 2 * self.cell[0] + _GAP

    @property
    def row_height(self) -> int:
        return self.cell[1] + _UNDER

    @property
    def width(self) -> int:
        return 2 * _MARGIN + self.columns * self.pair_width + (self.columns - 1) * _GUTTER


def write_before_after(
    pairs: Sequence[tuple[Image, Image]], path: Path, *, title: str, captions: Sequence[str]
) -> None:
    """Write a sheet of pairs, source left and result right, several pairs in a row if they fit.

    Below them is a row of crops at 1:1, pixel for pixel, of up to two pairs that the sheet shows
    smaller than they are: the same place of source and result, where the source has most detail.
    The second crop shows another place than the first if both images have one size, as frames of a
    video do. A pair whose result has another size than its source has no crop.

    Args:
        pairs: ``(source, result)``, uint8 RGB pixels of any sizes.
        path: the PNG to write, atomically; it replaces only such sheets.
        title: the instruction; wrapped to at most two lines.
        captions: one short text for each pair.

    Raises:
        ValueError: there are no pairs, or the number of captions differs.
        OutputError: the file cannot be written, or another one has its name.
    """
    if not pairs or len(pairs) != len(captions):
        raise ValueError(f"{len(pairs)} pairs and {len(captions)} captions: give one for each")
    layout = _layout([image.shape[:2] for pair in pairs for image in pair], len(pairs))
    crops = _crops(pairs, captions, layout)
    crops_height = max((crop.source.shape[0] for crop in crops), default=0)
    title_lines = _wrap(title, layout.width - 2 * _MARGIN, lines=2)
    top = _MARGIN + len(title_lines) * (_TITLE + 10) + 16
    pairs_top = top + _LABEL + 14
    crops_top = pairs_top + layout.rows * layout.row_height
    height = crops_top + (crops_height + _UNDER if crops else 0) + _MARGIN - 22
    sheet = Pillow.new("RGB", (layout.width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(title_lines):
        draw.text((_MARGIN, _MARGIN - 8 + number * (_TITLE + 10)), text, _TEXT, _font(_TITLE))
    _draw_pairs(sheet, pairs, captions, layout, top)
    for number, crop in enumerate(crops):
        _draw_crop(sheet, crop, (_MARGIN + number * crop.step, crops_top), crops_height)
    _save(sheet, path)


def _draw_pairs(
    sheet: Pillow.Image,
    pairs: Sequence[tuple[Image, Image]],
    captions: Sequence[str],
    layout: _Layout,
    top: int,
) -> None:
    """Draw the headings at ``top``, and below them all pairs with their captions."""
    draw = ImageDraw.Draw(sheet)
    for column in range(layout.columns):
        left = _MARGIN + column * (layout.pair_width + _GUTTER)
        draw.text((left, top), "Before", _MUTED_TEXT, _font(_LABEL))
        draw.text((left + layout.cell[0] + _GAP, top), "After", _MUTED_TEXT, _font(_LABEL))
    for number, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        row, column = divmod(number, layout.columns)
        left = _MARGIN + column * (layout.pair_width + _GUTTER)
        y = top + _LABEL + 14 + row * layout.row_height
        for index, image in enumerate(pair):
            _paste(sheet, image, (left + index * (layout.cell[0] + _GAP), y), layout.cell)
        text = _truncate(_drawable(caption), layout.pair_width, _CAPTION)
        draw.text((left, y + layout.cell[1] + 8), text, _MUTED_TEXT, _font(_CAPTION))


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """The same place of a source and its result, at 1:1.

    Attributes:
        source, result: uint8 RGB of the same shape.
        caption: of the pair.
        step: pixels from this crop's left border to the next one's.
    """

    source: Image
    result: Image
    caption: str
    step: int


def _crops(
    pairs: Sequence[tuple[Image, Image]], captions: Sequence[str], layout: _Layout
) -> list[_Crop]:
    """Cut the crops of pairs that are spread over those larger than their cells."""
    larger = [
        number
        for number, (source, result) in enumerate(pairs)
        if source.shape == result.shape
        and (source.shape[1] > layout.cell[0] or source.shape[0] > layout.cell[1])
    ]
    count = min(_CROPS, len(larger))
    crops: list[_Crop] = []
    shown: dict[tuple[int, ...], list[tuple[int, int]]] = {}  # places, by shape of the source
    for place in range(count):
        number = larger[(2 * place + 1) * len(larger) // (2 * count)]
        source, result = pairs[number]
        step = (layout.width - 2 * _MARGIN + _GUTTER) // count
        width = min((step - _GUTTER - _GAP) // 2, source.shape[1])
        height = min(_MAX_CROP_HEIGHT, source.shape[0])
        places = shown.setdefault(source.shape, [])
        left, top = busiest_window(source, (width, height), places)
        places.append((left, top))
        window = (slice(top, top + height), slice(left, left + width))
        crops.append(_Crop(source[window], result[window], captions[number], step))
    return crops


def _draw_crop(sheet: Pillow.Image, crop: _Crop, corner: tuple[int, int], height: int) -> None:
    """Draw both crops side by side, without scaling, and the caption below ``height``."""
    left, top = corner
    for index, image in enumerate((crop.source, crop.result)):
        sheet.paste(Pillow.fromarray(image), (left + index * (image.shape[1] + _GAP), top))
    text = _truncate(_drawable(f"1:1, {crop.caption}"), crop.step - _GUTTER, _CAPTION)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top + height + 8), text, _MUTED_TEXT, _font(_CAPTION))


def write_contact_sheet(
    columns: Sequence[tuple[str, Sequence[Image]]], path: Path, *, cell: int = 144, across: int = 10
) -> None:
    """Write a grid: one column for each heading, one row for each of its images.

    Args:
        columns: ``(heading, images)``, all of the same length. The first column is repeated at
            the left of every band of columns.
        path: the PNG to write, atomically; it replaces only such sheets.
        cell: side of an image in pixels; images are scaled to fit.
        across: columns in a band, at least 2; further columns go into bands below.

    Raises:
        ValueError: there are no columns, they differ in length, or ``across`` is below 2.
        OutputError: the file cannot be written.
    """
    if not columns or len({len(pictures) for _, pictures in columns}) != 1 or across < 2:
        raise ValueError("give columns of the same length, and at least two across")
    first, others = columns[0], columns[1:]
    bands = [[first, *others[at : at + across - 1]] for at in range(0, len(others), across - 1)]
    step, rows = cell + _GAP // 2, len(first[1])
    band_height = _LABEL + 14 + rows * step + 18
    width = 2 * _MARGIN + max(len(band) for band in bands) * step
    sheet = Pillow.new("RGB", (width, 2 * _MARGIN + len(bands) * band_height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, band in enumerate(bands):
        top = _MARGIN + number * band_height
        for column, (heading, pictures) in enumerate(band):
            left = _MARGIN + column * step
            draw.text((left, top), _truncate(_drawable(heading), cell, 14), _TEXT, _font(14))
            for row, image in enumerate(pictures):
                _paste(sheet, image, (left, top + _LABEL + 10 + row * step), (cell, cell))
    _save(sheet, path)


def _layout(shapes: Sequence[tuple[int, ...]], pairs: int) -> _Layout:
    """Compute cells of the median aspect ratio, as large as possible, and the pairs in a row."""
    aspect = statistics.median(width / height for height, width in shapes)
    largest = max(height for height, _ in shapes) * _MAX_ENLARGEMENT
    widest = (_MAX_WIDTH - 2 * _MARGIN - _GAP) // 2
    cell_height = min(widest / aspect, _MAX_CELL_HEIGHT, largest)
    cell = (max(96, min(widest, round(cell_height * aspect))), max(48, round(cell_height)))
    height, width = max(shapes)
    if len(set(shapes)) == 1 and 1 <= cell[0] / width <= _LEAST_ENLARGEMENT:
        cell = (width, height)
    pair = 2 * cell[0] + _GAP
    pairs_across = max(1, (_MAX_WIDTH - 2 * _MARGIN + _GUTTER) // (pair + _GUTTER))
    rows = -(-pairs // pairs_across)
    return _Layout(cell=cell, columns=-(-pairs // rows), rows=rows)


def _paste(
    sheet: Pillow.Image, image: Image, corner: tuple[int, int], cell: tuple[int, int]
) -> None:
    """Paste an image into the middle of its cell, on a background if it does not fill it."""
    height, width = image.shape[:2]
    scale = min(cell[0] / width, cell[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if abs(size[0] - cell[0]) <= 1 and abs(size[1] - cell[1]) <= 1:
        size = cell  # a pixel of rounding needs no background
    else:
        sheet.paste(_CELL_BACKGROUND, (*corner, corner[0] + cell[0], corner[1] + cell[1]))
    picture = Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS)
    sheet.paste(
        picture, (corner[0] + (cell[0] - size[0]) // 2, corner[1] + (cell[1] - size[1]) // 2)
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _drawable(text: str) -> str:
    """Make text drawable: one line, without characters that fonts lack, as file names may have."""
    text = " ".join(text.split()).encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in text)


def _wrap(text: str, width: int, *, lines: int) -> list[str]:
    """Wrap text to lines of at most ``width`` pixels; the last line is truncated if too long."""
    result = [""]
    for word in _drawable(text).split():
        longer = f"{result[-1]} {word}".strip()
        if len(result) < lines and result[-1] and _text_width(longer, _TITLE) > width:
            result.append(word)
        else:
            result[-1] = longer
    return [_truncate(line, width, _TITLE) for line in result]


def _truncate(text: str, width: int, size: int) -> str:
    if _text_width(text, size) <= width:
        return text
    low, high = 0, len(text)  # low characters fit with an ellipsis, high do not
    while high - low > 1:
        middle = (low + high) // 2
        if _text_width(text[:middle] + "…", size) <= width:
            low = middle
        else:
            high = middle
    return text[:low].rstrip() + "…"


def _text_width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def _save(sheet: Pillow.Image, path: Path) -> None:
    mark = PngInfo()
    mark.add_text("Software", REPORT_MARK.decode())
    try:
        with atomic_path(path, durable=False, publish=publish_report) as temporary:
            sheet.save(temporary, format="PNG", pnginfo=mark)
    except OutputError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        hint = "Choose a writable folder with free space."  # instead of the hint on jobs
        raise OutputError(error.message, path=path, hint=hint) from error
