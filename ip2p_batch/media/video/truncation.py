"""Find whether a media file ends before its container says, from sizes in the container itself.

Durations in headers cannot answer this: the last frame of a whole file may be on screen for long.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ..bmff import file_boxes
from ..ebml import HEADER, SEGMENT, read_header

#: Bytes of a header of an FLV tag, and of the size that follows each tag.
_FLV_TAG, _FLV_SIZE = 11, 4


def is_truncated(path: Path, container: str) -> bool | None:
    """Whether the end of a file is missing; None where the container cannot say.

    Args:
        path: a file that FFmpeg can open.
        container: FFmpeg's name of its format.
    """
    check = next((check for name, check in _CHECKS.items() if container.startswith(name)), None)
    if check is None:
        return None
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return check(file, size)
    except (OSError, struct.error, ValueError):
        return None


def _bmff(file: BinaryIO, size: int) -> bool | None:
    """ISO/IEC 14496-12: boxes follow each other to the end of the file."""
    fragmented = False
    for box in file_boxes(file):
        if box.stop > size:
            return True
        fragmented |= box.kind == b"moof"
    # A fragmented file that breaks off between two fragments looks whole.
    return None if fragmented else False


def _matroska(file: BinaryIO, size: int) -> bool | None:
    """RFC 9559: an EBML header, then a segment, whose size may be unknown."""
    name, length = read_header(file)
    if name != HEADER or length is None:
        return None
    file.seek(length, 1)
    name, length = read_header(file)
    return None if name != SEGMENT or length is None else file.tell() + length > size


def _riff(file: BinaryIO, size: int) -> bool | None:
    """AVI: one RIFF chunk, and further ones above 1 GB (OpenDML)."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        name, length = file.read(4), int.from_bytes(file.read(4), "little")
        if name != b"RIFF":
            break
        if not length:  # a recording whose program never came to write it
            return None
        start += 8 + length + length % 2
    # The last chunk's padding byte may be left out.
    return start > size + 1


def _flv(file: BinaryIO, size: int) -> bool | None:
    """Adobe FLV 10.1, annex E: every tag is followed by its size."""
    file.seek(size - _FLV_SIZE)
    length = int.from_bytes(file.read(_FLV_SIZE), "big")
    start = size - _FLV_SIZE - length
    if length < _FLV_TAG or start < 0:
        return True
    file.seek(start + 1)
    return int.from_bytes(file.read(3), "big") != length - _FLV_TAG


_CHECKS: Mapping[str, Callable[[BinaryIO, int], bool | None]] = {
    "mov": _bmff,
    "matroska": _matroska,
    "avi": _riff,
    "flv": _flv,
}
