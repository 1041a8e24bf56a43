"""Read and write the directories of TIFF files and EXIF blocks, tag by tag.

Values are kept as bytes with their types, so nothing is lost that a library does not know.
TIFF 6.0; BigTIFF for reading.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple, Protocol

#: Bytes of one value, and of the number in it whose byte order counts, by type.
_TYPES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2),
    9: (4, 4), 10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8),
    18: (8, 8), 129: (1, 1),
}  # fmt: skip
_ASCII, SHORT, LONG, UNDEFINED = 2, 3, 4, 7
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
MAKER_NOTE, USER_COMMENT = 0x927C, 0x9286
_MAX_ENTRIES = 4096


class Data(Protocol):
    """Bytes, or a file whose slices are read from the disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class Tag(NamedTuple):
    """One tag; ``data`` holds its values in the byte order of the file, ``place`` where they lie.

    Attributes:
        place: offset of the values in the file.
        entry: offset of its entry in the directory.
    """

    tag: int
    kind: int
    length: int
    data: bytes
    place: int = 0
    entry: int = 0

    def number(self, order: str) -> int:
        """Its first value, of type SHORT or LONG; 0 for other types."""
        code = {SHORT: "H", LONG: "L", 13: "L"}.get(self.kind)
        if code is None or len(self.data) < struct.calcsize(order + code):
            return 0
        return int(struct.unpack_from(order + code, self.data)[0])


class Directory(NamedTuple):
    """One directory.

    Attributes:
        at: its offset; ``end`` is the offset after its last entry.
        following: offset of the next directory; 0 if there is none.
        damaged: tags whose values lie outside the file, which are left out.
    """

    at: int
    end: int
    tags: tuple[Tag, ...]
    following: int
    damaged: tuple[int, ...] = ()

    def get(self, number: int) -> Tag | None:
        return next((tag for tag in self.tags if tag.tag == number), None)


class Directories(NamedTuple):
    """The directories of a file that describe its image.

    Attributes:
        order: ``<`` or ``>``.
    """

    order: str
    first: Directory
    exif: Directory | None
    gps: Directory | None
    interop: Directory | None


def short(tag: int, value: int, order: str) -> Tag:
    return Tag(tag, SHORT, 1, struct.pack(order + "H", value))


def read_directories(data: Data) -> Directories:
    r"""Read the first directory and those of EXIF, GPS and interoperability.

    Args:
        data: a TIFF or BigTIFF file, or an EXIF block without ``Exif\0\0``.

    Raises:
        ValueError: the header or the first directory is damaged. Other directories that are
            damaged are None.
    """
    order, big = _header(data)
    start = _number(data, order, "Q" if big else "L", 8 if big else 4)
    first = _read(data, order, big, start)
    exif = _sub(data, order, big, first, EXIF)
    return Directories(
        order,
        first,
        exif,
        _sub(data, order, big, first, GPS),
        None if exif is None else _sub(data, order, big, exif, INTEROP),
    )


def _number(data: Data, order: str, code: str, at: int) -> int:
    part = data[at : at + struct.calcsize(order + code)]
    try:
        return int(struct.unpack(order + code, part)[0])
    except struct.error:
        raise ValueError("a directory lies outside the file") from None


def _header(data: Data) -> tuple[str, bool]:
    for magic, order, big in (
        (b"II*\0", "<", False),
        (b"MM\0*", ">", False),
        (b"II+\0\x08\0\0\0", "<", True),
        (b"MM\0+\0\x08\0\0", ">", True),
    ):
        if data[: len(magic)] == magic and len(data) >= (16 if big else 8):
            return order, big
    raise ValueError("no TIFF header")


def _sub(data: Data, order: str, big: bool, parent: Directory, tag: int) -> Directory | None:
    pointer = parent.get(tag)
    at = 0 if pointer is None else pointer.number(order)
    if pointer is not None and pointer.kind in (16, 18) and len(pointer.data) == 8:
        at = struct.unpack(order + "Q", pointer.data)[0]
    if not at:
        return None
    try:
        return _read(data, order, big, at)
    except ValueError:
        return None


def read_directory(data: Data, order: str, at: int) -> Directory:
    """Read one directory of a classic file.

    Raises:
        ValueError: it is cut off.
    """
    return _read(data, order, False, at)


def _read(data: Data, order: str, big: bool, at: int) -> Directory:
    head, inline = (8, 8) if big else (2, 4)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHL4s"))
    if at < 8 or at + head > len(data):
        raise ValueError("a directory lies outside the file")
    count = _number(data, order, "Q" if big else "H", at)
    end = at + head + count * entry.size
    if not 0 < count <= _MAX_ENTRIES or end > len(data):
        raise ValueError("a directory is cut off")
    tags, damaged = [], []
    table = data[at + head : end]
    for position in range(at + head, end, entry.size):
        tag, kind, length, raw = entry.unpack_from(table, position - at - head)
        size = _TYPES.get(kind, (0, 0))[0] * length
        place = position + entry.size - inline
        if size > inline:
            (place,) = struct.unpack(order + ("Q" if big else "L"), raw)
        if kind not in _TYPES or place + size > len(data):
            damaged.append(tag)
            continue
        tags.append(Tag(tag, kind, length, data[place : place + size], place, position))
    tail = data[end : end + inline]
    code = order + ("Q" if big else "L")
    following = struct.unpack(code, tail)[0] if len(tail) == inline else 0
    return Directory(at, end, tuple(tags), following, tuple(damaged))


def reordered(tag: Tag, source: str, target: str) -> Tag:
    """The tag with its values in another byte order."""
    width = _TYPES[tag.kind][1]
    if source == target:
        return tag
    data = tag.data
    if tag.tag == USER_COMMENT and data.startswith(b"UNICODE\0"):
        text = bytearray(data[8:])
        even = len(text) // 2 * 2
        text[0:even:2], text[1:even:2] = text[1:even:2], text[0:even:2]
        return tag._replace(data=data[:8] + bytes(text))
    if width == 1:
        return tag
    swapped = bytearray(len(data))
    for n in range(width):
        swapped[n::width] = data[width - 1 - n :: width]
    return tag._replace(data=bytes(swapped))


def append_directory(body: bytearray, order: str, tags: Iterable[Tag], following: int = 0) -> int:
    """Append a directory of a classic file, and the values that do not fit into its entries.

    Returns:
        Its offset.
    """
    body += bytes(len(body) % 2)
    entries = []
    for tag in sorted(tags, key=lambda tag: tag.tag):
        data = tag.data
        if len(data) > 4:
            place = len(body)
            body += data + bytes(len(data) % 2)
            data = struct.pack(order + "L", place)
        entries.append(
            struct.pack(order + "HHL4s", tag.tag, tag.kind, tag.length, data.ljust(4, b"\0"))
        )
    at = len(body)
    body += struct.pack(order + "H", len(entries)) + b"".join(entries)
    body += struct.pack(order + "L", following)
    return at


def pointer(tag: int, at: int, order: str) -> Tag:
    """A tag that refers to a directory."""
    return Tag(tag, LONG, 1, struct.pack(order + "L", at))


def append_all(body: bytearray, order: str, parts: Directories, extra: Iterable[Tag] = ()) -> int:
    """Append the directories of EXIF, GPS and interoperability, then the first, which refers to
    them.

    Args:
        body: a classic file in byte order ``order``; its header is not changed.
        parts: tags in any byte order.
        extra: more tags of the first directory, in byte order ``order``; they replace others.

    Returns:
        The offset of the first directory.
    """

    def converted(part: Directory) -> dict[int, Tag]:
        return {tag.tag: reordered(tag, parts.order, order) for tag in part.tags}

    first = converted(parts.first)
    for number in (EXIF, GPS):
        first.pop(number, None)
    if parts.exif is not None:
        exif = converted(parts.exif)
        exif.pop(INTEROP, None)
        if parts.interop is not None:
            at = append_directory(body, order, converted(parts.interop).values())
            exif[INTEROP] = pointer(INTEROP, at, order)
        if exif:
            first[EXIF] = pointer(EXIF, append_directory(body, order, exif.values()), order)
    if parts.gps is not None:
        gps = append_directory(body, order, converted(parts.gps).values())
        first[GPS] = pointer(GPS, gps, order)
    first.update({tag.tag: tag for tag in extra})
    return append_directory(body, order, first.values())
