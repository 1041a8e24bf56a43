"""The frames of an animated image, as its file stores them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

Disposal = Literal["keep", "clear", "restore"]

#: Seconds that browsers show a frame for whose own duration is ``_SHORTEST`` or less. Chromium has
#: this rule in ``DeferredImageDecoder``, Firefox in ``FrameTimeout``.
_INSTEAD = Fraction(1, 10)
_SHORTEST = Fraction(1, 100)
#: Most ticks in a second: more would not fit into the headers of all containers.
_MOST_TICKS = 1_000_000
#: Fewest ticks in a second.
_FEWEST_TICKS = 1000


class DamagedAnimationError(ValueError):
    """A file does not follow its format."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a file stores for one frame: pixels for a rectangle of the canvas.

    Attributes:
        left, top, width, height: the rectangle in pixels; it may exceed the canvas.
        blends: whether transparent pixels let the canvas show; otherwise they replace it.
        disposal: what becomes of the rectangle before the next frame: it is kept, made transparent,
            or restored to what it was before this frame.
        seconds: for which the frame is shown, as stored.
        ranges: start and length in bytes of each piece of its data in the file.
        palette: range of its palette; an empty one if it has none of its own.
        transparent: number of the transparent colour in the palette; -1 without one.
        interlaced: whether rows are stored in the order of GIF interlacing.
    """

    left: int
    top: int
    width: int
    height: int
    blends: bool
    disposal: Disposal
    seconds: Fraction
    ranges: tuple[tuple[int, int], ...]
    palette: tuple[int, int] = (0, 0)
    transparent: int = -1
    interlaced: bool = False

    @property
    def shown_seconds(self) -> Fraction:
        """Seconds for which browsers show the frame."""
        return self.seconds if self.seconds > _SHORTEST else _INSTEAD


@dataclass(frozen=True, slots=True)
class Animation:
    """An animated image.

    Attributes:
        format: ``gif``, ``apng`` or ``webp``.
        width, height: of the canvas, in pixels.
        plays: how often it is played; 0 is forever.
        parts: its frames, in order.
        depth: bits per sample, 8 or 16.
        header: what all frames share: the header chunk of a PNG, and its colour chunks, or the
            colour profile of a WebP, by name.
        is_truncated: whether the file ends before its end, or is damaged from there on.
        left_out: names of what else it holds.
    """

    format: Literal["gif", "apng", "webp"]
    width: int
    height: int
    plays: int
    parts: tuple[Part, ...]
    depth: int = 8
    header: tuple[tuple[bytes, bytes], ...] = field(default=())
    is_truncated: bool = False
    left_out: tuple[str, ...] = ()

    def covers(self, part: Part) -> bool:
        """Whether a part fills the canvas."""
        return (
            part.left <= 0
            and part.top <= 0
            and part.left + part.width >= self.width
            and part.top + part.height >= self.height
        )


def ticks_of(durations: Iterable[Fraction]) -> tuple[int, list[int]]:
    """Ticks in a second that count all durations exactly, and the durations in ticks.

    They are rounded to a millionth of a second where only more ticks would be exact.

    >>> ticks_of([Fraction(1, 30), Fraction(1, 20)])
    (3000, [100, 150])
    """
    listed = list(durations)
    ticks = _FEWEST_TICKS
    for denominator in {duration.denominator for duration in listed}:
        ticks = math.lcm(ticks, denominator)
        if ticks > _MOST_TICKS:
            ticks = _MOST_TICKS
            break
    return ticks, [max(1, round(duration * ticks)) for duration in listed]
