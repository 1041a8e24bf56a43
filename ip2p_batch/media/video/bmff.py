"""Read boxes of ISO base media files (MP4, MOV; ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO


def movie_box(file: BinaryIO) -> bytes:
    """The content of an MP4 file's ``moov`` box; empty without one."""
    while len(header := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", header)
        used = 8
        if size == 1:
            size, used = int.from_bytes(file.read(8), "big"), 16
        if kind == b"moov":
            return file.read(size - used if size else -1)
        if size < used:  # up to the end of the file, or damaged
            break
        file.seek(size - used, 1)
    return b""


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box in the content of another."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def inner_box(data: bytes, *path: bytes) -> bytes:
    """The content of the first box at a path of types; empty if there is none."""
    for kind in path:
        data = next((content for name, content in boxes(data) if name == kind), b"")
    return data
