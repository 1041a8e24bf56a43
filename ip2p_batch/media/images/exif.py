"""Keep a source's EXIF block, and change in it what is no longer true.

The block is changed in place: types, the order of tags and all offsets stay. Camera makers' notes
are only valid then, since most of them point into the block by offsets from its start.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from . import ifd, user_comment
from .ifd import Data, Directories, Directory, Tag

HEADER = b"Exif\0\0"
_X_RESOLUTION = 0x011A
_ORIENTATION, _COLOR_SPACE, _WIDTH, _HEIGHT = 0x0112, 0xA001, 0xA002, 0xA003
_SRGB = 1
_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202
_INTEROP_INDEX = 1

#: Tags below this number describe how a TIFF file stores its pixels, except for _DESCRIPTIVE.
_FIRST_PRIVATE_TAG = 0x8000
_DESCRIPTIVE = {
    0x010D, 0x010E, 0x010F, 0x0110, 0x0112, 0x011A, 0x011B, 0x011D, 0x0128, 0x0131, 0x0132,
    0x013B, 0x013C, 0x0213, 0x4746, 0x4749,
}  # fmt: skip
#: Kept elsewhere or no longer true: IPTC and Photoshop blocks, the ICC profile, camera raw data.
_PRIVATE_DROPPED = {0x83BB, 0x8649, 0x8773, 0x935C, *range(0xC612, 0xC800)}
#: Beginnings of makers' notes whose offsets count from the note itself, or that have none
#: (ExifTool, lib/Image/ExifTool/MakerNotes.pm).
_MOVABLE_NOTES = (
    b"Nikon\0\x02", b"Apple iOS\0", b"FUJIFILM", b"OLYMPUS\0", b"OM SYSTEM\0", b"PENTAX \0",
    b"HDRP",
)  # fmt: skip
_NOTE_LOST = "the camera maker's notes are valid only in their old place and were left out"
DAMAGED = "EXIF data is damaged and was left out"


class Cleaned(NamedTuple):
    """An EXIF block, empty if there is none, and a line for each loss."""

    block: bytes
    warnings: tuple[str, ...] = ()


def clean(block: bytes, size: tuple[int, int]) -> Cleaned:
    """Make a block true for an upright sRGB image: orientation 1, no thumbnail, this size.

    Args:
        block: of a JPEG, PNG, WebP or AVIF file.
        size: ``(width, height)`` upright.
    """
    block = block.removeprefix(HEADER)
    if not block:
        return Cleaned(b"")
    try:
        parts = ifd.read_directories(block)
    except (ValueError, struct.error):
        return Cleaned(b"", (DAMAGED,))
    body = bytearray(block)
    body = _without_thumbnail(body, parts)
    _set_values(body, parts, size)
    dropped = {tag.tag for tag in parts.first.tags if not _is_kept(tag.tag)}
    warnings = []
    for number, part, name in (
        (ifd.EXIF, parts.exif, "camera settings"),
        (ifd.GPS, parts.gps, "position"),
    ):
        if parts.first.get(number) is not None and part is None:
            dropped.add(number)
            warnings.append(f"the {name} in its EXIF data are damaged and were left out")
    cleaned = _drop(bytes(body), "first", dropped)
    comment = None if parts.exif is None else parts.exif.get(ifd.USER_COMMENT)
    old_recipe = user_comment.is_recipe(comment, parts.order)
    if old_recipe:
        cleaned = _drop(cleaned, "exif", {ifd.USER_COMMENT})
    return Cleaned(cleaned, tuple(warnings))


def of_tiff(data: Data, size: tuple[int, int]) -> Cleaned:
    """The EXIF block of a TIFF file, built from the tags that describe its image.

    Args:
        data: the file, TIFF or BigTIFF.
        size: as in :func:`clean`.
    """
    try:
        parts = ifd.read_directories(data)
    except (ValueError, struct.error):
        return Cleaned(b"", (DAMAGED,))
    first = parts.first._replace(tags=tuple(tag for tag in parts.first.tags if _is_kept(tag.tag)))
    parts, lost = _without_fixed_note(parts._replace(first=first))
    if not any(tag.tag != _ORIENTATION for tag in parts.first.tags):
        return Cleaned(b"")
    cleaned = clean(_built(parts), size)
    return Cleaned(cleaned.block, (*lost, *cleaned.warnings))


def has_resolution(block: bytes) -> bool:
    """Whether a block states the pixels per inch or centimetre."""
    return bool(block) and ifd.read_directories(block).first.get(_X_RESOLUTION) is not None


def without_position(block: bytes) -> bytes:
    """The block without the GPS directory."""
    return _drop(block, "first", {ifd.GPS}) if block else block


def without_orientation(block: bytes) -> bytes:
    """The block without the orientation, which means 1."""
    return _drop(block, "first", {_ORIENTATION}) if block else block


def fitted(block: bytes, limit: int) -> Cleaned:
    """The block, or as much of it as fits into ``limit`` bytes."""
    if len(block) <= limit:
        return Cleaned(block)
    small = _built(_without_tag(ifd.read_directories(block), ifd.MAKER_NOTE))
    if len(small) <= limit:
        line = "the camera maker's notes are too large for the format and were left out"
        return Cleaned(small, (line,))
    return Cleaned(b"", ("the EXIF data is too large for the format and was left out",))


def insert(tiff: bytes, block: bytes, extra: Iterable[Tag]) -> Cleaned:
    """Add the tags of a block to a TIFF file, sub-directories included.

    Pillow's libtiff encoder writes no EXIF directory. So the first directory is written anew
    after the pixels, with its own entries and those of the block.

    Args:
        tiff: a little-endian classic TIFF file of one image.
        block: as :func:`clean` gives it; may be empty.
        extra: more little-endian tags for the first directory, such as XMP.
    """
    own = ifd.read_directories(tiff).first.tags
    parts = Directories("<", Directory(0, 0, (), 0), None, None, None)
    lost: tuple[str, ...] = ()
    if block:
        parts, lost = _without_fixed_note(ifd.read_directories(block))
        parts = _without_tag(parts, _ORIENTATION)  # absent means 1
    body = bytearray(tiff)
    at = ifd.append_all(body, "<", parts, (*extra, *own))
    body[4:8] = struct.pack("<L", at)
    return Cleaned(bytes(body), lost)


def _is_kept(tag: int) -> bool:
    if tag < _FIRST_PRIVATE_TAG:
        return tag in _DESCRIPTIVE
    return tag not in _PRIVATE_DROPPED


def _set_values(body: bytearray, parts: Directories, size: tuple[int, int]) -> None:
    """Set orientation, colour space and size where the block has them."""
    order = parts.order
    _set_short(body, parts.first, _ORIENTATION, 1, order)
    if parts.exif is not None:
        _set_short(body, parts.exif, _COLOR_SPACE, _SRGB, order)
        for number, side in ((_WIDTH, size[0]), (_HEIGHT, size[1])):
            tag = parts.exif.get(number)
            if tag is not None:
                entry = struct.pack(order + "HHLL", number, ifd.LONG, 1, side)
                body[tag.entry : tag.entry + 12] = entry
    index = None if parts.interop is None else parts.interop.get(_INTEROP_INDEX)
    if index is not None and index.data[:3] == b"R03":  # DCF 2.0: Adobe RGB; R98 is sRGB
        body[index.place : index.place + 3] = b"R98"


def _set_short(body: bytearray, part: Directory, number: int, value: int, order: str) -> None:
    tag = part.get(number)
    if tag is not None:
        body[tag.entry : tag.entry + 12] = struct.pack(
            order + "HHLHH", number, ifd.SHORT, 1, value, 0
        )


def _without_thumbnail(body: bytearray, parts: Directories) -> bytearray:
    """Cut the chain of directories after the first, and erase the thumbnail."""
    first, order = parts.first, parts.order
    if not first.following:
        return body
    body[first.end : first.end + 4] = bytes(4)
    try:
        second = ifd.read_directory(bytes(body), order, first.following)
    except ValueError:
        return body
    place, length = second.get(_THUMBNAIL), second.get(_THUMBNAIL_SIZE)
    areas = [(second.at, second.end + 4)]
    areas += [(tag.place, tag.place + len(tag.data)) for tag in second.tags if len(tag.data) > 4]
    if place is not None and length is not None:
        start = place.number(order)
        areas.append((start, start + length.number(order)))
    used = _used(parts)
    for start, end in areas:
        if 8 <= start < end <= len(body) and not _overlaps(start, end, used):
            body[start:end] = bytes(end - start)
    start, end = areas[-1]
    if end == len(body) and start >= 8 and not _overlaps(start, end, used):
        del body[start:]  # nothing follows it, so no offset changes
    return body


def _used(parts: Directories) -> list[tuple[int, int]]:
    used = [(0, 8)]  # the header
    for part in (parts.first, parts.exif, parts.gps, parts.interop):
        if part is not None:
            used.append((part.at, part.end + 4))
            used += [
                (tag.place, tag.place + len(tag.data)) for tag in part.tags if len(tag.data) > 4
            ]
    return used


def _overlaps(start: int, end: int, areas: Collection[tuple[int, int]]) -> bool:
    return any(start < other_end and other < end for other, other_end in areas)


def _drop(block: bytes, name: Literal["first", "exif"], numbers: Collection[int]) -> bytes:
    """Remove entries from a directory in place, and erase their values.

    Args:
        name: of the directory in :class:`Directories`.
    """
    parts = ifd.read_directories(block)
    part = parts.exif if name == "exif" else parts.first
    if part is None:
        return block
    gone = [tag for tag in part.tags if tag.tag in numbers]
    erased = {number for number in part.damaged if number in numbers}
    if not gone and not erased:
        return block
    areas = [(tag.place, tag.place + len(tag.data)) for tag in gone if len(tag.data) > 4]
    kept = part._replace(tags=tuple(tag for tag in part.tags if tag.tag not in numbers))
    left = parts._replace(exif=kept) if name == "exif" else parts._replace(first=kept)
    if name == "first" and ifd.EXIF in numbers:
        left = left._replace(exif=None, interop=None)
    if name == "first" and ifd.GPS in numbers and parts.gps is not None:
        areas += _used(Directories(parts.order, parts.gps, None, None, None))
        left = left._replace(gps=None)
    body = bytearray(block)
    entries = b"".join(
        block[at : at + 12]
        for at in range(part.at + 2, part.end, 12)
        if struct.unpack_from(parts.order + "H", block, at)[0] not in numbers
    )
    table = struct.pack(parts.order + "H", len(entries) // 12) + entries
    table += block[part.end : part.end + 4]
    body[part.at : part.end + 4] = table.ljust(part.end + 4 - part.at, b"\0")
    used = _used(left)
    for start, end in areas:
        if not _overlaps(start, end, used):
            body[start:end] = bytes(end - start)
    try:  # directories of a damaged block can overlap
        ifd.read_directories(bytes(body))
    except ValueError:
        return b""
    return bytes(body)


def _without_tag(parts: Directories, number: int) -> Directories:
    def cut(part: Directory | None) -> Directory | None:
        if part is None:
            return None
        return part._replace(tags=tuple(tag for tag in part.tags if tag.tag != number))

    first = cut(parts.first)
    return parts._replace(first=first or parts.first, exif=cut(parts.exif))


def _without_fixed_note(parts: Directories) -> tuple[Directories, tuple[str, ...]]:
    """The parts without a maker's note that is valid only in its old place."""
    note = None if parts.exif is None else parts.exif.get(ifd.MAKER_NOTE)
    if note is None or note.data.startswith(_MOVABLE_NOTES):
        return parts, ()
    return _without_tag(parts, ifd.MAKER_NOTE), (_NOTE_LOST,)


def _built(parts: Directories) -> bytes:
    """A block of these tags, in their byte order."""
    order = parts.order
    body = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    body[4:8] = struct.pack(order + "L", ifd.append_all(body, order, parts))
    return bytes(body)
