"""Read an image file to upright sRGB pixels and the metadata that its result keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags
from PIL import Image as Pillow

from ...frame import FullImage, Image
from ..depth import to_8_bits
from . import metadata, tiff_page
from .color import Alpha, to_srgb
from .formats import open_image, orientation, upright_size
from .metadata import COMMENT_KEY

#: Text chunks of a PNG in which ImageMagick and Pillow store EXIF and XMP.
_METADATA_KEYS = ("Raw profile type exif", "XML:com.adobe.xmp", "Raw profile type xmp")


@dataclass(slots=True, eq=False)
class Still:
    """An image, and what its result keeps of it.

    Attributes:
        image: upright sRGB pixels, shape ``(height, width, 3)``.
        alpha: opacity, uint8 or uint16, shape ``(height, width)``; None for an image without alpha.
        format: of the file's content: ``jpeg``, ``png``, ``webp``, ``tiff``, ``bmp``, ``avif``.
        exif: EXIF block with orientation 1 and without thumbnail; empty if the file has none.
        xmp: XMP packet with orientation 1.
        icc: ICC profile to embed: the source's own if its colours are sRGB, else an sRGB profile.
            None if the source has none; readers take its pixels for sRGB, too.
        dpi: horizontal and vertical pixels per inch; None if the file names none.
        text: text chunks of a PNG.
        lossless: whether the source is stored losslessly, for formats that can do both.
        warnings: one line for each loss in reading; writing appends its own.
    """

    image: FullImage
    alpha: Alpha | None
    format: str
    exif: bytes = b""
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
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
        # Read a TIFF's tags before load(), which closes the file; a PNG's after load(), because
        # they may follow the pixels.
        early_exif = _exif(image) if name == "tiff" else None
        pixels = to_srgb(image, name, deep=deep)
        if not pixels.rgb.size:
            raise ValueError("it has no pixels")
        exif_orientation = orientation(image, name)
        rgb = _turn_upright(pixels.rgb, exif_orientation)
        alpha = None if pixels.alpha is None else _turn_upright(pixels.alpha, exif_orientation)
        size = (rgb.shape[1], rgb.shape[0])
        warnings = pixels.warnings
        warnings += _other_images(image)
        source_exif = _exif(image) if early_exif is None else early_exif
        exif = None if source_exif is None else _clean_exif(source_exif, size)
        if exif is None:
            warnings.append("EXIF data is damaged and was left out")
        return Still(
            image=rgb,
            alpha=alpha,
            format=name,
            exif=exif or b"",
            xmp=metadata.upright_xmp(image.info.get("xmp")),
            icc=pixels.profile,
            dpi=_dpi(image, is_transposed=exif_orientation >= 5),
            text=_text(image) if name == "png" else {},
            lossless=lossless,
            warnings=warnings,
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
        if name == "png":
            text = image.info.get(COMMENT_KEY)
            return str(text) if text is not None else None
        return metadata.exif_comment(image.getexif())


def _turn_upright(pixels: Alpha, orientation: int) -> Alpha:
    """Apply an EXIF orientation (EXIF 3.0, section 4.6.5) to pixels."""
    if orientation >= 5:  # 5 to 8 exchange rows and columns
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return cast(Alpha, np.ascontiguousarray(pixels))


def _other_images(image: Pillow.Image) -> list[str]:
    """Warnings about images in the file that are not edited."""
    page = tiff_page.page_of(image)
    if page is not None:
        warnings = []
        if page.pages > 1:
            warnings.append(f"holds {page.pages} images; only the first is edited")
        if page.thumbnails:
            what = (
                "its smaller copy"
                if page.thumbnails == 1
                else f"its {page.thumbnails} smaller copies"
            )
            warnings.append(f"{what} (thumbnail, mask) left out")
        return warnings
    frames = getattr(image, "n_frames", 1)
    if isinstance(frames, int) and frames > 1:
        return [f"holds {frames} images; only the first is edited"]
    return []


def _exif(image: Pillow.Image) -> Pillow.Exif | None:
    """Read all EXIF directories while the file is open; None if they are damaged."""
    try:
        exif = image.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
        exif.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # Pillow raises any exception on damaged data
        return None
    return exif


def _clean_exif(exif: Pillow.Exif, size: tuple[int, int]) -> bytes | None:
    try:
        return metadata.clean_exif(exif, size)
    except Exception:  # Pillow raises any exception on damaged data
        return None


def _dpi(image: Pillow.Image, *, is_transposed: bool) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 65536 for value in (across, down)):
        return None
    return (down, across) if is_transposed else (across, down)


def _text(image: Pillow.Image) -> dict[str, str]:
    chunks = getattr(image, "text", {})
    return {
        str(key): str(value)
        for key, value in chunks.items()
        if key not in (*_METADATA_KEYS, COMMENT_KEY) and key.isascii() and 0 < len(key) < 80
    }


def _is_lossless_webp(image: Pillow.Image) -> bool:
    file = getattr(image, "fp", None)
    if file is None:
        return False
    file.seek(0)
    head: bytes = file.read(1 << 16)
    # The chunk of the pixels is "VP8L" if lossless, else "VP8 "; an ICC profile may precede it.
    return b"VP8L" in head and b"VP8 " not in head
