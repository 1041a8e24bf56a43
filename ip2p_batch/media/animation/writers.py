"""Write animated images frame by frame; memory does not grow with their number.

A frame stores the rectangle that differs from its predecessor.
"""

from __future__ import annotations

import io
import struct
from typing import IO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ..images import png
from . import apng, gif, webp
from .compose import Canvas
from .palette import Palette
from .parts import DamagedAnimationError
from .timing import Timing

#: Left, top, right and bottom of a rectangle.
_Box = tuple[int, int, int, int]
#: As images are written.
_PNG_LEVEL, _WEBP_METHOD = 4, 4
_MOST_BYTES = 2**32 - 16


class ApngWriter:
    """Write an APNG, lossless.

    Args:
        file: where to write.
        size: ``(width, height)``.
        timing: of the frames.
        plays: how often it is played; 0 is forever.
    """

    def __init__(self, file: IO[bytes], size: tuple[int, int], timing: Timing, plays: int) -> None:
        self._file = file
        self._size = size
        self._timing = timing
        self._plays = plays
        self._changes = _Changes(1)
        self._frames = self._sequence = 0

    def write(self, canvas: Canvas) -> None:
        """Write the next frame, of RGB or RGB and opacity, uint8 or uint16."""
        left, top, right, bottom = self._changes.box(canvas)
        region = cast(Canvas, np.ascontiguousarray(canvas[top:bottom, left:right]))
        chunks = list(png.chunks(_png(region)))
        is_first = self._frames == 0
        if is_first:
            header = next(data for name, data in chunks if name == b"IHDR")
            announced = struct.pack(">LL", len(self._timing.seconds), self._plays)
            self._file.write(apng.SIGNATURE + apng.chunk(b"IHDR", header))
            self._file.write(apng.chunk(b"acTL", announced))
        seconds = self._timing.seconds[self._frames]
        delay = (seconds.numerator, seconds.denominator)
        place = (right - left, bottom - top, left, top)
        self._put(b"fcTL", struct.pack(">LLLLHHBB", *place, *delay, 0, 0))
        for name, data in chunks:
            if name == b"IDAT" and is_first:
                self._file.write(apng.chunk(name, data))
            elif name == b"IDAT":
                self._put(b"fdAT", data)
        self._frames += 1

    def close(self) -> None:
        """Write the end of the file."""
        self._file.write(apng.chunk(b"IEND", b""))

    def _put(self, name: bytes, data: bytes) -> None:
        self._file.write(apng.chunk(name, struct.pack(">L", self._sequence) + data))
        self._sequence += 1


class WebpWriter:
    """Write an animated WebP.

    Args:
        file, size, timing, plays: as of :class:`ApngWriter`.
        quality: 1 to 100 of lossy frames; None is lossless.
        has_alpha: whether frames have an opacity channel.
    """

    def __init__(
        self,
        file: IO[bytes],
        size: tuple[int, int],
        timing: Timing,
        plays: int,
        *,
        quality: int | None,
        has_alpha: bool,
    ) -> None:
        self._file = file
        self._timing = timing
        self._changes = _Changes(2)
        self._options = (
            {"lossless": True, "exact": True} if quality is None else {"quality": quality}
        )
        self._frames = 0
        flags = 0x02 | (webp.ALPHA if has_alpha else 0)
        head = webp.riff([
            webp.extended_header(flags, *size),
            webp.chunk(b"ANIM", bytes(4) + struct.pack("<H", min(plays, 65535))),
        ])  # fmt: skip
        file.write(head)
        self._bytes = len(head)

    def write(self, canvas: Canvas) -> None:
        """Write the next frame, of RGB or RGB and opacity, uint8."""
        left, top, right, bottom = self._changes.box(canvas)
        region = np.ascontiguousarray(canvas[top:bottom, left:right])
        buffer = io.BytesIO()
        image = Pillow.fromarray(region)
        image.save(buffer, "WEBP", method=_WEBP_METHOD, **self._options)
        pixels = webp.pixel_chunks(buffer.getvalue())
        milliseconds = int(self._timing.seconds[self._frames] * 1000)
        size = (right - left, bottom - top)
        data = webp.frame_chunk(pixels, (left, top), size, milliseconds)
        self._file.write(data)
        self._bytes += len(data)
        self._frames += 1

    def close(self) -> None:
        """Write the length of the file.

        Raises:
            ValueError: the format has no room for it.
        """
        if self._bytes > _MOST_BYTES:
            raise ValueError("more than 4 GB, which WebP cannot hold")
        self._file.seek(4)
        self._file.write(struct.pack("<L", self._bytes - 8))


class GifWriter:
    """Write a GIF with one palette.

    Args:
        file, size, timing, plays: as of :class:`ApngWriter`.
        palette: up to 255 colours.
        has_alpha: whether frames have an opacity channel.
    """

    _TRANSPARENT = 255

    def __init__(
        self,
        file: IO[bytes],
        size: tuple[int, int],
        timing: Timing,
        plays: int,
        *,
        palette: Palette,
        has_alpha: bool,
    ) -> None:
        self._file = file
        self._timing = timing
        self._palette = palette
        self._has_alpha = has_alpha
        self._previous: npt.NDArray[np.uint8] | None = None
        self._changes = _Changes(1)
        self._frames = 0
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(palette.colors)] = palette.colors
        file.write(gif.header(size, colors.tobytes(), plays))

    def write(self, canvas: Canvas) -> None:
        """Write the next frame, of RGB or RGB and opacity, uint8."""
        numbers = self._palette.numbers(cast(npt.NDArray[np.uint8], canvas[..., :3]))
        if self._has_alpha:  # the canvas is clear before each frame
            numbers = np.where(canvas[..., 3] < 128, self._TRANSPARENT, numbers).astype(np.uint8)
            box = _bounds(numbers != self._TRANSPARENT, 1)
        else:
            box = self._changes.box(numbers)
        left, top, right, bottom = box
        region = numbers[top:bottom, left:right]
        if not self._has_alpha and self._previous is not None:  # long runs compress best
            same = region == self._previous[top:bottom, left:right]
            region = np.where(same, self._TRANSPARENT, region).astype(np.uint8)
        self._previous = numbers
        delay = int(self._timing.seconds[self._frames] * 100)
        self._file.write(
            gif.frame(
                (left, top),
                (right - left, bottom - top),
                _compressed(region),
                delay,
                transparent=self._TRANSPARENT,
                clears=self._has_alpha,
            )
        )
        self._frames += 1

    def close(self) -> None:
        """Write the end of the file."""
        self._file.write(gif.TRAILER)


class _Changes:
    """Finds the rectangle of each frame that differs from its predecessor.

    Args:
        step: left and top are multiples of this.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._previous: Canvas | None = None

    def box(self, canvas: Canvas) -> _Box:
        """The rectangle; the whole canvas at first, one pixel where nothing differs."""
        previous, self._previous = self._previous, canvas
        if previous is None:
            return (0, 0, canvas.shape[1], canvas.shape[0])
        differs = canvas != previous
        return _bounds(differs.any(-1) if differs.ndim == 3 else differs, self._step)


def _bounds(marked: npt.NDArray[np.bool_], step: int) -> _Box:
    """The smallest rectangle with all marked pixels; one pixel if there are none."""
    rows, columns = np.flatnonzero(marked.any(1)), np.flatnonzero(marked.any(0))
    if not len(rows):
        return (0, 0, 1, 1)
    left, top = int(columns[0]), int(rows[0])
    return (left - left % step, top - top % step, int(columns[-1]) + 1, int(rows[-1]) + 1)


def _png(region: Canvas) -> bytes:
    """A PNG of these pixels."""
    buffer = io.BytesIO()
    is_deep = region.dtype == np.uint16
    image = Pillow.new("RGB", (1, 1)) if is_deep else Pillow.fromarray(region)
    image.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    data = buffer.getvalue()
    return png.with_pixels(data, cast(npt.NDArray[np.uint16], region)) if is_deep else data


def _compressed(numbers: npt.NDArray[np.uint8]) -> bytes:
    """The pixels of a GIF's frame, compressed."""
    image = Pillow.fromarray(np.ascontiguousarray(numbers)).convert("P")
    image.putpalette(_GREYS)
    buffer = io.BytesIO()
    image.save(buffer, "GIF", optimize=False, interlace=0)
    buffer.seek(0)
    part = gif.parse(buffer, 1).parts[0]
    if part.palette[1] != len(_GREYS):  # the numbers would have been changed
        raise DamagedAnimationError("no frame of 256 colours")
    start, length = part.ranges[0]
    return buffer.getvalue()[start : start + length]


_GREYS = bytes(value for value in range(256) for _ in range(3))
