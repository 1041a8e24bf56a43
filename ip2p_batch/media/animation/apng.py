"""Find the frames of an animated PNG (PNG specification, third edition, W3C 2025, 11.3.6)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from typing import IO

from .parts import Animation, DamagedAnimationError, Disposal, Part

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks before the pixels that say what their values mean.
_COLOR_CHUNKS = {b"PLTE", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP"}
_METADATA = {
    b"eXIf": "EXIF", b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"tIME": "time",
}  # fmt: skip
_DISPOSALS: tuple[Disposal, ...] = ("keep", "clear", "restore")
#: Largest chunk of colour data that is read; profiles of printers have some megabytes.
_MOST_COLOR = 1 << 24


def parse(file: IO[bytes], most: int) -> Animation:
    """Find up to ``most`` frames.

    A default image that is no frame of the animation is left out.

    Raises:
        DamagedAnimationError: not a PNG, or not an animated one.
    """
    if file.read(8) != SIGNATURE:
        raise DamagedAnimationError("no PNG")
    reader = _Chunks(file)
    is_truncated = True
    try:
        while reader.complete < most and (is_truncated := reader.read_chunk()):
            pass
    except DamagedAnimationError:
        pass
    parts = tuple(part for part in reader.parts if part.ranges)
    if reader.plays is None or len(reader.header.get(b"IHDR", b"")) != 13:
        raise DamagedAnimationError("no animation")
    width, height, depth = struct.unpack_from(">LLB", reader.header[b"IHDR"])
    return Animation(
        "apng",
        width,
        height,
        reader.plays,
        parts,
        depth=16 if depth == 16 else 8,
        header=tuple(reader.header.items()),
        is_truncated=is_truncated and reader.complete < most,
        left_out=tuple(reader.left_out),
    )


def as_still(file: IO[bytes], animation: Animation, part: Part) -> bytes:
    """A PNG of one frame alone, without its place on the canvas."""
    pieces = [SIGNATURE]
    for name, data in animation.header:
        if name == b"IHDR":
            data = struct.pack(">LL", part.width, part.height) + data[8:]
        pieces.append(chunk(name, data))
    for start, length in part.ranges:
        file.seek(start)
        pieces.append(chunk(b"IDAT", file.read(length)))
    return b"".join((*pieces, chunk(b"IEND", b"")))


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


class _Chunks:
    """Reads the chunks after the signature.

    Attributes:
        parts: the frames so far.
        plays: how often the animation is played; None if the file announces none.
        header: the header and the chunks that say what its colours mean.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._has_pixels = False
        self.parts: list[Part] = []
        self.plays: int | None = None
        self.header: dict[bytes, bytes] = {}
        self.left_out: dict[str, None] = {}

    @property
    def complete(self) -> int:
        """Frames with pixels so far."""
        return len(self.parts) - bool(self.parts and not self.parts[-1].ranges)

    def read_chunk(self) -> bool:
        """Read the next chunk; false at the end.

        Raises:
            DamagedAnimationError: it is cut off or damaged, or the file is no animation.
        """
        start = self._file.tell() + 8
        length, name = struct.unpack(">L4s", _read(self._file, 8))
        if name == b"IHDR" or (name in _COLOR_CHUNKS and not self._has_pixels):
            self.header[name] = _read(self._file, min(length, _MOST_COLOR))
        elif name == b"acTL" and length == 8 and not self._has_pixels:
            self.plays = struct.unpack(">LL", _read(self._file, 8))[1]
        elif name == b"fcTL" and length == 26:
            self.parts.append(self._frame(_read(self._file, 26)))
        elif name == b"IDAT":
            if self.plays is None:
                raise DamagedAnimationError("no animation")
            self._has_pixels = True
            self._add_range(start, length)
        elif name == b"fdAT" and length >= 4:
            self._add_range(start + 4, length - 4)
        elif name in _METADATA:
            self.left_out[_METADATA[name]] = None
        self._file.seek(start + length)
        _read(self._file, 4)
        return bool(name != b"IEND")

    def _add_range(self, start: int, length: int) -> None:
        if not self.parts:  # a default image that is no frame
            return
        part = self.parts[-1]
        self.parts[-1] = replace(part, ranges=(*part.ranges, (start, length)))

    def _frame(self, data: bytes) -> Part:
        fields = struct.unpack(">LLLLLHHBB", data)
        _, width, height, left, top, numerator, denominator, disposal, blend = fields
        canvas = struct.unpack_from(">LL", self.header.get(b"IHDR", bytes(8)))
        is_inside = left + width <= canvas[0] and top + height <= canvas[1]
        if not (width and height and is_inside) or disposal >= len(_DISPOSALS):
            raise DamagedAnimationError("a frame outside of the canvas")
        if self.parts and not self.parts[-1].ranges:
            raise DamagedAnimationError("a frame without pixels")
        return Part(
            left,
            top,
            width,
            height,
            blends=blend == 1,
            # Nothing is there to restore before the first frame.
            disposal="clear" if disposal == 2 and not self.parts else _DISPOSALS[disposal],
            seconds=Fraction(numerator, denominator or 100),
            ranges=(),
        )


def _read(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise DamagedAnimationError("the file ends too early")
    return data
