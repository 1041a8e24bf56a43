"""Find the frame or image that crashes the workers that edit its chunk.

The first crash does not say which frame is at fault. From then on every batch is recorded on disk
before it is edited. A batch at which two attempts crashed is edited frame by frame, and a frame at
which two attempts crashed *alone* is poisoned: the rest of the chunk is edited without it. A chunk
whose machines were shut down passes, since that hardly happens twice at the same frame.

A process that is killed because it hangs counts as crashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from ..errors import JobError
from ..jobs.plan import Chunk
from ..jobs.records import Attempt

T = TypeVar("T")

#: Crashes at a batch before it is split, and at a single frame before it is poisoned.
_MAX_CRASHES = 2
#: Crashes outside any frame (while loading the model, say) after which the chunk fails.
_MAX_CRASHES_OUTSIDE = 3
#: Further crashes at a frame that is replaced or skipped already, after which the chunk fails.
_MAX_CRASHES_POISONED = 2
#: Poisoned frames in a chunk, of any length, that do not yet fail it; in longer ones, half of them.
_MAX_POISONED = 3

_HINT = "See the worker's log; a smaller --size needs less memory. `resume` tries again."


class CrashIsolation:
    """Decides by a chunk's crashed attempts how its frames are batched.

    Args:
        crashed: those attempts, in their order.
        frames: number of frames or images in the chunk.
    """

    def __init__(self, crashed: Sequence[Attempt] = (), frames: int = 0) -> None:
        self._frames = frames
        self._crashes = len(crashed)
        # The first attempt of all records no batches, however it ends.
        self._batches = [frozenset(attempt.numbers) for attempt in crashed[1:]]

    @property
    def isolating(self) -> bool:
        """Whether an attempt crashed, so that each batch has to be recorded."""
        return self._crashes > 0

    def batches(
        self,
        items: Iterator[T],
        numbers: Sequence[int],
        size: int,
        record: Callable[[Sequence[int]], None],
    ) -> Iterator[list[T]]:
        """Yield the items in batches of at most ``size``.

        While isolating, each batch is recorded before its items are read.

        Args:
            items: one for each of ``numbers``.
            numbers: of the frames or images.
            record: called with the numbers of the next batch; with none after the last one.
        """
        if not self.isolating:
            yield from _batched(items, size)
            return
        for batch in _batched(iter(numbers), size):
            for part in self.split(batch):
                record(part)
                yield list(islice(items, len(part)))
        record(())

    def split(self, batch: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield the batch as it is, or each of its frames alone."""
        crashes = sum(bool(part) and part <= set(batch) for part in self._batches)
        if crashes < _MAX_CRASHES:
            yield batch
        else:
            yield from ((number,) for number in batch)

    def poisoned(self) -> list[int]:
        """Return the numbers of the frames or images at fault, ascending."""
        return sorted(n for n, crashes in self._alone().items() if crashes >= _MAX_CRASHES)

    def check_crash_budget(self, chunk: Chunk) -> None:
        """Check that another attempt makes sense.

        Raises:
            JobError: it does not; the message says where the attempts crashed.
        """
        alone, poisoned = self._alone(), self.poisoned()
        limit = _MAX_CRASHES + _MAX_CRASHES_POISONED
        where = ""
        if sum(not part for part in self._batches) >= _MAX_CRASHES_OUTSIDE:
            where = "outside any of its frames"
        elif hopeless := [n for n in poisoned if alone[n] >= limit]:
            where = f"in the end always at {chunk.noun} {hopeless[0]}"
        elif len(poisoned) > max(_MAX_POISONED, self._frames // 2):
            where = f"at {len(poisoned)} different frames"
        if where:
            raise JobError(
                f"The worker process died or hung {self._crashes} times at this chunk, {where}.",
                hint=_HINT,
            )

    def _alone(self) -> dict[int, int]:
        """Count crashes by frame, of frames that were edited alone."""
        counts: dict[int, int] = {}
        for part in self._batches:
            if len(part) == 1:
                (number,) = part
                counts[number] = counts.get(number, 0) + 1
        return counts


def _batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(items, size)):
        yield batch
