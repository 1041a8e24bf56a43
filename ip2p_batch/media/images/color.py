"""Convert decoded images of any mode to sRGB and alpha, and report every loss.

Pillow's own conversions lose data silently: they clip 16-bit grey to white, cut 16-bit colour to
its high byte, and ignore ICC profiles.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from PIL import Image as Pillow

from ...frame import FullImage
from ..depth import Samples8, Samples16, to_8_bits, to_16_bits
from . import jpeg_xl
from .color_space import ColorSpace
from .declared_color import Declared, declared_color
from .deep import decode_16_bits
from .heif.boxes import read_boxes
from .heif.file import HeifFile
from .heif.image import heif_of
from .srgb import convert_8_bits, convert_16_bits, convert_from_space, srgb_profile
from .tiff.colors import Colors
from .tiff.colors import decode as decode_tiff
from .tiff.page import page_of
from .tiff.samples import has_own_decoder
from .unsupported import UnsupportedSamplesError

Alpha = Samples8 | Samples16

_WHITE = 65535


@dataclass(slots=True)
class Pixels:
    """A decoded image, not yet turned upright.

    Attributes:
        rgb: sRGB, ``(height, width, 3)``.
        alpha: opacity, ``(height, width)``, of the type of ``rgb``; None if the format or mode has
            none.
        profile: ICC profile to embed in the result; None if the source has no usable one.
        warnings: one line for each loss.
    """

    rgb: FullImage
    alpha: Alpha | None
    profile: bytes | None
    warnings: list[str]


def to_srgb(image: Pillow.Image, name: str, *, deep: bool = False) -> Pixels:
    """Decode an opened image of format ``name`` and convert it.

    Args:
        deep: keep 16 bits a sample, as uint16, where the conversion is possible.

    Raises:
        UnsupportedSamplesError: samples without a known white value (32-bit integers, floats
            beyond 0 to 1), or of a layout that cannot be decoded.
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    warnings: list[str] = []
    icc = declared_color(image, name, warnings)
    page = page_of(image)
    if page is not None and has_own_decoder(page):
        return _from_tiff(decode_tiff(page), icc, deep, warnings)
    if name == "heic":
        return _from_heif(heif_of(image), icc, deep, warnings, upright=True)
    depth = _depth(image, name)  # before load(), which forgets it
    if name == "avif" and depth > 8 and (file := getattr(image, "fp", None)) is not None:
        with suppress(ValueError, av.FFmpegError):  # Pillow decodes more kinds, in 8 bits
            return _from_heif(HeifFile(file), icc, deep, warnings, upright=False)
    samples = decode_16_bits(image, name) if depth > 8 else None
    reduced = f"{depth}-bit samples"
    if samples is None:
        if image.mode == "F":
            raise UnsupportedSamplesError("of a kind that cannot be edited: floating-point grey")
        if name == "jxl" and _jpeg_xl_header(image).is_animation:
            warnings.append("holds several images; only the first is edited")
        image.load()  # verify() would accept truncated files
        if depth > 8:
            warnings.append(f"{reduced} reduced to 8 bits")
        return _from_8_bits(image, icc, None, warnings)
    colors, alpha = _separate_alpha(samples, image.info.get("transparency"))
    return _from_16_bits(colors, alpha, icc, reduced, deep, warnings)


def _from_8_bits(
    image: Pillow.Image, icc: Declared, alpha: Alpha | None, warnings: list[str]
) -> Pixels:
    """Convert an image that Pillow has decoded."""
    if image.mode == "RGBa" or image.mode == "La":
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        image, alpha = _split_alpha(image)
    rgb, profile = convert_8_bits(image, icc, warnings)
    return Pixels(np.ascontiguousarray(np.asarray(rgb)), alpha, profile, warnings)


def _from_tiff(page: Colors, icc: Declared, deep: bool, warnings: list[str]) -> Pixels:
    """Convert a page that was decoded here."""
    colors, alpha = page.colors, page.alpha
    if colors.dtype == np.uint16:
        samples = to_16_bits(colors)
        opacity = None if alpha is None else to_16_bits(alpha)
        pixels = _from_16_bits(samples, opacity, icc, page.deep, deep, warnings)
        if page.is_real and pixels.rgb.dtype == np.uint16:
            warnings.append(f"{page.deep} reduced to 16 bits")
        return pixels
    if page.deep:
        warnings.append(f"{page.deep} reduced to 8 bits")
    shades = np.ascontiguousarray(to_8_bits(colors))
    height, width = shades.shape[:2]
    image = Pillow.frombytes(page.mode, (width, height), shades.tobytes())
    return _from_8_bits(image, icc, alpha, warnings)


def _from_heif(
    file: HeifFile, icc: Declared, deep: bool, warnings: list[str], *, upright: bool
) -> Pixels:
    decoded, bits = file.decode(upright=upright), file.boxes.bits()
    if bits > 8:
        words = f"{bits}-bit samples"
        return _from_16_bits(decoded.rgb, decoded.alpha, icc, words, deep, warnings)
    alpha = None if decoded.alpha is None else to_8_bits(decoded.alpha)
    return _from_8_bits(Pillow.fromarray(to_8_bits(decoded.rgb)), icc, alpha, warnings)


def _from_16_bits(
    colors: Samples16,
    alpha: Samples16 | None,
    icc: Declared,
    reduced: str,
    deep: bool,
    warnings: list[str],
) -> Pixels:
    """Convert grey or RGB of 16 bits.

    Args:
        colors: shape ``(height, width)`` or ``(height, width, 3)``.
        reduced: words for a warning.
    """
    if deep:
        converted = convert_16_bits(colors, icc, warnings)
        if converted is not None:
            return Pixels(np.ascontiguousarray(converted[0]), alpha, converted[1], warnings)
    warnings.append(f"{reduced} reduced to 8 bits")
    shallow = None if alpha is None else to_8_bits(alpha)
    if isinstance(icc, ColorSpace):  # dark samples of HDR need the depth
        rgb = np.dstack([colors] * 3) if colors.ndim == 2 else colors
        return Pixels(
            to_8_bits(convert_from_space(rgb, icc, warnings)), shallow, srgb_profile(), warnings
        )
    return _from_8_bits(Pillow.fromarray(to_8_bits(colors)), icc, shallow, warnings)


def _separate_alpha(samples: Samples16, transparent: object) -> tuple[Samples16, Samples16 | None]:
    """Colours and alpha; ``transparent`` is a PNG's colour without opacity, if it has one."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if channels in (2, 4):
        colors = samples[..., 0] if channels == 2 else samples[..., :3]
        return colors, np.ascontiguousarray(samples[..., -1])
    if isinstance(transparent, (int, tuple)):
        is_clear = samples == np.array(transparent)
        if channels == 3:
            is_clear = is_clear.all(axis=-1)
        return samples, np.where(is_clear, 0, _WHITE).astype(np.uint16)
    return samples, None


def _depth(image: Pillow.Image, name: str) -> int:
    """Bits per sample in the file."""
    tiles = getattr(image, "tile", ())
    if name == "png" and any(";16" in str(tile[3]) for tile in tiles):
        return 16
    if name == "jxl":
        return _jpeg_xl_header(image).bits or 8
    if name == "jp2":
        return _jpeg_2000_depth(image)
    return _avif_depth(image) if name == "avif" else 8


def _jpeg_xl_header(image: Pillow.Image) -> jpeg_xl.Header:
    """The header of an opened JPEG XL image."""
    data: bytes = getattr(image, "fc", b"")
    return jpeg_xl.read_header(io.BytesIO(data))


def _jpeg_2000_depth(image: Pillow.Image) -> int:
    """Bits per sample by the marker SIZ (ISO/IEC 15444-1, A.5.1)."""
    file: Any = getattr(image, "fp", None)
    place = file.tell()
    file.seek(0)
    head: bytes = file.read(1 << 16)
    file.seek(place)
    at = head.find(b"\xff\x4f\xff\x51")
    precision = head[at + 42 : at + 43] if at >= 0 else b""
    return (precision[0] & 0x7F) + 1 if precision else 8


def _avif_depth(image: Pillow.Image) -> int:
    """Bits per channel of an AVIF file."""
    file: Any = getattr(image, "fp", None)
    try:
        return read_boxes(file).bits() if file is not None else 8
    except ValueError:  # Pillow has read the file, so its description is only unusual
        return 8


def _split_alpha(image: Pillow.Image) -> tuple[Pillow.Image, Alpha]:
    """Split an image into colours and alpha; colours under full transparency are kept."""
    info = image.info
    if image.mode != "LA":
        image = image.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    colors = image.convert("L" if image.mode == "LA" else "RGB")
    colors.info = {k: v for k, v in info.items() if k != "transparency"}
    return colors, np.ascontiguousarray(alpha)
