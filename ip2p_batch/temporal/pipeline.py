"""TemporalPipeline finished frames: stages that see each edited frame beside its neighbours, in a
chain.

Works on pictures, so it costs no steps of the model. A chunk edits as many frames beyond its ends
as its stages look, together; so a frame's result does not depend on the chunk that it lies in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..frame import Frame, Image


class Pair(NamedTuple):
    """A frame as it was and as it is edited; images of one shape, uint8 RGB."""

    source: Frame
    edited: Frame


class Stage(Protocol):
    """One way of steadying a frame by its neighbours. May keep what it knows of frames in hand."""

    @property
    def radius(self) -> int:
        """Neighbours that it sees on either side, at least 1."""
        ...

    def apply(self, middle: Pair, around: Sequence[Pair]) -> Image:
        """The middle's edited picture, steadied.

        Args:
            around: the neighbours within :attr:`radius`, in order, without the middle. Fewer at
                the ends of a shot.
        """
        ...


class TemporalPipeline:
    """Takes the frames of one shot in order and gives them back through all stages.

    Args:
        stages: applied one after the other; with none, frames come back at once as they are.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._windows = [_Window(stage) for stage in stages]

    def push(self, source: Frame, edited: Frame) -> list[Frame]:
        """The next frame; returns those that now have all their neighbours."""
        return self._through([Pair(source, edited)], end=False)

    def rest(self) -> list[Frame]:
        """The last frames; they have no more neighbours to come."""
        return self._through([], end=True)

    def _through(self, pairs: list[Pair], *, end: bool) -> list[Frame]:
        for window in self._windows:
            given = [done for pair in pairs for done in window.push(pair)]
            pairs = given + (window.rest() if end else [])
        return [pair.edited for pair in pairs]


class _Window:
    """One stage, run over frames as they come."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._held: deque[Pair] = deque()
        self._waiting = 0

    def push(self, pair: Pair) -> list[Pair]:
        self._held.append(pair)
        self._waiting += 1
        return self._give(self._stage.radius)

    def rest(self) -> list[Pair]:
        given = self._give(0)
        self._held.clear()
        return given

    def _give(self, left: int) -> list[Pair]:
        given = []
        radius = self._stage.radius
        while self._waiting > left:
            at = len(self._held) - self._waiting
            middle = self._held[at]
            low, high = max(0, at - radius), at + radius + 1
            around = [pair for n, pair in enumerate(self._held) if low <= n < high and n != at]
            image = self._stage.apply(middle, around)
            given.append(Pair(middle.source, middle.edited.with_image(image)))
            self._waiting -= 1
            if at >= radius:
                self._held.popleft()
        return given
