"""Write edited images with their source's metadata: alpha, EXIF, XMP, resolution, ICC profile.

The recipe is embedded, too: in a text chunk of a PNG, else in XMP.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from ...errors import OutputError
from ...frame import FullImage
from ...jobs.coding import Encoding
from ..depth import Samples8, Samples16, to_8_bits, to_16_bits
from . import exif, jpeg, png
from .embedding import Embedded, embed, png_chunks, tiff_tags
from .formats import WRITTEN_AS, silence_pillow, size_error, suffix_format
from .ifd import Tag
from .naming import with_format_suffix
from .reader import Still
from .tiff.directories import encode_16_bits

#: Default quality of lossy formats, from 1 to 100.
DEFAULT_QUALITY: Mapping[str, int] = {"jpeg": 95, "webp": 92, "avif": 85}

_WITHOUT_ALPHA = ("jpeg", "bmp")
#: Formats that are written with 16 bits a sample.
_DEEP = ("png", "tiff")
_ONE_PIXEL = Pillow.new("RGB", (1, 1))


def output_format(path: Path, still: Still, encoding: Encoding) -> str:
    """The format to write: the encoding's, else that of the output's suffix, else the source's."""
    own = WRITTEN_AS.get(still.format, still.format)
    return encoding.format or suffix_format(path) or own


def output_suffix(path: Path, encoding: Encoding) -> str:
    """Suffix of the result of ``path``: its own, unless ``encoding`` sets another format or its own
    is not written.
    """
    return with_format_suffix(path, encoding.format).suffix


def write_still(
    path: Path, image: FullImage, still: Still, *, comment: str, encoding: Encoding
) -> str:
    """Write edited pixels with the source's metadata, as far as the format can hold it.

    Args:
        path: file to write. See :func:`output_format` for how its suffix decides the format.
        still: the source; ``warnings`` grows by a line for each loss.
        image: upright sRGB pixels, uint8 or uint16, of the source's size. Formats other than PNG
            and TIFF get 8 bits.
        comment: the recipe as JSON text, embedded for ``read_comment``.

    Returns:
        SHA-256 of the file, in hexadecimal. Equal arguments give equal files.

    Raises:
        OutputError: the format cannot hold this image.
        OSError: the file cannot be written.
    """
    name = output_format(path, still, encoding)
    height, width = image.shape[:2]
    reason = size_error(width, height, name)
    data = b""
    if not reason:
        try:
            with silence_pillow():
                data = _encode(image, still, name, comment, encoding)
        except MemoryError:
            reason = "not enough memory to encode it"
        except Exception as error:  # encoding writes to memory only, so this is no disk error
            reason = f"the {name.upper()} encoder refuses it ({error})"
    if reason:
        raise OutputError(
            f"{path}: {reason}", path=path, hint="Try another --format, for example png."
        )
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _encode(image: FullImage, still: Still, name: str, comment: str, encoding: Encoding) -> bytes:
    embedded = embed(still.metadata, name, comment, encoding)
    still.warnings += embedded.warnings
    if image.dtype == np.uint16:
        if name in _DEEP:
            samples = _with_alpha(to_16_bits(image), still)
            return _encode_16_bits(samples, still, name, embedded)
        still.warnings.append("16-bit samples reduced to 8 bits")
    data = _save(_compose(to_8_bits(image), still, name), still, name, embedded, encoding)
    if name != "tiff":
        return data
    return _insert(data, embedded, still, tiff_tags(embedded))


def _save(
    picture: Pillow.Image, still: Still, name: str, embedded: Embedded, encoding: Encoding
) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name.upper(), **_options(name, still, embedded, encoding))
    return buffer.getvalue()


def _encode_16_bits(samples: Samples16, still: Still, name: str, embedded: Embedded) -> bytes:
    """Encode a PNG or TIFF of 16-bit samples, with the metadata of 8-bit files."""
    if name == "png":  # Pillow writes the metadata
        return png.with_pixels(_save(_ONE_PIXEL, still, name, embedded, Encoding()), samples)
    tags = tiff_tags(embedded, icc=still.icc, dpi=still.dpi)
    return _insert(encode_16_bits(samples), embedded, still, tags)


def _insert(data: bytes, embedded: Embedded, still: Still, tags: Iterable[Tag]) -> bytes:
    """A TIFF file with its metadata."""
    inserted = exif.insert(data, embedded.exif, tags)
    still.warnings += inserted.warnings
    return inserted.block


def _with_alpha(samples: Samples16, still: Still) -> Samples16:
    if still.alpha is None:
        return samples
    return np.dstack([samples, to_16_bits(still.alpha)])


def _compose(image: Samples8, still: Still, name: str) -> Pillow.Image:
    if still.alpha is None:
        return Pillow.fromarray(image)
    alpha = to_8_bits(still.alpha)
    if name in _WITHOUT_ALPHA:
        if alpha.min(initial=255) < 255:
            still.warnings.append(
                f"{name.upper()} has no transparency; transparent pixels are blended with white"
            )
        weight = alpha[..., None].astype(np.uint16)
        mixed = (image * weight + 255 * (255 - weight) + 127) // 255
        return Pillow.fromarray(mixed.astype(np.uint8))
    return Pillow.fromarray(np.dstack([image, alpha]))


def _options(name: str, still: Still, embedded: Embedded, encoding: Encoding) -> dict[str, Any]:
    """Arguments for Pillow's ``save``."""
    quality = encoding.quality or DEFAULT_QUALITY.get(name, 0)
    options: dict[str, Any] = {}
    if still.dpi is not None and name in ("jpeg", "png", "tiff", "bmp"):
        options["dpi"] = still.dpi
    if name == "bmp":
        return options
    if still.icc:
        options["icc_profile"] = still.icc
    if name == "tiff":  # EXIF and XMP are inserted afterwards
        # 317 is Predictor: rows are stored as differences, which compress better.
        return options | {"compression": "tiff_lzw", "tiffinfo": {317: 2}}
    if embedded.exif:
        options["exif"] = exif.HEADER + embedded.exif
    if name == "png":
        # Level 4 takes half the time of level 6, and files are 2 % larger.
        return options | {"compress_level": 4, "pnginfo": png_chunks(embedded)}
    if embedded.xmp:
        options["xmp"] = embedded.xmp
    if name == "jpeg":
        options |= jpeg.save_options(still.metadata.style, encoding.quality, quality)
        options["extra"] = jpeg.extra_segments(embedded.resources, embedded.comments)
    elif name == "webp":
        lossless = still.lossless and encoding.quality is None
        options |= {"quality": quality, "method": 4, "lossless": lossless, "exact": True}
    elif name == "avif":
        # One thread: several threads give other bytes, and are hardly faster.
        options |= {"quality": quality, "subsampling": "4:4:4", "speed": 6, "max_threads": 1}
    return options
