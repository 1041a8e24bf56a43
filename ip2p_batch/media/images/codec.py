"""Pictures: read into upright sRGB pixels, written back with what came along.

:func:`read_still` decodes all of a file and says what was lost on the way in; :func:`write_still`
puts back everything that the format can hold: alpha, EXIF, XMP, resolution, colour profile, and
the recipe that made the picture.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, PngImagePlugin
from PIL import Image as Pillow

from ...errors import OutputError
from ...frame import Image
from ...jobs.spec import Encoding
from . import metadata
from .color import Alpha, to_srgb
from .formats import (
    format_suffix,
    opened,
    orientation,
    quiet,
    suffix_format,
    too_large,
    upright_size,
)

#: PNG text chunk that holds the recipe. The other formats have it in EXIF's UserComment.
COMMENT_KEY = "ip2p-batch"
#: Quality where the user asked for none, from 1 to 100.
DEFAULT_QUALITY: Mapping[str, int] = {"jpeg": 95, "webp": 92, "avif": 85}

_WITHOUT_ALPHA = ("jpeg", "bmp")
_NOT_TEXT = ("Raw profile type exif", "XML:com.adobe.xmp", "Raw profile type xmp")


@dataclass(slots=True, eq=False)
class Still:
    """A picture and what has to come along to its result.

    Attributes:
        image: 8-bit sRGB pixels, upright.
        alpha: opacity, uint8, ``(height, width)``; None for a picture without.
        format: what the file really is: ``jpeg``, ``png``, ``webp``, ``tiff``, ``bmp``, ``avif``.
        exif: EXIF block with orientation 1 and without thumbnail; empty if there is none.
        xmp: XMP packet, orientation 1.
        icc: profile to embed: the source's own if that is sRGB, else an sRGB profile; None
            where the source had none, which readers take for sRGB too.
        dpi: pixels per inch, across and down, where the file says so.
        text: text chunks of a PNG.
        lossless: whether the source was stored without loss, for formats that can do both.
        warnings: one line for each loss, at reading; :func:`write_still` adds those at writing.
    """

    image: Image
    alpha: Alpha | None
    format: str
    exif: bytes = b""
    xmp: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    lossless: bool = False
    warnings: list[str] = field(default_factory=list)


def read_still(path: Path, *, max_pixels: int | None = None) -> Still:
    """Read a whole picture.

    Args:
        max_pixels: more than this are refused before anything is decoded; None: ``limits.PIXELS``.

    Raises:
        SourceError: the file cannot be read, is cut short or damaged, is no picture, or is too
            large. The message is ``PATH: REASON``.
    """
    with opened(path, max_pixels=max_pixels) as (image, name):
        lossless = name == "webp" and _is_lossless_webp(image)
        # A TIFF's tags before load(), which closes its file; a PNG's after, for it may hold them
        # behind the pixels.
        early = _exif(image) if name == "tiff" else None
        pixels = to_srgb(image, name)
        if not pixels.rgb.size:
            raise ValueError("it has no pixels")
        turn = orientation(image, name)
        rgb = _turned(pixels.rgb, turn)
        alpha = None if pixels.alpha is None else _turned(pixels.alpha, turn)
        size = (rgb.shape[1], rgb.shape[0])
        warnings = pixels.warnings
        frames = getattr(image, "n_frames", 1)
        if isinstance(frames, int) and frames > 1:
            warnings.append(f"holds {frames} pictures; only the first is edited")
        source = _exif(image) if early is None else early
        exif = b"" if source is None else _cleaned(source, size)
        if exif is None or source is None:
            warnings.append("EXIF data is damaged and was left out")
        return Still(
            image=rgb,
            alpha=alpha,
            format=name,
            exif=exif or b"",
            xmp=metadata.upright_xmp(image.info.get("xmp")),
            icc=pixels.profile,
            dpi=_dpi(image, turned=turn >= 5),
            text=_text(image) if name == "png" else {},
            lossless=lossless,
            warnings=warnings,
        )


def still_size(path: Path, *, max_pixels: int | None = None) -> tuple[int, int]:
    """Upright ``(width, height)`` of a picture, from its header alone.

    Raises:
        SourceError: as :func:`read_still`, except for damage behind the header.
    """
    with opened(path, max_pixels=max_pixels) as (image, name):
        return upright_size(image, name)


def output_format(path: Path, still: Still, encoding: Encoding) -> str:
    """The format to write: as asked for, else as the output's name says, else as it was read."""
    return encoding.format or suffix_format(path) or still.format


def output_suffix(path: Path, encoding: Encoding) -> str:
    """The suffix of the result of ``path``: its own, unless ``encoding`` asks another format."""
    if encoding.format is None or suffix_format(path) == encoding.format:
        return path.suffix
    return format_suffix(encoding.format)


def write_still(path: Path, image: Image, still: Still, *, comment: str, encoding: Encoding) -> str:
    """Write edited pixels, with what came along in ``still``, as far as the format can hold it.

    Args:
        path: where to write. Its suffix decides the format where ``encoding`` does not and it
            is a picture's; else the format stays the source's.
        image: upright sRGB pixels of the size of ``still.image``.
        comment: the recipe as JSON text, embedded for :func:`read_comment`.

    Returns:
        SHA-256 of the file, in hexadecimal. The same input gives the same file.

    Raises:
        OutputError: the format cannot hold this picture.
        OSError: the file cannot be written.
    """
    name = output_format(path, still, encoding)
    height, width = image.shape[:2]
    reason = too_large(width, height, name)
    data = b""
    if not reason:
        try:
            with quiet():
                data = _encoded(image, still, name, comment, encoding)
        except MemoryError:
            reason = "there is not enough memory to encode it"
        except Exception as error:  # nothing but memory was written to: not the disk's fault
            reason = f"{name.upper()} refuses it ({error})"
    if reason:
        raise OutputError(
            f"{path}: {reason}", path=path, hint="Try another --format, for example png."
        )
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_comment(path: Path) -> str | None:
    """The text that :func:`write_still` left in a picture; None without one.

    Raises:
        SourceError: the file is no picture.
    """
    with opened(path) as (image, name):
        if name == "png":
            text = image.info.get(COMMENT_KEY)
            return str(text) if text is not None else None
        return metadata.exif_comment(image.getexif())


# -- reading ------------------------------------------------------------------------------


def _turned(pixels: Image, orientation: int) -> Image:
    """Pixels as EXIF 3.0, 4.6.5 (Orientation) wants them shown."""
    if orientation >= 5:  # 5 to 8 exchange rows and columns
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _exif(image: Pillow.Image) -> Pillow.Exif | None:
    """All EXIF directories, read now and not when asked for; None where they are damaged."""
    try:
        exif = image.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
        exif.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # as with damaged files in general, anything can come
        return None
    return exif


def _cleaned(exif: Pillow.Exif, size: tuple[int, int]) -> bytes | None:
    try:
        return metadata.clean_exif(exif, size)
    except Exception:
        return None


def _dpi(image: Pillow.Image, *, turned: bool) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 65536 for value in (across, down)):
        return None
    return (down, across) if turned else (across, down)


def _text(image: Pillow.Image) -> dict[str, str]:
    chunks = getattr(image, "text", {})
    return {
        str(key): str(value)
        for key, value in chunks.items()
        if key not in (*_NOT_TEXT, COMMENT_KEY) and key.isascii() and 0 < len(key) < 80
    }


def _is_lossless_webp(image: Pillow.Image) -> bool:
    file = getattr(image, "fp", None)
    if file is None:
        return False
    file.seek(0)
    head: bytes = file.read(1 << 16)
    # Chunks: "VP8L" lossless, "VP8 " lossy. An ICC profile may stand before them.
    return b"VP8L" in head and b"VP8 " not in head


# -- writing ------------------------------------------------------------------------------


def _encoded(image: Image, still: Still, name: str, comment: str, encoding: Encoding) -> bytes:
    buffer = io.BytesIO()
    options = _options(name, still, comment, encoding)
    _picture(image, still, name).save(buffer, name.upper(), **options)
    data = buffer.getvalue()
    if name != "tiff":
        return data
    exif, _ = metadata.with_comment(still.exif, comment, endian="<")
    return metadata.insert_exif(data, exif, {0x02BC: still.xmp} if still.xmp else {})


def _picture(image: Image, still: Still, name: str) -> Pillow.Image:
    if still.alpha is None:
        return Pillow.fromarray(image)
    if name in _WITHOUT_ALPHA:
        if still.alpha.min(initial=255) < 255:
            still.warnings.append(f"{name.upper()} holds no transparency; laid on white")
        weight = still.alpha[..., None].astype(np.uint16)
        mixed = (image * weight + 255 * (255 - weight) + 127) // 255
        return Pillow.fromarray(mixed.astype(np.uint8))
    return Pillow.fromarray(np.dstack([image, still.alpha]))


def _options(name: str, still: Still, comment: str, encoding: Encoding) -> dict[str, Any]:
    """Arguments for Pillow's ``save``."""
    quality = encoding.quality or DEFAULT_QUALITY.get(name, 0)
    options: dict[str, Any] = {}
    if still.dpi is not None and name in ("jpeg", "png", "tiff", "bmp"):
        options["dpi"] = still.dpi
    if name == "bmp":
        still.warnings.append("BMP holds no metadata; the recipe was not written in")
        return options
    if still.icc:
        options["icc_profile"] = still.icc
    if name == "tiff":  # its EXIF and XMP are put in afterwards
        # 317 is Predictor: rows stored as differences, which compress better.
        return options | {"compression": "tiff_lzw", "tiffinfo": {317: 2}}
    if name == "png":
        # Level 4 gives 2 % larger files than 6, in half the time.
        return (
            options
            | {"compress_level": 4, "pnginfo": _chunks(still, comment)}
            | ({"exif": still.exif} if still.exif else {})
        )
    limit = metadata.JPEG_SEGMENT if name == "jpeg" else None
    exif, lost = metadata.with_comment(still.exif, comment, limit=limit)
    if lost:
        still.warnings.append(lost)
    options["exif"] = exif
    if still.xmp:
        if name == "jpeg" and len(still.xmp) > metadata.JPEG_SEGMENT - 29:
            still.warnings.append("the XMP data did not fit in and was left out")
        else:
            options["xmp"] = still.xmp
    if name == "jpeg":
        options |= {"quality": quality, "subsampling": "4:4:4", "optimize": True}
    elif name == "webp":
        lossless = still.lossless and encoding.quality is None
        options |= {"quality": quality, "method": 4, "lossless": lossless, "exact": True}
    elif name == "avif":
        # One thread: the encoder's bytes differ between one thread and several, and the time
        # hardly does.
        options |= {"quality": quality, "subsampling": "4:4:4", "speed": 6, "max_threads": 1}
    return options


def _chunks(still: Still, comment: str) -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    for key, value in still.text.items():
        chunks.add_itxt(key, value, zip=len(value) > 1024)
    chunks.add_itxt(COMMENT_KEY, comment)
    if still.xmp:
        chunks.add_itxt("XML:com.adobe.xmp", still.xmp.decode("utf-8", "replace"))
    return chunks
