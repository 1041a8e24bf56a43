"""Metadata of images: EXIF, XMP, and the recipe that made an image."""

from __future__ import annotations

import re
from collections.abc import Mapping

from PIL import ExifTags
from PIL import Image as Pillow

from .tiff import directory, with_directory

_BASE = ExifTags.Base
_EXIF, _GPS, _INTEROP = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop

#: Key of the PNG text chunk that holds the recipe. Other formats have it in EXIF's UserComment.
COMMENT_KEY = "ip2p-batch"

#: Tags below this number describe how a TIFF file stores its pixels, except for _DESCRIPTIVE.
_FIRST_PRIVATE_TAG = 0x8000
_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x011D, 0x0128, 0x0131, 0x0132, 0x013B,
    0x013C, 0x0213, 0x4746, 0x4749,
}  # fmt: skip
#: Kept elsewhere or no longer true: IPTC and Photoshop blocks, the ICC profile, camera raw data.
_PRIVATE_DROPPED = {0x83BB, 0x8649, 0x8773, 0x935C, *range(0xC612, 0xC800)}

#: EXIF 3.0, 4.6.6 (UserComment): eight bytes name the character code of what follows.
_ASCII = b"ASCII\0\0\0"
_UNICODE = b"UNICODE\0"

#: One JPEG segment has a two-byte length that counts itself; Pillow adds no header of its own.
JPEG_SEGMENT = 0xFFFF - 2
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))[0-9]+')


def clean_exif(exif: Pillow.Exif, size: tuple[int, int]) -> bytes:
    """Build EXIF for an image turned upright: orientation 1, no thumbnail, no TIFF layout.

    Args:
        exif: of the source; its values may have any type.
        size: ``(width, height)`` upright.

    Returns:
        An EXIF block; empty if no tag of the source is kept. Tags that cannot be written back
        are left out.
    """
    kept = {tag: value for tag, value in exif.items() if _is_kept(tag)}
    photo = {k: v for k, v in exif.get_ifd(_EXIF).items() if k != _INTEROP}
    gps = dict(exif.get_ifd(_GPS))
    if not (kept or photo or gps):
        return b""
    for tag, side in zip((_BASE.ExifImageWidth, _BASE.ExifImageHeight), size, strict=True):
        if tag in photo:
            photo[tag] = side
    kept[_BASE.Orientation] = 1
    return _dump(exif.endian or "<", kept, photo, gps)


def with_comment(
    exif: bytes, comment: str, *, limit: int | None = None, endian: str | None = None
) -> tuple[bytes, str]:
    """Put ``comment`` into an EXIF block as its UserComment.

    Args:
        exif: a block as :func:`clean_exif` gives it; empty to start a new one.
        limit: the most bytes the block may have.
        endian: byte order to write, ``<`` or ``>``; None keeps the block's.

    Returns:
        ``(block, loss)``: ``loss`` names in one line what was left out because of ``limit``; it is
        empty if nothing was.
    """
    source = Pillow.Exif()
    if exif:
        source.load(exif)
    endian = endian or source.endian or "<"
    photo = dict(source.get_ifd(_EXIF))
    gps = dict(source.get_ifd(_GPS))
    photo[_BASE.UserComment] = encode_comment(comment, endian)
    plain = {tag: value for tag, value in source.items() if tag not in (_EXIF, _GPS)}
    block = _dump(endian, plain, photo, gps)
    if limit is None or len(block) <= limit:
        return block, ""
    photo.pop(_BASE.MakerNote, None)
    block = _dump(endian, plain, photo, gps)
    if len(block) <= limit:
        return block, "the camera maker's notes are too large for the format and were left out"
    block = _dump(endian, {}, {_BASE.UserComment: photo[_BASE.UserComment]}, {})
    if len(block) <= limit:
        return block, "the EXIF data is too large for the format and was left out"
    return exif if len(exif) <= limit else b"", "the recipe is too long to be embedded"


def insert_exif(tiff: bytes, exif: bytes, extra: Mapping[int, object]) -> bytes:
    """Add the tags of an EXIF block to a TIFF file, sub-directories included.

    Pillow's libtiff encoder writes no EXIF directory. So the first directory is written anew
    after the pixels, with its own entries and those of the block.

    Args:
        tiff: a little-endian classic TIFF file of one image.
        exif: a little-endian block as :func:`with_comment` gives it.
        extra: more tags for the first directory, such as XMP.
    """
    block = Pillow.Exif()
    block.load(exif)
    block.update(dict(extra))
    block.pop(_BASE.Orientation, None)  # absent means 1
    at = len(tiff) + len(tiff) % 2
    body = tiff.ljust(at, b"\0") + block.tobytes(at)[6 + 8 :]  # without "Exif\0\0" and header
    entries = {entry.tag: entry for entry in (*directory(body, at), *directory(body))}
    return with_directory(body, entries.values())


def encode_comment(text: str, endian: str) -> bytes:
    """Encode a UserComment: as ASCII if possible, else as UTF-16 in the block's byte order."""
    if text.isascii():
        return _ASCII + text.encode("ascii")
    return _UNICODE + text.encode("utf-16-le" if endian == "<" else "utf-16-be")


def decode_comment(data: bytes, endian: str) -> str | None:
    """Decode a UserComment; None for other character codes and for damaged text."""
    code, text = data[:8], data[8:]
    try:
        if code == _ASCII:
            return text.decode("ascii").rstrip("\0 ")
        if code == _UNICODE:
            return text.decode("utf-16-le" if endian == "<" else "utf-16-be").rstrip("\0 ")
    except UnicodeDecodeError:
        pass
    return None


def exif_comment(exif: Pillow.Exif) -> str | None:
    """Read the UserComment of an opened image."""
    data = exif.get_ifd(_EXIF).get(_BASE.UserComment)
    return decode_comment(data, exif.endian or "<") if isinstance(data, bytes) else None


def upright_xmp(xmp: object) -> bytes | None:
    """Set the orientation in an XMP packet to 1, if it has one; None if there is no packet."""
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0 \r\n\t"):
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _is_kept(tag: int) -> bool:
    if tag in (_EXIF, _GPS):
        return False  # directories, copied separately
    if tag < _FIRST_PRIVATE_TAG:
        return tag in _DESCRIPTIVE
    return tag not in _PRIVATE_DROPPED


def _dump(
    endian: str, plain: dict[int, object], photo: dict[int, object], gps: dict[int, object]
) -> bytes:
    block = Pillow.Exif()
    block.endian = endian
    parts = ((None, plain), (_EXIF, photo), (_GPS, gps))
    for ifd, tags in parts:
        good = {tag: value for tag, value in tags.items() if _is_writable(endian, ifd, tag, value)}
        if ifd is None:
            block.update(good)
        elif good:
            block[ifd] = good
    return block.tobytes() if len(block) else b""


def _is_writable(endian: str, ifd: int | None, tag: int, value: object) -> bool:
    """Whether Pillow can write this tag: a damaged file's value may not match its tag's type."""
    probe = Pillow.Exif()
    probe.endian = endian
    probe[tag if ifd is None else ifd] = value if ifd is None else {tag: value}
    try:
        written = probe.tobytes()
        again = Pillow.Exif()
        again.load(written)
        return tag in (again if ifd is None else again.get_ifd(ifd))
    except Exception:
        return False
