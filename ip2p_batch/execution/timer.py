"""Wall time of a chunk by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Stages in which the editor, and with it its device, has work to do.
_EDITOR_STAGES = ("load", "tune", "edit")


class StageTimer:
    """Adds up the seconds that the thread of a chunk spends in each stage.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = clock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the ``with`` block to a stage."""
        start = self._clock()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - start

    def iterate(self, items: Iterator[T], name: str) -> Iterator[T]:
        """Yield ``items``, and count the time spent waiting for each to a stage."""
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, and two sums, all rounded to 0.1 ms.

        ``total`` is the time since the timer was made. ``idle`` is the part of it in which the
        editor had nothing to do: decoding, encoding and file access that do not overlap with
        editing. The editor returns images, so its stages end when its device has finished.
        """
        total = self._clock() - self._started
        busy = sum(self._seconds.get(name, 0.0) for name in _EDITOR_STAGES)
        sums = {"idle": max(0.0, total - busy), "total": total}
        return {name: round(value, 4) for name, value in {**self._seconds, **sums}.items()}
