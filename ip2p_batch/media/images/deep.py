"""Decode 16-bit colour with Pillow, which has no image type for it and keeps the high bytes.

Its PNG decoder gives either byte of each sample, by the name of the raw layout: ``RGB;16B`` is the
first byte of each, and ``RGB;16L`` the second. So an image is decoded twice.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ..depth import Samples16

#: Raw layouts whose high and low bytes can be decoded alone, without the byte order.
_LAYOUTS = ("RGB", "RGBA")
_NATIVE = "L" if sys.byteorder == "little" else "B"


def decode_16_bits(image: Pillow.Image, name: str) -> Samples16 | None:
    """Decode a PNG of 16-bit samples, or grey of JPEG 2000 and JPEG XL with more than 8 bits.

    Args:
        image: opened, not yet loaded.
        name: its format.

    Returns:
        shape ``(height, width)`` for grey, else ``(height, width, channels)``: 2 for grey and
        alpha, 3 for RGB, 4 for RGB and alpha; not turned by the orientation. None for other
        samples; the image is then still not loaded.

    Raises:
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    file = getattr(image, "fp", None)
    if name not in ("png", "jp2", "jxl") or file is None:
        return None
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)
    layout = _layout(image) if name == "png" else ""
    if layout == "LA;16B":
        # As many bytes a pixel as RGBA of 8 bits: two of grey, two of alpha.
        samples = np.ascontiguousarray(_load(image, "RGBA")).view(">u2")
        return samples.astype(np.uint16)
    channels, _, order = layout.partition(";16")
    if channels not in _LAYOUTS or order not in ("L", "B", "N"):
        return None
    order = _NATIVE if order == "N" else order
    samples = np.left_shift(_load(image, f"{channels};16{order}"), 8, dtype=np.uint16)
    file.seek(0)
    with type(image)(file) as second:  # type: ignore[call-arg]
        samples |= _load(second, f"{channels};16{'L' if order == 'B' else 'B'}")
    return samples


def _load(image: Pillow.Image, layout: str) -> npt.NDArray[np.uint8]:
    """Decode an opened image as if its samples had another raw layout of the same size."""
    tiles: list[Any] = getattr(image, "tile", [])
    for number, tile in enumerate(tiles):
        args = tile.args
        tiles[number] = tile._replace(
            args=(layout, *args[1:]) if isinstance(args, tuple) else layout
        )
    image.load()
    return np.asarray(image)


def _layout(image: Pillow.Image) -> str:
    """Pillow's name of an opened image's raw layout."""
    tiles: list[Any] = getattr(image, "tile", [])
    args = tiles[0].args if tiles else ""
    return str(args[0] if isinstance(args, tuple) else args)
