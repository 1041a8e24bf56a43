"""What of a source's metadata a result of some format holds, with the recipe and the AI mark."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from PIL import PngImagePlugin

from ...jobs.coding import Encoding
from . import exif, jpeg, photoshop, xmp
from .ifd import LONG, UNDEFINED, Tag, short
from .metadata import COMMENT_KEY, Metadata

_BYTE, _RATIONAL = 1, 5
_XMP, _ICC_PROFILE = 0x02BC, 0x8773
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_INCH = 2
#: Names of formats in warnings, where they are not upper case.
_NAMES = {"webp": "WebP"}
_COMMENT_TEXT = "Comment"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Metadata to write, as far as the format holds it.

    Attributes:
        exif: EXIF block; empty for none.
        xmp: XMP packet with the recipe, unless the format has a better place for that.
        resources: Photoshop's image resources.
        comments: of a JPEG file.
        text: text chunks of a PNG file, recipe included.
        warnings: one line for each loss.
    """

    exif: bytes
    xmp: bytes | None
    resources: bytes
    comments: tuple[bytes, ...]
    text: Mapping[str, str]
    warnings: tuple[str, ...]


def embed(source: Metadata, name: str, recipe: str, encoding: Encoding) -> Embedded:
    """Choose what a file of format ``name`` gets.

    Args:
        recipe: as JSON text.
        encoding: its options on metadata apply.
    """
    kept = _wanted(source, encoding)
    warnings: list[str] = []
    if name == "bmp":
        warnings.append("BMP holds no metadata; the recipe is not embedded")
        return Embedded(b"", None, b"", (), {}, tuple(warnings))
    recipe_text = recipe if encoding.embed_recipe else None
    text, comments = dict(kept.text), kept.comments
    if name == "png":
        text |= _comment_text(comments, text)
        if recipe_text is not None:
            text[COMMENT_KEY] = recipe_text
    elif text:
        warnings.append(f"{_title(name)} holds no text chunks: {', '.join(text)} left out")
        text = {}
    if name != "jpeg":
        if comments and name != "png":
            warnings.append(f"the comment has no place in {_title(name)} and was left out")
        comments = ()
    resources = kept.resources
    if resources and name in ("webp", "avif"):
        warnings.append(f"the IPTC data has no place in {_title(name)} and was left out")
        resources = b""
    block = kept.exif
    if name == "jpeg":
        block, lost = exif.fitted(block, jpeg.SEGMENT - len(exif.HEADER))
        warnings += lost
    elif name == "avif":
        block = exif.without_orientation(block)  # else Pillow writes the block anew
    packet = _packet(kept, name, None if name == "png" else recipe_text, encoding, warnings)
    return Embedded(block, packet, resources, comments, text, tuple(warnings))


def _wanted(source: Metadata, encoding: Encoding) -> Metadata:
    if encoding.metadata == "none":
        return Metadata()
    if encoding.metadata == "no-gps":
        block = exif.without_position(source.exif)
        return Metadata(block, source.xmp, source.resources, source.comments, source.text)
    return source


def _packet(
    kept: Metadata, name: str, recipe: str | None, encoding: Encoding, warnings: list[str]
) -> bytes | None:
    position = encoding.metadata == "all"
    mark = encoding.mark_ai
    packet = xmp.finished(kept.xmp, mark_ai=mark, recipe=recipe, position=position)
    limit = jpeg.SEGMENT - len(jpeg.XMP_HEADER)
    if name != "jpeg" or packet is None or len(packet) <= limit:
        return packet
    for line, old, text in (
        ("the XMP data is too large for the format and was left out", None, recipe),
        ("the recipe is too long to be embedded", None, None),
    ):
        warnings.append(line)
        packet = xmp.finished(old, mark_ai=mark, recipe=text)
        if packet is None or len(packet) <= limit:
            break
    return packet


def _comment_text(comments: tuple[bytes, ...], text: Mapping[str, str]) -> dict[str, str]:
    if not comments or _COMMENT_TEXT in text:
        return {}
    joined = b"\n".join(comment.rstrip(b"\0") for comment in comments)
    try:
        return {_COMMENT_TEXT: joined.decode("utf-8")}
    except UnicodeDecodeError:
        return {_COMMENT_TEXT: joined.decode("latin-1")}


def _title(name: str) -> str:
    return _NAMES.get(name, name.upper())


def png_chunks(embedded: Embedded) -> PngImagePlugin.PngInfo:
    """The text chunks of a PNG, XMP and IPTC included."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in embedded.text.items():
        chunks.add_itxt(key, value, zip=len(value) > 1024 and key != COMMENT_KEY)
    if embedded.resources:
        chunks.add_text(photoshop.PNG_KEY, photoshop.to_raw_profile(embedded.resources), zip=True)
    if embedded.xmp:
        chunks.add_itxt("XML:com.adobe.xmp", embedded.xmp.decode("utf-8", "replace"))
    return chunks


def tiff_tags(
    embedded: Embedded, *, icc: bytes | None = None, dpi: tuple[float, float] | None = None
) -> list[Tag]:
    """Tags of the first directory of a little-endian TIFF.

    Args:
        icc, dpi: for a file that does not have them yet.
    """
    tags = []
    resources, iptc = photoshop.split_iptc(embedded.resources)
    for number, kind, data in (
        (_XMP, _BYTE, embedded.xmp),
        (photoshop.TIFF_RESOURCES, _BYTE, resources),
        (_ICC_PROFILE, UNDEFINED, icc),
    ):
        if data:
            tags.append(Tag(number, kind, len(data), data))
    if iptc:  # the type of Adobe's TIFF Technical Note 3; the bytes are in their own order
        data = iptc + bytes(-len(iptc) % 4)
        tags.append(Tag(photoshop.TIFF_IPTC, LONG, len(data) // 4, data))
    if dpi is not None:
        tags += [_ratio(_X_RESOLUTION, dpi[0]), _ratio(_Y_RESOLUTION, dpi[1])]
        tags.append(short(_RESOLUTION_UNIT, _INCH, "<"))
    return tags


def _ratio(number: int, value: float) -> Tag:
    ratio = Fraction(value).limit_denominator(10_000)
    return Tag(number, _RATIONAL, 1, struct.pack("<LL", ratio.numerator, ratio.denominator))
