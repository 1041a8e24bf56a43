"""State the shape of pixels in Matroska files, which PyAV has no way to.

FFmpeg's muxer leaves room (a Void element) behind the SeekHead. The display size takes some of it,
so that only the elements up to the tracks move. Sources: RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from math import ceil
from pathlib import Path

from ..ebml import SEGMENT, Span, spans

#: Bytes in which the header of a file is looked for.
_HEADER = 1 << 20
_SEEK_HEAD, _SEEK, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AC
_TRACKS, _TRACK, _VIDEO, _VOID, _CRC = 0x1654AE6B, 0xAE, 0xE0, 0xEC, b"\xbf\x84"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
#: Bytes of the ID and size of a Void element.
_VOID_HEAD = 9


def display_size(size: tuple[int, int], sar: Fraction) -> tuple[int, int]:
    """The size at which frames are shown, with the exact ratio of its sides if they fit 16 bits.

    Args:
        size: width and height of frames.
        sar: width of a pixel by its height.

    >>> display_size((720, 576), Fraction(64, 45)), display_size((720, 480), Fraction(8, 9))
    ((1024, 576), (720, 540))
    """
    width, height = size
    ratio = Fraction(width, height) * sar
    times = max(ceil(width / ratio.numerator), ceil(height / ratio.denominator))
    shown = ratio.numerator * times, ratio.denominator * times
    return shown if max(shown) < 1 << 16 else (round(width * sar), height)


def write_display_size(path: Path, size: tuple[int, int]) -> bool:
    """Write the display size of the first video track of a finished file.

    Returns:
        False if the file has no room for it and is unchanged.
    """
    with path.open("r+b") as file:
        data = bytearray(file.read(_HEADER))
        changed = add_display_size(data, size)
        if changed:
            file.seek(0)
            file.write(data)
    return changed


def add_display_size(data: bytearray, size: tuple[int, int]) -> bool:
    """Write the display size into the header of a file in memory, which keeps its length.

    Returns:
        False if there is no room for it, and the data are unchanged.
    """
    segment = _child(data, SEGMENT, (0, 0, len(data)))
    seek, void, tracks = (
        _child(data, name, segment) if segment else None for name in (_SEEK_HEAD, _VOID, _TRACKS)
    )
    if not (segment and seek and void and tracks) or not seek[2] == void[0] < tracks[0]:
        return False
    changed = _changed_tracks(data, tracks, size)
    grown = len(changed) - (tracks[2] - tracks[0])
    room = void[2] - void[0] - grown - _VOID_HEAD
    if not changed or room < 0:
        return False
    _move_positions(data, seek, segment[1], (void[2], tracks[2]), -grown)
    head = bytes([_VOID]) + (1 << 56 | room).to_bytes(8, "big")
    between = data[void[2] : tracks[0]]
    data[void[0] : tracks[2]] = head + bytes(room) + between + changed
    return True


def _changed_tracks(data: bytearray, tracks: Span, size: tuple[int, int]) -> bytes:
    """The Tracks element with a display size in its first video track; empty if it cannot be."""
    for name, track in _elements(data, tracks):
        video = _child(data, _VIDEO, track) if name == _TRACK else None
        if video is None:
            continue
        children = list(_elements(data, video))
        if any(child == _DISPLAY_WIDTH for child, _ in children):
            return b""  # by the layout of stereo 3D
        shown = b"".join(data[a:c] for child, (a, _, c) in children if child != _DISPLAY_UNIT)
        for child, value in zip((_DISPLAY_WIDTH, _DISPLAY_HEIGHT), size, strict=True):
            shown += child.to_bytes(2, "big") + b"\x82" + value.to_bytes(2, "big")
        length = 1 if len(shown) < 0x7F else 2
        longer = bytes([_VIDEO]) + (1 << 7 * length | len(shown)).to_bytes(length, "big") + shown
        entry = data[track[1] : video[0]] + longer + data[video[2] : track[2]]
        entry = bytearray(_resized(data[track[0] : track[1]], 1, len(entry)) + entry)
        content = data[tracks[1] : track[0]] + entry + data[track[2] : tracks[2]]
        _renew_checksum(content)
        return bytes(_resized(data[tracks[0] : tracks[1]], 4, len(content)) + content)
    return b""


def _resized(head: bytearray, id_bytes: int, size: int) -> bytes:
    """ID and size of an element with another size in as many bytes."""
    length = len(head) - id_bytes
    return bytes(head[:id_bytes]) + (1 << 7 * length | size).to_bytes(length, "big")


def _move_positions(
    data: bytearray, seek: Span, origin: int, moved: tuple[int, int], by: int
) -> None:
    """Change the positions in a SeekHead of elements that are moved."""
    for name, entry in _elements(data, seek):
        position = _child(data, _SEEK_POSITION, entry) if name == _SEEK else None
        if position is not None:
            _, start, stop = position
            place = int.from_bytes(data[start:stop], "big")
            if moved[0] <= origin + place < moved[1]:
                data[start:stop] = (place + by).to_bytes(stop - start, "big")
    content = data[seek[1] : seek[2]]
    _renew_checksum(content)
    data[seek[1] : seek[2]] = content


def _renew_checksum(content: bytearray) -> None:
    """Set the CRC-32 of an element, its first child if it has one, lowest byte first."""
    if content[:2] == _CRC:
        content[2:6] = zlib.crc32(content[6:]).to_bytes(4, "little")


def _child(data: bytearray, name: int, parent: Span) -> Span | None:
    return next((span for found, span in _elements(data, parent) if found == name), None)


def _elements(data: bytearray, parent: Span) -> Iterator[tuple[int, Span]]:
    """ID and place of each child of an element, as far as the data have them."""
    with suppress(ValueError):
        yield from spans(data, parent[1], min(parent[2], len(data)))
