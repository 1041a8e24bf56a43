"""Decoding times from presentation times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Times in ticks of some time base, int64, one per frame.
Times = npt.NDArray[np.int64]


def decoding_times(shown: Times) -> Times:
    """Decoding times for packets whose presentation times are known.

    With the presentation times in order of decoding p[0..n) and sorted s[0..n), packet i gets
    ``s[i] - max_j(s[j] - p[j])``: evenly spaced like the frames, strictly rising, and never after
    the packet is shown. This is what encoders do that count frames back by their reorder depth.

    Args:
        shown: presentation times in order of decoding; no two are equal.

    >>> decoding_times(np.array([0, 3, 1, 2])).tolist()
    [-1, 0, 1, 2]
    """
    ordered = np.sort(shown)
    late = int(np.max(ordered - shown, initial=0))
    times: Times = ordered - late
    return times
