"""Smooth finished frames over time, in stages that each see a frame's neighbours.

The stages work on images, without the model. A chunk edits as many frames beyond its ends as its
stages see together (``Recipe.temporal_radius``), so a frame's result does not depend on its chunk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..frame import Frame, Image


class Pair(NamedTuple):
    """The source and the edit of one frame; images of one shape, uint8 RGB."""

    source: Frame
    edited: Frame


class Stage(Protocol):
    """One filter over time. It may cache what it computes about recent frames."""

    @property
    def radius(self) -> int:
        """Neighbours that it sees on either side, at least 1."""
        ...

    def apply(self, middle: Pair, around: Sequence[Pair]) -> Image:
        """The filtered edit of the middle frame.

        Args:
            around: the neighbours within :attr:`radius`, in order, without the middle. Fewer at
                the ends of a shot.
        """
        ...


class TemporalPipeline:
    """Filters the frames of one shot, which arrive in order.

    Args:
        stages: applied one after the other; without stages, frames come back at once, unchanged.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._windows = [_Window(stage) for stage in stages]

    def push(self, source: Frame, edited: Frame) -> list[Pair]:
        """Add the next frame; return those that now have all their neighbours, filtered."""
        return self._run([Pair(source, edited)], end=False)

    def flush(self) -> list[Pair]:
        """Return the remaining frames, filtered; call it after the last frame of the shot."""
        return self._run([], end=True)

    def _run(self, pairs: list[Pair], *, end: bool) -> list[Pair]:
        for window in self._windows:
            filtered = [done for pair in pairs for done in window.push(pair)]
            pairs = filtered + (window.flush() if end else [])
        return pairs


class _Window:
    """One stage with the last frames that it needs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._frames: deque[Pair] = deque()
        self._unfiltered = 0  # how many of the last frames

    def push(self, pair: Pair) -> list[Pair]:
        self._frames.append(pair)
        self._unfiltered += 1
        return self._filter(keep=self._stage.radius)

    def flush(self) -> list[Pair]:
        filtered = self._filter(keep=0)
        self._frames.clear()
        return filtered

    def _filter(self, keep: int) -> list[Pair]:
        """Filter all frames except for the last ``keep``, which lack neighbours."""
        filtered = []
        radius = self._stage.radius
        while self._unfiltered > keep:
            at = len(self._frames) - self._unfiltered
            middle = self._frames[at]
            low, high = max(0, at - radius), at + radius + 1
            around = [pair for n, pair in enumerate(self._frames) if low <= n < high and n != at]
            image = self._stage.apply(middle, around)
            filtered.append(Pair(middle.source, middle.edited.with_image(image)))
            self._unfiltered -= 1
            if at >= radius:
                self._frames.popleft()
        return filtered
