"""Times of the frames of a finished video, and how the clock of its source is moved."""

from __future__ import annotations

import numpy as np

from ...frame import FrameTable
from ...jobs.video_facts import VideoFacts
from .packets import TimeRange
from .pyav import fraction
from .timestamps import Times

#: Latest start of a file, in seconds, that is kept. A later one is the clock of a recorded stream
#: that was already running.
_MAX_FIRST_TIME = 10
#: Seconds by which the samples that an encoder adds before the sound may start before zero.
_MAX_PRIMING = 1


def planned_times(facts: VideoFacts, table: FrameTable, start: int, stop: int) -> Times:
    """Times of the output's frames, in ticks of the source's time base.

    They are the source's own, so that sound and subtitles stay in step. A part of a video begins at
    zero, and so does a source whose clock is not near zero, with the sound if that starts first.

    Args:
        table: presentation times of all frames of the source.
        start, stop: the edited frames, half-open.
    """
    return np.asarray(table[start:stop], dtype=np.int64) - shift(facts, table, start)


def shift(facts: VideoFacts, table: FrameTable, start: int) -> int:
    """Ticks to subtract from every time of the source."""
    if start > 0:
        return int(table[start])
    base = fraction(facts.time_base)
    first = int(table[0]) - facts.lead_ticks
    # MPEG transport and program streams may start at any time. Encoders of sound begin a little
    # before zero, with samples that are not played.
    lowest = 0 if not facts.lead_ticks else -_MAX_PRIMING
    keeps_first_time = (
        not facts.container.startswith("mpeg")
        and table[0] >= 0
        and lowest <= first * base <= _MAX_FIRST_TIME
    )
    return 0 if keeps_first_time else first


def last_duration(facts: VideoFacts, table: FrameTable, stop: int) -> int:
    """Ticks for which the last edited frame lasts in the source."""
    if stop < len(table):
        return int(table[stop]) - int(table[stop - 1])
    return facts.last_ticks or round(1 / fraction(facts.frame_rate) / fraction(facts.time_base))


def kept_range(facts: VideoFacts, table: FrameTable, start: int, stop: int) -> TimeRange | None:
    """Seconds of the source that a part of it keeps; None for a whole video."""
    if start == 0 and stop == len(table):
        return None
    base = fraction(facts.time_base)
    begin = int(table[start]) - (facts.lead_ticks if start == 0 else 0)
    return TimeRange(begin * base, int(table[stop]) * base if stop < len(table) else None)


def frames_before(facts: VideoFacts, table: FrameTable, start: int) -> int:
    """Frames before frame ``start``, as a clock with the average rate counts them."""
    ticks = int(table[start]) - int(table[0])
    return round(ticks * fraction(facts.time_base) * fraction(facts.frame_rate))
