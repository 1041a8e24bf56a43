"""Find the colour space that an opened image names, and by which of its parts."""

from __future__ import annotations

import struct
from typing import IO, Any

from PIL import ExifTags
from PIL import Image as Pillow

from . import color_space
from .color_space import ColorSpace
from .heif.boxes import read_boxes
from .unsupported import UnsupportedSamplesError

#: An ICC profile, a colour space by numbers, or sRGB.
Declared = bytes | ColorSpace | None

_MAX_CHUNK = 1 << 24
_PNG_START = 8
_R03, _ADOBE = "R03", 2  # InteroperabilityIndex, ColorSpace
_INTEROP_INDEX = 1


def declared_color(image: Pillow.Image, name: str, warnings: list[str]) -> Declared:
    """The ICC profile or colour space of an opened image; None means sRGB.

    Args:
        image: not yet loaded.
        warnings: grows by a line if a description is damaged.

    Raises:
        UnsupportedSamplesError: a known description without a conversion.
    """
    icc = image.info.get("icc_profile")
    profile = icc if isinstance(icc, bytes) and icc else None
    file: IO[bytes] | None = getattr(image, "fp", None)
    try:
        if name == "png" and file is not None:
            place = file.tell()
            space: Declared
            chunks = _png_chunks(file)
            file.seek(place)
            space = _of_png(chunks, profile)
            return _or_dcf(image, space) if not chunks else space
        if profile is not None:
            return profile
        if name in ("avif", "heic") and file is not None:
            boxes = read_boxes(file)
            codes = boxes.cicp()
            return None if codes is None else _of_cicp(*codes[:2], boxes.peak())
    except ValueError as error:
        if name in ("avif", "heic") or "H.273" in str(error):
            if "H.273" in str(error):
                raise UnsupportedSamplesError(f"its {error} are not supported") from None
            return None  # Pillow has read the file, so its description is only unusual
        warnings.append(f"{error} was ignored")
        return None
    return _or_dcf(image, None) if name in ("jpeg", "tiff", "webp") else None


def _of_cicp(primaries: int, transfer: int, peak: float) -> ColorSpace | None:
    return _known(color_space.of_cicp(primaries, transfer, peak))


def _png_peak(chunks: dict[bytes, bytes]) -> float:
    """Light of the brightest pixels in cd/m2, by the chunk cLLI (PNG, third edition, 11.3.2.8)."""
    level = chunks.get(b"cLLI", b"")
    return float(struct.unpack(">L", level[:4])[0]) / 10_000 if len(level) == 8 else 0.0


def _known(space: ColorSpace) -> ColorSpace | None:
    return None if space.is_srgb else space


def _of_png(chunks: dict[bytes, bytes], profile: bytes | None) -> Declared:
    """By the precedence of the PNG standard."""
    if len(chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, _, _ = chunks[b"cICP"]
        return _of_cicp(primaries, transfer, _png_peak(chunks))
    if profile is not None:
        return profile
    if b"sRGB" in chunks or not (b"gAMA" in chunks or b"cHRM" in chunks):
        return None
    return _known(color_space.of_png(chunks.get(b"gAMA"), chunks.get(b"cHRM")))


def _png_chunks(file: IO[bytes]) -> dict[bytes, bytes]:
    """The chunks on colour, which precede the pixels; the first of each."""
    found: dict[bytes, bytes] = {}
    file.seek(_PNG_START)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">L4s", head)
        if kind in (b"IDAT", b"IEND") or length > _MAX_CHUNK:
            break
        if kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM", b"cLLI"):
            found.setdefault(kind, file.read(length))
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return found


def _or_dcf(image: Pillow.Image, space: Declared) -> Declared:
    """Adobe RGB, if Exif names it as cameras do (DCF option file) and nothing else is known."""
    if space is not None:
        return space
    try:
        exif: Any = Pillow.Image.getexif(image)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(_INTEROP_INDEX)
        code = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    except Exception:  # an image with damaged EXIF is still editable
        return None
    text = index.decode("ascii", "replace") if isinstance(index, bytes) else str(index)
    is_adobe = text.strip("\0 ") == _R03 or code == _ADOBE
    return color_space.ADOBE_RGB if is_adobe else None
