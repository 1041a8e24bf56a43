"""Convert colours to sRGB, by an ICC profile or by a colour space that a file names by numbers."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from ..depth import Samples16, to_8_bits, to_16_bits
from . import matrix_profile
from .color_space import ColorSpace, srgb_matrix_profile
from .declared_color import Declared

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
#: A profile is sRGB if its colours differ from sRGB's by at most this, in 8-bit steps.
_SRGB_TOLERANCE = 1
_IGNORED = "colour profile is damaged or does not match the image; ignored"


@cache
def srgb_profile() -> bytes:
    """An sRGB ICC profile, byte-identical in every process."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # ICC.1, 7.2.8: bytes 24 to 35 are the time of creation; set a fixed one.
    data[24:36] = b"\x07\xd0\x00\x01\x00\x01" + bytes(6)
    return bytes(data)


def convert_8_bits(
    image: Pillow.Image, icc: Declared, warnings: list[str]
) -> tuple[Pillow.Image, bytes | None]:
    """Convert an image of any mode without alpha to sRGB.

    Returns:
        the image, and the ICC profile to embed; None for none.
    """
    if image.mode in ("1", "P", "PA", "RGBX", "HSV", "YCbCr"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if isinstance(icc, ColorSpace) and image.mode in ("L", "RGB"):
        samples = to_16_bits(np.asarray(image.convert("RGB")))
        return Pillow.fromarray(
            to_8_bits(convert_from_space(samples, icc, warnings))
        ), srgb_profile()
    if isinstance(icc, bytes):
        try:
            return _convert_by_profile(image, icc, warnings)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            warnings.append(_IGNORED)
    if image.mode == "CMYK":
        warnings.append("CMYK without a profile; its colours are approximate")
    elif image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        warnings.append("Lab colours converted to sRGB")
        return _transform(image, lab), None
    return image.convert("RGB"), None


def convert_16_bits(
    colors: Samples16, icc: Declared, warnings: list[str]
) -> tuple[Samples16, bytes | None] | None:
    """Convert 16-bit grey or RGB to sRGB as :func:`convert_8_bits` does 8-bit colours.

    Args:
        colors: shape ``(height, width)`` or ``(height, width, 3)``.

    Returns:
        shape ``(height, width, 3)``, and the ICC profile to embed; None if the profile is of a
        kind that only the conversion of 8 bits knows.
    """
    rgb = np.dstack([colors] * 3) if colors.ndim == 2 else colors
    if icc is None:
        return rgb, None
    if isinstance(icc, ColorSpace):
        return convert_from_space(rgb, icc, warnings), srgb_profile()
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = str(profile.profile.xcolor_space).strip()
        if space != "RGB" and (space, colors.ndim) != ("GRAY", 2):
            raise ValueError(f"a {space} profile for an image of another kind")
        if space == "RGB" and _is_srgb(icc):
            return rgb, icc
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        warnings.append(_IGNORED)
        return rgb, None
    source, target = matrix_profile.parse(icc), matrix_profile.parse(srgb_profile())
    if source is None or target is None:
        return None
    if space == "RGB":
        warnings.append(f"colours converted from {_describe(profile, space)} to sRGB")
    samples = rgb if space == "RGB" else colors
    return matrix_profile.to_srgb_16_bits(samples, source, target), srgb_profile()


def convert_from_space(rgb: Samples16, space: ColorSpace, warnings: list[str]) -> Samples16:
    """Convert RGB of a space that the file names by numbers; HDR is tone-mapped.

    Args:
        rgb: shape ``(height, width, 3)``.
    """
    if space.hdr is not None:
        warnings.append(f"high dynamic range ({space.name}) tone-mapped to sRGB (BT.2390)")
        return space.hdr.to_srgb(rgb)
    warnings.append(f"colours converted from {space.name} to sRGB")
    return matrix_profile.to_srgb_16_bits(rgb, space.profile(), srgb_matrix_profile())


def _describe(profile: ImageCms.ImageCmsProfile, space: str) -> str:
    text = (profile.profile.profile_description or "").strip().split("\n")[0] or space
    return str(text)[:60]


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
    if image.mode != "L":
        warnings.append(f"colours converted from {_describe(profile, space)} to sRGB")
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
