"""Tables of frame times: ranges in seconds, and decoding times from presentation times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ...errors import RecipeError
from ...jobs.video_facts import VideoFacts
from .pyav import fraction

#: Times in ticks of a time base, int64, shape ``(frames,)``.
Times = npt.NDArray[np.int64]


def decoding_times(presentation: Times) -> Times:
    """Compute decoding times (dts) of packets whose presentation times (pts) are known.

    With pts in decoding order p[0..n) and sorted s[0..n), packet i gets
    ``s[i] - max_j(s[j] - p[j])``: spaced like the frames, strictly rising, and never after the
    packet's pts. Encoders do the same when they count frames back by their reorder depth.

    Args:
        presentation: pts in decoding order; no two are equal.

    >>> decoding_times(np.array([0, 3, 1, 2])).tolist()
    [-1, 0, 1, 2]
    """
    ordered = np.sort(presentation)
    delay = int(np.max(ordered - presentation, initial=0))
    times: Times = ordered - delay
    return times


def frame_range(
    facts: VideoFacts, pts: Times, start: float | None, end: float | None
) -> tuple[int, int]:
    """Convert ``[start, end)`` in seconds after the first frame to frame numbers.

    Args:
        pts: presentation times of all frames, sorted.
        start, end: seconds; None means from the first or to the last frame.

    Returns:
        ``(start, stop)``, half-open frame numbers.

    Raises:
        RecipeError: no frame lies in that range.
    """
    base = fraction(facts.time_base)

    def number(seconds: float) -> int:
        # Half a tick of tolerance: 0.04 s must find the frame at 1/25 s whatever the rounding.
        ticks = Fraction(seconds).limit_denominator(1_000_000) / base - Fraction(1, 2)
        return int(np.searchsorted(pts, int(pts[0]) + float(ticks), side="left"))

    first = 0 if start is None else number(start)
    stop = len(pts) if end is None else number(end)
    if first >= stop:
        last = float((int(pts[-1]) - int(pts[0])) * base)
        until = "the end" if end is None else f"--end {end:g}"
        raise RecipeError(
            f"No frame lies between --start {start or 0:g} and {until}: "
            f"the video's last frame is at {last:.2f} s.",
            hint="Give seconds or MM:SS within the video, with --start before --end.",
        )
    return first, stop
