"""Which frames an animated image can hold, and for how long it shows each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Format = Literal["gif", "apng", "webp"]

#: Ticks in a second that a format counts; 0: a fraction for each frame.
_TICKS = {"gif": 100, "webp": 1000, "apng": 0}
#: Shortest duration that browsers do not replace by 100 ms, and the longest that fits.
_LIMITS = {
    "gif": (Fraction(2, 100), Fraction(65535, 100)),
    "webp": (Fraction(11, 1000), Fraction((1 << 24) - 1, 1000)),
    "apng": (Fraction(1001, 100_000), Fraction(65535)),
}
#: Numerator and denominator of an APNG's durations have 16 bits.
_MOST = 65535


@dataclass(frozen=True, slots=True)
class Timing:
    """Frames of an animated image.

    Attributes:
        numbers: of the frames of the video that it holds, ascending.
        seconds: for which each is shown.
        clamped: frames that last longer in the video than the format can say.
    """

    numbers: tuple[int, ...]
    seconds: tuple[Fraction, ...]
    clamped: int = 0


def timing(name: Format, times: Sequence[int], last: int, base: Fraction) -> Timing:
    """Fit the times of a video's frames into a format.

    Times are rounded so that errors do not add up. A frame is left out if it would follow its
    predecessor faster than browsers show it.

    Args:
        name: of the format.
        times: of all frames, in ticks, ascending, at least one.
        last: ticks for which the last frame is shown.
        base: seconds per tick.

    >>> timing("gif", [0, 1, 2, 3], 1, Fraction(1, 30)).seconds
    (Fraction(3, 100), Fraction(1, 25), Fraction(3, 100), Fraction(3, 100))
    """
    shortest, longest = _LIMITS[name]
    ticks = _TICKS[name]
    places = [_rounded((int(time) - int(times[0])) * base, ticks) for time in (*times,)]
    end = _rounded((int(times[-1]) - int(times[0]) + last) * base, ticks)
    kept: list[int] = []
    for number, place in enumerate(places):
        if not kept or place - places[kept[-1]] >= shortest:
            kept.append(number)
    stops = [*(places[number] for number in kept[1:]), end]
    seconds = [stop - places[number] for number, stop in zip(kept, stops, strict=True)]
    fitting = [_storable(min(max(value, shortest), longest), ticks) for value in seconds]
    clamped = sum(value > longest for value in seconds)
    return Timing(tuple(kept), tuple(fitting), clamped)


def _rounded(value: Fraction, ticks: int) -> Fraction:
    return Fraction(math.floor(value * ticks + Fraction(1, 2)), ticks) if ticks else value


def _storable(value: Fraction, ticks: int) -> Fraction:
    """The nearest value whose numerator and denominator have 16 bits, where both are stored."""
    if ticks or (value.numerator <= _MOST and value.denominator <= _MOST):
        return value
    return value.limit_denominator(max(1, int(_MOST / (value + 1))))
