"""Read boxes of ISO base media files (ISO/IEC 14496-12): MP4, MOV, HEIC, AVIF and JPEG XL."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple


class FileBox(NamedTuple):
    """A box at the top level of a file.

    Attributes:
        kind: its type, such as ``moov``.
        start: where its header begins, in bytes from the start of the file.
        content: where its content begins.
        stop: where it ends by its size, which may be behind the end of the file.
    """

    kind: bytes
    start: int
    content: int
    stop: int


def file_boxes(file: IO[bytes]) -> Iterator[FileBox]:
    """The boxes at the top level of a file, until one is not readable as such.

    The file may be read at any place meanwhile.
    """
    end = file.seek(0, 2)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        box = _box(file.read(16), at, end)
        if box is None:
            return
        yield box
        at = box.stop


def movie_box(file: IO[bytes]) -> bytes:
    """The content of an MP4 file's ``moov`` box; empty without one."""
    for box in file_boxes(file):
        if box.kind == b"moov":
            file.seek(box.content)
            return file.read(box.stop - box.content)
    return b""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box in the content of another."""
    at = 0
    while at + 8 <= len(data):
        box = _box(data[at : at + 16], at, len(data))
        if box is None:
            return
        yield box.kind, data[box.content : box.stop]
        at = box.stop


def inner_box(data: bytes, *path: bytes) -> bytes:
    """The content of the first box at a path of types; empty if there is none."""
    for kind in path:
        data = next((content for name, content in boxes(data) if name == kind), b"")
    return data


def _box(header: bytes, at: int, end: int) -> FileBox | None:
    """The box whose header begins at ``at``; None if its size is impossible.

    Args:
        header: the first 16 bytes, or what there is of them.
        end: where the last box ends, whose size may be 0.
    """
    size, kind = struct.unpack_from(">I4s", header)
    used = 8
    if size == 1:  # a size of 64 bits follows the type
        size, used = int.from_bytes(header[8:16], "big"), 16
    elif size == 0:
        size = end - at
    return None if size < used else FileBox(kind, at, at + used, at + size)
