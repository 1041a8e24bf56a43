"""Strips of rows: work on one after the other, so that memory does not grow with the image."""

from __future__ import annotations

from collections.abc import Iterator

#: Pixels of a strip, without margins; few enough for a processor's cache.
_PIXELS = 1 << 18
#: The features' blurs average squares of this many pixels, so strips begin at multiples of it.
_ALIGNMENT = 4


def strips(height: int, width: int, factor: int = 1) -> Iterator[tuple[int, int]]:
    """Half-open ranges of rows that cover the image.

    All but the last have a multiple of 4 ``factor`` rows; ``factor`` is by how much the caller
    shrinks them.
    """
    step = factor * _ALIGNMENT
    rows = max(step, _PIXELS // width // step * step)
    for start in range(0, height, rows):
        yield start, min(height, start + rows)
