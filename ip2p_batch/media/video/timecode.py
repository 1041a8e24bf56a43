"""SMPTE time codes (ST 12-1): the label of a frame, and of the frame some frames later."""

from __future__ import annotations

import re
from fractions import Fraction

_PATTERN = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d\d+)")


def advanced(code: str, frames: int, rate: Fraction) -> str | None:
    """The time code ``frames`` after ``code``.

    Drop-frame codes (a ``;`` or ``.`` before the frames) leave out the first 2 labels of each
    minute, 4 at 60 frames per second, except in every tenth minute.

    Args:
        code: ``HH:MM:SS:FF``, or with ``;`` or ``.`` before ``FF`` for drop-frame.
        frames: not negative.
        rate: frames per second; labels count at the nearest whole number.

    Returns:
        the code in the form of ``code``; None if ``code`` is not a time code of this rate.

    >>> advanced("01:00:59;28", 2, Fraction(30000, 1001))
    '01:01:00;02'
    >>> advanced("23:59:59:24", 1, Fraction(25))
    '00:00:00:00'
    """
    match = _PATTERN.fullmatch(code.strip())
    per_second = round(rate)
    if match is None or per_second < 1:
        return None
    hours, minutes, seconds, number = (int(match[group]) for group in (1, 2, 3, 5))
    separator = match[4]
    dropped = per_second // 15 if separator in ";.," else 0
    if minutes > 59 or seconds > 59 or number >= per_second or (dropped and per_second % 30):
        return None
    minute = 60 * hours + minutes
    labels = (60 * minute + seconds) * per_second + number
    count = labels - dropped * (minute - minute // 10) + frames
    return _label(count, per_second, dropped, separator)


def _label(count: int, per_second: int, dropped: int, separator: str) -> str:
    """The label of frame ``count`` of a day."""
    per_ten_minutes = 600 * per_second - 9 * dropped
    tens, rest = divmod(count, per_ten_minutes)
    # Every minute but the first of ten is shorter by the dropped labels.
    if rest >= 60 * per_second:
        count += dropped * ((rest - 60 * per_second) // (60 * per_second - dropped) + 1)
    count += dropped * 9 * tens
    seconds, number = divmod(count, per_second)
    hours = seconds // 3600 % 24
    return f"{hours:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{number:02}"
