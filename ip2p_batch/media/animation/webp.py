"""Find the frames of an animated WebP (RFC 9649, 2.7)."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import IO

from .parts import Animation, DamagedAnimationError, Part

_ANIMATED, ICC, ALPHA = 0x02, 0x20, 0x10
_CLEARS, _REPLACES = 0x01, 0x02
_METADATA = {b"EXIF": "EXIF", b"XMP ": "XMP"}
#: Chunks of a frame that hold its pixels.
_PIXELS = {b"ALPH", b"VP8 ", b"VP8L"}
#: Largest colour profile that is read.
_MOST_COLOR = 1 << 24


def is_webp(head: bytes) -> bool:
    """Whether a file begins like a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def parse(file: IO[bytes], most: int) -> Animation:
    """Find up to ``most`` frames.

    Raises:
        DamagedAnimationError: not a WebP, or not an animated one.
    """
    head = file.read(30)
    is_animated = is_webp(head) and head[12:16] == b"VP8X" and len(head) == 30
    if not (is_animated and head[20] & _ANIMATED):
        raise DamagedAnimationError("no animation")
    width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    end = 8 + int.from_bytes(head[4:8], "little")
    parts: list[Part] = []
    left_out: dict[str, None] = {}
    plays, profile, is_truncated = 1, b"", False
    at = 20 + _padded(int.from_bytes(head[16:20], "little"))
    while at < end and len(parts) < most:
        file.seek(at)
        name, length = _chunk_head(file)
        body = file.read(min(length, 16 if name != b"ICCP" else _MOST_COLOR))
        if name == b"ANIM" and len(body) >= 6:
            plays = int.from_bytes(body[4:6], "little")
        elif name == b"ICCP":
            profile = body
        elif name in _METADATA:
            left_out[_METADATA[name]] = None
        try:
            if name == b"ANMF":
                parts.append(_frame(file, body, at + 8, length, (width, height)))
        except DamagedAnimationError:
            is_truncated = True
            break
        at += 8 + _padded(length)
        if len(name) < 4:
            is_truncated = True
            break
    header = ((b"ICCP", profile),) if profile else ()
    return Animation(
        "webp",
        width,
        height,
        plays,
        tuple(parts),
        header=header,
        is_truncated=is_truncated,
        left_out=tuple(left_out),
    )


def as_still(file: IO[bytes], animation: Animation, part: Part) -> bytes:
    """A WebP of one frame alone, without its place on the canvas."""
    pieces = []
    flags = 0
    for name, data in animation.header:
        flags |= ICC
        pieces.append(chunk(name, data))
    for start, length in part.ranges:
        file.seek(start)
        data = file.read(length)
        if data[:4] in (b"ALPH", b"VP8L"):
            flags |= ALPHA
        pieces.append(data)
    return riff([extended_header(flags, part.width, part.height), *pieces])


def riff(chunks: list[bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join((b"WEBP", *chunks))
    return b"RIFF" + struct.pack("<L", len(body)) + body


def extended_header(flags: int, width: int, height: int) -> bytes:
    """The chunk that says what a file holds, and the size of its canvas."""
    return chunk(b"VP8X", bytes((flags, 0, 0, 0)) + _uint24(width - 1) + _uint24(height - 1))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk with its length, padded to an even one."""
    return name + struct.pack("<L", len(data)) + data + bytes(len(data) % 2)


def frame_chunk(
    data: bytes, place: tuple[int, int], size: tuple[int, int], milliseconds: int
) -> bytes:
    """A frame that replaces a rectangle of the canvas.

    Args:
        data: chunks with its pixels.
        place: left and top of the rectangle, both even.
    """
    numbers = (place[0] // 2, place[1] // 2, size[0] - 1, size[1] - 1, milliseconds)
    return chunk(b"ANMF", b"".join(map(_uint24, numbers)) + bytes((_REPLACES,)) + data)


def pixel_chunks(still: bytes) -> bytes:
    """The chunks of a still WebP that hold its pixels."""
    found, at = [], 12
    while at + 8 <= len(still):
        length = _padded(int.from_bytes(still[at + 4 : at + 8], "little"))
        if still[at : at + 4] in _PIXELS:
            found.append(still[at : at + 8 + length])
        at += 8 + length
    return b"".join(found)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _padded(length: int) -> int:
    return length + length % 2


def _chunk_head(file: IO[bytes]) -> tuple[bytes, int]:
    head = file.read(8)
    return head[:4] if len(head) == 8 else b"", int.from_bytes(head[4:8], "little")


def _frame(file: IO[bytes], body: bytes, start: int, length: int, canvas: tuple[int, int]) -> Part:
    """The frame of a chunk that starts at ``start``.

    Args:
        body: its first 16 bytes.
    """
    if len(body) < 16:
        raise DamagedAnimationError("the file ends too early")
    left, top, width, height, milliseconds = (
        int.from_bytes(body[at : at + 3], "little") for at in range(0, 15, 3)
    )
    left, top, width, height = 2 * left, 2 * top, width + 1, height + 1
    if left + width > canvas[0] or top + height > canvas[1]:
        raise DamagedAnimationError("a frame outside of the canvas")
    return Part(
        left,
        top,
        width,
        height,
        blends=not body[15] & _REPLACES,
        disposal="clear" if body[15] & _CLEARS else "keep",
        seconds=Fraction(milliseconds, 1000),
        ranges=_pixel_ranges(file, start + 16, start + length),
    )


def _pixel_ranges(file: IO[bytes], at: int, end: int) -> tuple[tuple[int, int], ...]:
    ranges = []
    while at + 8 <= end:
        file.seek(at)
        name, length = _chunk_head(file)
        size = 8 + _padded(length)
        if at + size > end + 1:
            break
        if name in _PIXELS:
            file.seek(at + 8 + length - 1)
            if not file.read(1):
                break
            ranges.append((at, size))
        at += size
    if not ranges:
        raise DamagedAnimationError("a frame without pixels")
    return tuple(ranges)
