"""The average frame rate of a video: from its header, or from the times of its frames."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .timestamps import Times

#: Rates of cameras and of broadcasting (SMPTE ST 2036-1, ITU-R BT.2020), frames per second.
_STANDARD = (
    *(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)),
    *(Fraction(n) for n in (10, 12, 15, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)),
)
#: Largest relative difference of a header's rate, which may count whole nanoseconds, to the same
#: standard rate. 30 and 30000/1001 differ by 0.001.
_SAME = Fraction(1, 10_000)
#: Largest factor between a header's rate and that of the frames' times.
_MOST = 1.1


def average_rate(pts: Times, base: Fraction, header: Fraction, *, is_guess: bool) -> Fraction:
    """Average frames per second.

    The header's rate is kept if it agrees with the times. Some programs write the number of ticks
    in a second instead, and a long last frame lowers the average.

    Args:
        pts: presentation times of all frames in ticks, sorted, at least one.
        base: seconds per tick.
        header: rate by the file's header; 0 or less if it names none.
        is_guess: whether ``header`` is no value of the file.
    """
    span = (int(pts[-1]) - int(pts[0])) * base
    if span <= 0:
        return header if 0 < header <= 1000 else Fraction(25)
    mean = (len(pts) - 1) / span
    if not is_guess and 0 < header <= 1000 and 1 / _MOST <= float(header / mean) <= _MOST:
        return next((rate for rate in _STANDARD if abs(header / rate - 1) < _SAME), header)
    return _standard_rate(pts, base, mean) or mean.limit_denominator(1001)


def _standard_rate(pts: Times, base: Fraction, mean: Fraction) -> Fraction | None:
    """The standard rate at which frames are evenly spaced, to one tick; None if none fits."""
    for rate in sorted(_STANDARD, key=lambda rate: abs(rate - mean)):
        even = int(pts[0]) + np.arange(len(pts)) * float(1 / rate / base)
        if abs(rate / mean - 1) < Fraction(1, 20) and np.all(np.abs(pts - even) <= 1):
            return rate
    return None
