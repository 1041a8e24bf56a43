"""Decode 16-bit colour with Pillow, which has no image type for it and keeps the high bytes.

Its decoders give either byte of each sample, by the name of the raw layout: ``RGB;16B`` is the
first byte of each, and ``RGB;16L`` the second. So an image is decoded twice, with all that Pillow
knows about strips, tiles, compressions and orientation.
"""

from __future__ import annotations

import io
import sys
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ..depth import Samples16
from . import tiff
from .formats import UnsupportedSamplesError

#: Raw layouts whose high and low bytes can be decoded alone, without the byte order.
_LAYOUTS = ("RGB", "RGBX", "RGBA", "RGBa")
_NATIVE = "L" if sys.byteorder == "little" else "B"
_WHITE = 65535


def decode_16_bits(image: Pillow.Image, name: str) -> Samples16 | None:
    """Decode a PNG or TIFF of 16-bit samples, completely.

    Args:
        image: opened, not yet loaded.
        name: its format.

    Returns:
        shape ``(height, width)`` for grey, else ``(height, width, channels)``: 2 for grey and
        alpha, 3 for RGB, 4 for RGB and alpha that is not multiplied into the colours. A TIFF is
        turned by its orientation, a PNG is not. None for other samples; the image is then still
        not loaded.

    Raises:
        UnsupportedSamplesError: Pillow decodes this kind wrongly.
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    file = getattr(image, "fp", None)
    if name not in ("png", "tiff") or file is None:
        return None
    if name == "tiff" and _is_planar(image):
        return _decode_planes(image, file)
    if image.mode.startswith("I;16"):
        return _decode_grey(image)
    layout = _layout(image)
    if layout == "LA;16B":
        # As many bytes a pixel as RGBA of 8 bits: two of grey, two of alpha.
        samples = np.ascontiguousarray(_load(image, "RGBA")).view(">u2")
        return samples.astype(np.uint16)
    channels, _, order = layout.partition(";16")
    if channels not in _LAYOUTS or order not in ("L", "B", "N"):
        return None
    order = _NATIVE if order == "N" else order
    stored = "RGBA" if channels == "RGBa" else channels  # Pillow would divide by alpha in 8 bits
    samples = np.left_shift(_load(image, f"{stored};16{order}"), 8, dtype=np.uint16)
    file.seek(0)
    with type(image)(file) as second:  # type: ignore[call-arg]
        samples |= _load(second, f"{stored};16{'L' if order == 'B' else 'B'}")
    return _divided_by_alpha(samples) if channels == "RGBa" else samples


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


def _decode_grey(image: Pillow.Image) -> Samples16:
    """Decode grey; samples of fewer than 16 bits keep their range."""
    is_white_zero = getattr(image, "tag_v2", {}).get(tiff.PHOTOMETRIC) == 0
    image.load()
    samples: Samples16 = np.asarray(image).astype(np.uint16)
    return _WHITE - samples if is_white_zero else samples


def _is_planar(image: Pillow.Image) -> bool:
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(tiff.BITS_PER_SAMPLE, (8,))
    return tags.get(tiff.PLANAR_CONFIGURATION) == 2 and len(bits) > 1 and set(bits) == {16}


def _decode_planes(image: Pillow.Image, file: IO[bytes]) -> Samples16:
    """Decode RGB, with or without alpha, whose channels are stored one after the other."""
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(tiff.PHOTOMETRIC) != 2:
        raise UnsupportedSamplesError("16-bit samples in planes that are not RGB")
    extra = tags.get(tiff.EXTRA_SAMPLES, ())
    file.seek(0)
    data = file.read()
    try:
        files = list(tiff.split_planes(data, int(tags[tiff.SAMPLES_PER_PIXEL])))
    except ValueError as error:
        raise UnsupportedSamplesError(f"16-bit samples in planes: {error}") from None
    has_alpha = len(files) > 3 and extra[:1] in ((1,), (2,))
    planes = []
    for plane in files[: 4 if has_alpha else 3]:
        with type(image)(io.BytesIO(plane)) as opened:  # type: ignore[call-arg]
            planes.append(_decode_grey(opened))
    samples = np.dstack(planes)
    return _divided_by_alpha(samples) if has_alpha and extra[0] == 1 else samples


def _divided_by_alpha(samples: Samples16) -> Samples16:
    """Divide colours by alpha where it is not zero."""
    alpha = samples[..., 3:].astype(np.float32)
    scale = np.divide(_WHITE, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    colors = np.minimum(np.rint(samples[..., :3] * scale), _WHITE)
    return np.dstack([colors.astype(np.uint16), samples[..., 3:]])
