"""Size, crop, rotation and mirror of an image item, by its properties (ISO/IEC 23008-12, 6.5)."""

from __future__ import annotations

import struct

import numpy as np

from ...depth import Samples16
from .boxes import Item


def stated_size(item: Item) -> tuple[int, int]:
    extents = item.first(b"ispe")
    if extents is None or len(extents) < 12:
        raise ValueError("the size of the image is missing")
    width, height = struct.unpack_from(">LL", extents, 4)
    return width, height


def aperture(data: bytes, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a clean aperture (ISO/IEC 14496-12, 12.1.4)."""
    if len(data) < 32:
        return 0, 0, width, height
    values = struct.unpack(">8l", data[:32])
    if any(below <= 0 for below in values[1::2]):
        return 0, 0, width, height
    inner_w, inner_h, shift_x, shift_y = (
        above / below for above, below in zip(values[::2], values[1::2], strict=True)
    )
    left = round((width - 1) / 2 + shift_x - (inner_w - 1) / 2)
    top = round((height - 1) / 2 + shift_y - (inner_h - 1) / 2)
    if not (left >= 0 and top >= 0 and left + inner_w <= width and top + inner_h <= height):
        return 0, 0, width, height
    return left, top, max(1, int(inner_w)), max(1, int(inner_h))


def transformed(pixels: Samples16, item: Item, *, turn: bool) -> Samples16:
    """Apply the crop and, with ``turn``, rotation and mirror, in the order of the file."""
    for kind, data in item.properties:
        if kind == b"clap":
            left, top, width, height = aperture(data, pixels.shape[1], pixels.shape[0])
            pixels = pixels[top : top + height, left : left + width]
        elif turn and kind == b"irot" and data:
            pixels = np.rot90(pixels, data[0] & 3)  # counter-clockwise
        elif turn and kind == b"imir" and data:
            pixels = pixels[:, ::-1] if data[0] & 1 else pixels[::-1]
    return np.ascontiguousarray(pixels)
