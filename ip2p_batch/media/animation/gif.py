"""Find the frames of a GIF (GIF89a specification, CompuServe 1990)."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import IO

from .parts import Animation, DamagedAnimationError, Disposal, Part

SIGNATURES = (b"GIF87a", b"GIF89a")

_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _APPLICATION, _COMMENT = 0xF9, 0xFF, 0xFE
_DISPOSALS: tuple[Disposal, ...] = ("keep", "keep", "clear", "restore")
TRAILER = bytes((_END,))
#: Names under which browsers look for the number of repetitions.
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_LOOP_BLOCK = 1


def parse(file: IO[bytes], most: int) -> Animation:
    """Find up to ``most`` frames.

    Raises:
        DamagedAnimationError: there is no header.
    """
    if file.read(6) not in SIGNATURES:
        raise DamagedAnimationError("no GIF")
    width, height, flags, _, _ = struct.unpack("<HHBBB", _read(file, 7))
    reader = _Blocks(file, _palette(file, flags))
    is_truncated = False
    try:
        while len(reader.parts) < most and reader.read_block():
            pass
    except DamagedAnimationError:
        is_truncated = True
    first = reader.parts[0] if reader.parts else None
    if first is not None:  # as browsers do: the canvas has room for the first frame
        width, height = max(width, first.left + first.width), max(height, first.top + first.height)
    return Animation(
        "gif",
        width,
        height,
        reader.plays,
        tuple(reader.parts),
        is_truncated=is_truncated,
        left_out=tuple(reader.left_out),
    )


def as_still(file: IO[bytes], part: Part) -> bytes:
    """A GIF of one frame alone, without its place on the canvas."""
    palette = _slice(file, part.palette)
    size_code = max(0, (len(palette) // 3 - 1).bit_length() - 1)
    flags = 0x80 | size_code if palette else 0
    control = b""
    if part.transparent >= 0:
        control = struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, 1, 0, part.transparent, 0)
    pixels = b"".join(_slice(file, piece) for piece in part.ranges)
    return b"".join((
        SIGNATURES[1],
        struct.pack("<HHBBB", part.width, part.height, flags, 0, 0),
        palette,
        control,
        struct.pack("<BHHHHB", _IMAGE, 0, 0, part.width, part.height, 0x40 * part.interlaced),
        pixels,
        TRAILER,
    ))  # fmt: skip


def header(size: tuple[int, int], palette: bytes, plays: int) -> bytes:
    """The begin of a GIF with a palette of 256 colours for all frames.

    Args:
        plays: how often it is played; 0 is forever.
    """
    parts = [SIGNATURES[1], struct.pack("<HHBBB", *size, 0xF7, 0, 0), palette]
    if plays != 1:
        repetitions = min(max(0, plays - 1), 65535)
        parts += [struct.pack("<BBB", _EXTENSION, _APPLICATION, 11), _LOOPS[0]]
        parts.append(struct.pack("<BBHB", 3, _LOOP_BLOCK, repetitions, 0))
    return b"".join(parts)


def frame(
    place: tuple[int, int],
    size: tuple[int, int],
    pixels: bytes,
    delay: int,
    *,
    transparent: int,
    clears: bool,
) -> bytes:
    """A frame with the palette of the file.

    Args:
        pixels: compressed, in blocks.
        delay: in hundredths of a second.
        transparent: number of the transparent colour.
        clears: whether its rectangle becomes transparent before the next frame.
    """
    flags = (2 if clears else 1) << 2 | 1
    control = struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, flags, delay, transparent, 0)
    return control + struct.pack("<BHHHHB", _IMAGE, *place, *size, 0) + pixels


class _Blocks:
    """Reads the blocks after the header.

    Attributes:
        parts: the frames so far.
        plays: how often the animation is played; once unless a block says more.
    """

    def __init__(self, file: IO[bytes], palette: tuple[int, int]) -> None:
        self._file = file
        self._palette = palette
        self._control = (0, 0, -1)
        self.parts: list[Part] = []
        self.plays = 1
        self.left_out: dict[str, None] = {}

    def read_block(self) -> bool:
        """Read the next block; false at the end.

        Raises:
            DamagedAnimationError: it is cut off, or of no known kind.
        """
        kind = _read(self._file, 1)[0]
        if kind == _EXTENSION:
            self._read_extension(_read(self._file, 1)[0])
        elif kind == _IMAGE:
            self.parts.append(self._read_image())
            self._control = (0, 0, -1)
        elif kind != _END:
            raise DamagedAnimationError("no block")
        return kind != _END

    def _read_extension(self, label: int) -> None:
        first = _sub_block(self._file)
        if label == _CONTROL and len(first) >= 4:
            flags, delay, color = struct.unpack_from("<BHB", first)
            self._control = (flags >> 2 & 7, delay, color if flags & 1 else -1)
        if label == _COMMENT:
            self.left_out["comment"] = None
        is_loop = label == _APPLICATION and first in _LOOPS
        if label == _APPLICATION and first == b"XMP DataXMP":
            self.left_out["XMP"] = None
        while first:
            first = _sub_block(self._file)
            if is_loop and len(first) >= 3 and first[0] == _LOOP_BLOCK:
                repetitions = int.from_bytes(first[1:3], "little")
                self.plays = repetitions + 1 if repetitions else 0

    def _read_image(self) -> Part:
        left, top, width, height, flags = struct.unpack("<HHHHB", _read(self._file, 9))
        palette = _palette(self._file, flags) if flags & 0x80 else self._palette
        start = self._file.tell()
        _read(self._file, 1)
        _skip_sub_blocks(self._file)
        if not (width and height):
            raise DamagedAnimationError("an empty frame")
        disposal, delay, transparent = self._control
        return Part(
            left,
            top,
            width,
            height,
            blends=transparent >= 0,
            disposal=_DISPOSALS[disposal] if disposal < len(_DISPOSALS) else "keep",
            seconds=Fraction(delay, 100),
            ranges=((start, self._file.tell() - start),),
            palette=palette,
            transparent=transparent,
            interlaced=bool(flags & 0x40),
        )


def _palette(file: IO[bytes], flags: int) -> tuple[int, int]:
    """Read past a palette; returns its range."""
    if not flags & 0x80:
        return (0, 0)
    start, length = file.tell(), 3 << ((flags & 7) + 1)
    _read(file, length)
    return (start, length)


def _sub_block(file: IO[bytes]) -> bytes:
    return _read(file, _read(file, 1)[0])


def _skip_sub_blocks(file: IO[bytes]) -> None:
    while length := _read(file, 1)[0]:
        _read(file, length)


def _read(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise DamagedAnimationError("the file ends too early")
    return data


def _slice(file: IO[bytes], piece: tuple[int, int]) -> bytes:
    file.seek(piece[0])
    return file.read(piece[1])
