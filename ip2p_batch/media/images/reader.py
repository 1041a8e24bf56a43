"""Read an image file to upright sRGB pixels and the metadata that its result keeps."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image as Pillow

from ...frame import FullImage, Image
from ..depth import to_8_bits
from . import exif, metadata
from .color import Alpha, to_srgb
from .heif.boxes import read_boxes
from .metadata import Metadata
from .opening import open_image, orientation, upright_size
from .tiff.page import page_of


@dataclass(slots=True, eq=False)
class Still:
    """An image, and what its result keeps of it.

    Attributes:
        image: upright sRGB pixels, shape ``(height, width, 3)``.
        alpha: opacity, uint8 or uint16, shape ``(height, width)``; None for an image without alpha.
        format: of the file's content: ``jpeg``, ``png``, ``webp``, ``tiff``, ``bmp``, ``avif``.
        metadata: what the result keeps, apart from colour profile and resolution.
        icc: ICC profile to embed: the source's own if its colours are sRGB, else an sRGB profile.
            None if the source has none; readers take its pixels for sRGB, too.
        dpi: horizontal and vertical pixels per inch; None if the file names none.
        lossless: whether the source is stored losslessly, for formats that can do both.
        warnings: one line for each loss in reading; writing appends its own.
    """

    image: FullImage
    alpha: Alpha | None
    format: str
    metadata: Metadata = field(default_factory=Metadata)
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    lossless: bool = False
    warnings: list[str] = field(default_factory=list)


def read_still(path: Path, *, deep: bool = False, max_pixels: int | None = None) -> Still:
    """Decode an image completely.

    Args:
        deep: keep the 16 bits a sample of a PNG or TIFF, as uint16; otherwise they are reduced to 8
            with a warning.
        max_pixels: larger images are refused before they are decoded; None: ``limits.PIXELS``.

    Raises:
        SourceError: the file cannot be read, is truncated or damaged, is not an image, or is too
            large. Its message is ``PATH: REASON``.
    """
    with open_image(path, max_pixels=max_pixels) as (image, name):
        lossless = name == "webp" and _is_lossless_webp(image)
        exif_orientation = orientation(image, name)
        early = metadata.read_early(
            image, name, turned=exif_orientation >= 5, size=upright_size(image, name)
        )
        pixels = to_srgb(image, name, deep=deep)
        if not pixels.rgb.size:
            raise ValueError("it has no pixels")
        exif_orientation = orientation(image, name)
        rgb = _turn_upright(pixels.rgb, exif_orientation)
        alpha = None if pixels.alpha is None else _turn_upright(pixels.alpha, exif_orientation)
        size = (rgb.shape[1], rgb.shape[0])
        turned = exif_orientation != 1
        kept = metadata.read(image, name, early, size, turned=turned, profile=pixels.profile)
        return Still(
            image=rgb,
            alpha=alpha,
            format=name,
            metadata=kept,
            icc=pixels.profile,
            dpi=_dpi(image, kept.exif, is_transposed=exif_orientation >= 5),
            lossless=lossless,
            warnings=[*pixels.warnings, *_other_images(image, name), *kept.warnings],
        )


def read_image(path: Path) -> Image:
    """Read only the pixels of an image: upright, sRGB, uint8, shape ``(height, width, 3)``.

    Raises:
        SourceError: as :func:`read_still`.
    """
    return to_8_bits(read_still(path).image)


def still_size(path: Path, *, max_pixels: int | None = None) -> tuple[int, int]:
    """Read the upright ``(width, height)`` of an image from its header, without decoding it.

    Raises:
        SourceError: as :func:`read_still`, except for damage after the header.
    """
    with open_image(path, max_pixels=max_pixels) as (image, name):
        return upright_size(image, name)


def read_comment(path: Path) -> str | None:
    """Read the recipe that :func:`writer.write_still` embedded; None if there is none.

    Raises:
        SourceError: the file is not an image.
    """
    with open_image(path) as (image, name):
        return metadata.recipe_of(image, name)


def _turn_upright(pixels: Alpha, orientation: int) -> Alpha:
    """Apply an EXIF orientation (EXIF 3.0, section 4.6.5) to pixels."""
    if orientation >= 5:  # 5 to 8 exchange rows and columns
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return cast(Alpha, np.ascontiguousarray(pixels))


def _other_images(image: Pillow.Image, name: str) -> list[str]:
    """Warnings about images in the file that are not edited."""
    page = page_of(image)
    if page is not None:
        return page.left_out()
    warnings = []
    file = getattr(image, "fp", None)
    if name in ("avif", "heic") and file is not None:
        with suppress(ValueError):  # the image was decoded, so its description is only unusual
            warnings += read_boxes(file).left_out()
    frames = getattr(image, "n_frames", 1)
    if isinstance(frames, int) and frames > 1:
        warnings.append(f"holds {frames} images; only the first is edited")
    return warnings


def _dpi(image: Pillow.Image, block: bytes, *, is_transposed: bool) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    is_stated = image.info.get("jfif_unit") in (1, 2) or exif.has_resolution(block)
    if image.format in ("JPEG", "MPO") and not is_stated:
        return None  # Pillow gives 72 where there is EXIF without a resolution
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 65536 for value in (across, down)):
        return None
    return (down, across) if is_transposed else (across, down)


def _is_lossless_webp(image: Pillow.Image) -> bool:
    file = getattr(image, "fp", None)
    if file is None:
        return False
    file.seek(0)
    head: bytes = file.read(1 << 16)
    # The chunk of the pixels is "VP8L" if lossless, else "VP8 "; an ICC profile may precede it.
    return b"VP8L" in head and b"VP8 " not in head
