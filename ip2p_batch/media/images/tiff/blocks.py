"""Decompress the tiles and strips of a TIFF page to rows of bytes.

The page is decoded by Pillow under a directory that says "grey of 8 bits".
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import TiffImageFile

from . import directories as tiff
from .page import Page, read_at

Bytes = npt.NDArray[np.uint8]

FILL_ORDER = 266
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def grid(page: Page) -> tuple[int, int, int, int]:
    """Width and height in pixels of the page, and of its tiles or strips.

    Raises:
        ValueError: one of them is zero.
    """
    width, height = page.value(tiff.WIDTH, 0), page.value(tiff.LENGTH, 0)
    if page.values(tiff.TILE_OFFSETS):
        across, down = page.value(_TILE_WIDTH, 0), page.value(_TILE_LENGTH, 0)
    else:
        across, down = width, min(page.value(tiff.ROWS_PER_STRIP, height), height)
    if not (width and height and across and down):
        raise ValueError("it has no pixels")
    return width, height, across, down


def parts_of(page: Page, plane: int) -> list[bytes]:
    """The compressed tiles or strips of a plane, row by row.

    Raises:
        ValueError: some are missing.
    """
    width, height, across, down = grid(page)
    is_tiled = bool(page.values(tiff.TILE_OFFSETS))
    offsets = page.values(tiff.TILE_OFFSETS if is_tiled else tiff.STRIP_OFFSETS)
    sizes = page.values(tiff.TILE_BYTE_COUNTS if is_tiled else tiff.STRIP_BYTE_COUNTS)
    count = -(-width // across) * -(-height // down)
    own = slice(plane * count, (plane + 1) * count)
    if len(offsets[own]) < count:
        raise ValueError("strips or tiles are missing")
    if len(sizes) < len(offsets):  # files of the 1980s: each strip ends where the next begins
        page.file.seek(0, 2)
        ends = sorted({*offsets, page.file.tell()})
        sizes = tuple(ends[min(ends.index(at) + 1, len(ends) - 1)] - at for at in offsets)
    return [read_at(page.file, *part) for part in zip(offsets[own], sizes[own], strict=True)]


def decompress(page: Page, parts: list[bytes], row: int, columns: int) -> Bytes:
    """Decode tiles or strips with rows of ``row`` bytes to one array of bytes.

    Returns:
        shape ``(height or more, columns * row)``.

    Raises:
        ValueError: the file is truncated.
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    _, height, _, down = grid(page)
    is_tiled = bool(page.values(tiff.TILE_OFFSETS))
    rows = len(parts) // columns * down if is_tiled else height
    compression = page.value(tiff.COMPRESSION, 1)
    if compression == 1 and page.value(FILL_ORDER, 1) == 1:
        lengths = [down * row] * len(parts)
        if not is_tiled:
            lengths[-1] = (height - (len(parts) - 1) * down) * row
        if any(len(part) < size for part, size in zip(parts, lengths, strict=True)):
            raise ValueError("the file is truncated")
        joined = b"".join(part[:size] for part, size in zip(parts, lengths, strict=True))
        array = np.frombuffer(joined, np.uint8)
        if not is_tiled:
            return array.reshape(rows, row)
        tiles = array.reshape(-1, columns, down, row)
        return tiles.swapaxes(1, 2).reshape(rows, columns * row)
    with TiffImageFile(io.BytesIO(_as_bytes(page, parts, row, columns, rows, down))) as image:
        image.load()
        return np.asarray(image)


def _as_bytes(
    page: Page, parts: list[bytes], row: int, columns: int, rows: int, down: int
) -> bytes:
    """A file of one page, "grey of 8 bits", with the same compressed data."""
    file = bytearray(b"II*\0" + bytes(4))
    offsets = []
    for part in parts:
        offsets.append(len(file))
        file += part
    sizes = [len(part) for part in parts]
    fields = {
        tiff.WIDTH: [row * columns], tiff.LENGTH: [rows], tiff.BITS_PER_SAMPLE: [8],
        tiff.COMPRESSION: [page.value(tiff.COMPRESSION, 1)], tiff.PHOTOMETRIC: [1],
        FILL_ORDER: [page.value(FILL_ORDER, 1)], tiff.SAMPLES_PER_PIXEL: [1],
        tiff.PLANAR_CONFIGURATION: [1],
    }  # fmt: skip
    if page.values(tiff.TILE_OFFSETS):
        fields |= {_TILE_WIDTH: [row], _TILE_LENGTH: [down]}
        fields |= {tiff.TILE_OFFSETS: offsets, tiff.TILE_BYTE_COUNTS: sizes}
    else:
        fields |= {tiff.ROWS_PER_STRIP: [down]}
        fields |= {tiff.STRIP_OFFSETS: offsets, tiff.STRIP_BYTE_COUNTS: sizes}
    return tiff.with_fields(file, fields)
