"""Frame numbers for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def in_words(numbers: Sequence[int]) -> str:
    """Sorted numbers, those in a row as a range.

    >>> in_words([1, 2, 3, 7, 9, 10])
    '1-3, 7, 9-10'
    """
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
