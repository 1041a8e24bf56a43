"""Steady hints: average each with those of its neighbours along the source's motion.

The filter is that of finished frames (:mod:`ip2p_batch.temporal.filter`), on hints. It runs on the
hint and not on the source before: docs/control.md has the flicker of both. The neighbours are
within one shot, and beyond a chunk's frames where needed, so that a frame's hint does not depend on
who computes it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ..frame import Frame, Image
from ..temporal.filter import Aligned, Motions, align, average
from ..threads import CpuPool


def window_of(numbers: range, shot: range, radius: int) -> range:
    """The frames that the hints of ``numbers`` depend on.

    >>> window_of(range(10, 20), range(9, 100), 2)
    range(9, 22)
    """
    return range(max(shot.start, numbers.start - radius), min(shot.stop, numbers.stop + radius))


class HintFilter:
    """Filters the hints of consecutive frames of one shot.

    Args:
        radius: neighbours on either side; 0 leaves hints as they are.
        cpu_pool: threads that each align one neighbour at a time.
    """

    def __init__(self, radius: int, cpu_pool: CpuPool) -> None:
        self._radius = radius
        self._cpu_pool = cpu_pool

    def apply(self, frames: Iterable[Frame], numbers: range) -> Iterator[Frame]:
        """Frames ``numbers`` with filtered hints.

        Args:
            frames: those of :func:`window_of`, in order, each with hints.
        """
        if self._radius == 0:
            yield from frames
            return
        motions = Motions()
        window: deque[Frame] = deque()
        waiting = list(numbers)
        for frame in frames:
            window.append(frame)
            while waiting and waiting[0] + self._radius <= frame.index:
                yield self._filtered(waiting.pop(0), window, motions)
            while window and waiting and window[0].index < waiting[0] - self._radius:
                window.popleft()
        for number in waiting:
            yield self._filtered(number, window, motions)

    def _filtered(self, number: int, window: Sequence[Frame], motions: Motions) -> Frame:
        near = [frame for frame in window if abs(frame.index - number) <= self._radius]
        middle = next(frame for frame in near if frame.index == number)
        around = [frame for frame in near if frame.index != number]

        def aligned(neighbour: Frame) -> list[Aligned]:
            motion = motions.between(middle, neighbour)
            return [align(middle.image, neighbour.image, hint, motion) for hint in neighbour.hints]

        every = list(self._cpu_pool.map(aligned, around))
        hints: tuple[Image, ...] = tuple(
            average(hint, [neighbour[n] for neighbour in every])
            for n, hint in enumerate(middle.hints)
        )
        return dataclasses.replace(middle, hints=hints)
