"""Convert decoded images of any mode to 8-bit sRGB and alpha, and report every loss.

Pillow's own conversions lose data silently: they clip 16-bit grey to white, cut 16-bit colour to
its high byte, and ignore ICC profiles.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageCms

from ...frame import Image
from .formats import UnsupportedSamplesError

Alpha = npt.NDArray[np.uint8]

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
#: A profile is sRGB if its colours differ from sRGB's by at most this, in 8-bit steps.
_SRGB_TOLERANCE = 1


@dataclass(slots=True)
class Pixels:
    """A decoded image, not yet turned upright.

    Attributes:
        rgb: uint8 sRGB, ``(height, width, 3)``.
        alpha: uint8 opacity, ``(height, width)``; None if the format or mode has none.
        profile: ICC profile to embed in the result; None if the source has no usable one.
        warnings: one line for each loss.
    """

    rgb: Image
    alpha: Alpha | None
    profile: bytes | None
    warnings: list[str]


def to_srgb(image: Pillow.Image, name: str) -> Pixels:
    """Decode an opened image of format ``name`` and convert it.

    Raises:
        UnsupportedSamplesError: samples without a known white value (32-bit integers, floats
            beyond 0 to 1).
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    warnings: list[str] = []
    deep, white = _depth(image, name)  # before load(), which forgets it
    image.load()  # verify() would accept truncated files
    if deep > 8 and image.mode != "F":
        warnings.append(f"{deep}-bit samples reduced to 8 bits")
    alpha: Alpha | None = None
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image, alpha = _reduce_grey(image, white, warnings)
    elif image.mode == "RGBa" or image.mode == "La":
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        image, alpha = _split_alpha(image)
    rgb, profile = _convert_to_rgb(image, image.info.get("icc_profile"), warnings)
    return Pixels(np.ascontiguousarray(np.asarray(rgb)), alpha, profile, warnings)


@cache
def srgb_profile() -> bytes:
    """An sRGB ICC profile, byte-identical in every process."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # ICC.1, 7.2.8: bytes 24 to 35 are the time of creation; set a fixed one.
    data[24:36] = b"\x07\xd0\x00\x01\x00\x01" + bytes(6)
    return bytes(data)


def _depth(image: Pillow.Image, name: str) -> tuple[int, int]:
    """Bits per sample in the file, and the sample value of white for deep greys."""
    if name == "tiff":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))  # BitsPerSample
        deepest = max(bits, default=8) if isinstance(bits, tuple) else 8
        # 12-bit grey stays in its own range; Pillow only unpacks it.
        return deepest, (1 << deepest) - 1 if 8 < deepest < 16 else 65535
    tiles = getattr(image, "tile", ())
    if name == "png" and any(";16" in str(tile[3]) for tile in tiles):
        return 16, 65535
    return (_avif_depth(image) if name == "avif" else 8), 65535


def _avif_depth(image: Pillow.Image) -> int:
    """Bits per channel by the first ``pixi`` box (ISO/IEC 23008-12, 6.5.6)."""
    file: Any = getattr(image, "fp", None)
    if file is None:
        return 8
    file.seek(0)
    head: bytes = file.read(4096)
    at = head.find(b"pixi")
    bits = head[at + 9 : at + 10]  # name, version and flags, number of channels, then the bits
    return bits[0] if at >= 0 and bits and bits[0] in (10, 12) else 8


def _reduce_grey(
    image: Pillow.Image, white: int, warnings: list[str]
) -> tuple[Pillow.Image, Alpha | None]:
    """Round deep grey to mode L; also returns alpha from a PNG's transparent grey value."""
    samples = np.asarray(image)
    if image.mode == "F":
        low, high = (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
        if not 0 <= low <= high <= 1:  # also refuses NaN
            raise UnsupportedSamplesError(
                f"floating-point samples from {low:g} to {high:g}; only 0 to 1 have a known white"
            )
        warnings.append("floating-point samples, 0 to 1, reduced to 8 bits")
        grey = np.rint(samples * 255.0).astype(np.uint8)
    else:
        if samples.size and not 0 <= samples.min() <= samples.max() <= white:
            raise UnsupportedSamplesError("32-bit samples beyond 16 bits have no known white")
        # For white 65535 this divides by 257: 0 stays 0 and 65535 becomes 255.
        grey = ((samples.astype(np.int64) * 510 + white) // (2 * white)).astype(np.uint8)
    alpha: Alpha | None = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(samples == transparent, 0, 255).astype(np.uint8)
    result = Pillow.fromarray(grey)
    result.info = {k: v for k, v in image.info.items() if k != "transparency"}
    return result, alpha


def _split_alpha(image: Pillow.Image) -> tuple[Pillow.Image, Alpha]:
    """Split an image into colours and alpha; colours under full transparency are kept."""
    info = image.info
    if image.mode != "LA":
        image = image.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    colors = image.convert("L" if image.mode == "LA" else "RGB")
    colors.info = {k: v for k, v in info.items() if k != "transparency"}
    return colors, np.ascontiguousarray(alpha)


def _convert_to_rgb(
    image: Pillow.Image, icc: object, warnings: list[str]
) -> tuple[Pillow.Image, bytes | None]:
    """Convert to sRGB; also returns the ICC profile to embed, if any."""
    if image.mode in ("1", "P", "PA", "RGBX", "HSV", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if isinstance(icc, bytes) and icc:
        try:
            return _convert_by_profile(image, icc, warnings)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            warnings.append("colour profile is damaged or does not match the image; ignored")
    if image.mode == "CMYK":
        warnings.append("CMYK without a profile; its colours are approximate")
    elif image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        warnings.append("Lab colours converted to sRGB")
        return _transform(image, lab), None
    return image.convert("RGB"), None


def _convert_by_profile(
    image: Pillow.Image, icc: bytes, warnings: list[str]
) -> tuple[Pillow.Image, bytes | None]:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    space = str(profile.profile.xcolor_space).strip()
    if image.mode == "L" and space == "RGB":
        image = image.convert("RGB")
    if {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}.get(image.mode) != space:
        raise ValueError(f"a {space} profile for an image in {image.mode}")
    if image.mode == "RGB" and _is_srgb(icc):
        return image, icc  # unchanged pixels
    what = (profile.profile.profile_description or "").strip().split("\n")[0] or space
    if image.mode != "L":
        warnings.append(f"colours converted from {what[:60]} to sRGB")
    return _transform(image, profile), srgb_profile()


def _transform(image: Pillow.Image, profile: ImageCms.ImageCmsProfile) -> Pillow.Image:
    target = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    transform = ImageCms.buildTransform(profile, target, image.mode, "RGB", _INTENT, _FLAGS)
    result = ImageCms.applyTransform(image, transform)
    if result is None:  # only for transforms in place
        raise ValueError("the transform gave no image")
    return result


@cache
def _grid() -> Pillow.Image:
    """Colours on a 9 x 9 x 9 grid of RGB."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return Pillow.fromarray(np.ascontiguousarray(cube.reshape(27, 27, 3)))


def _is_srgb(icc: bytes) -> bool:
    grid = _grid()
    there = _transform(grid, ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    difference = np.asarray(there).astype(int) - np.asarray(grid)
    return int(np.abs(difference).max()) <= _SRGB_TOLERANCE
