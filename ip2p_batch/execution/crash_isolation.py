"""Which frame or picture kills the workers that edit its chunk.

The first death says nothing of where. From then on every batch is noted before it is touched; one
that two attempts died at is done frame by frame, and a frame that two attempts died at *alone* is
deadly: the rest goes on without it. An innocent chunk whose machines were taken away gets through,
for they will hardly be taken away at the same frame twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import JobError
from ..jobs.plan import Chunk
from ..jobs.records import Attempt

#: Deaths at a batch before it is split, and at a single frame before it is deadly.
_DEATHS = 2
#: Deaths, known to be at no frame, after which there is no hope: loading the model kills, say.
_AIMLESS = 3
#: Deaths at a frame that a neighbour stands in for already, or that is left out.
_STILL = 2
#: Deadly frames in a chunk that may be the frames' own fault, whatever its length; and half of it.
_LIKELY = 3

_HINT = "The worker's log has more; a smaller --size needs less memory. `resume` tries again."


class CrashIsolation:
    """What the broken attempts at a chunk say.

    Args:
        broken: those attempts, in their order.
        frames: in the chunk.
    """

    def __init__(self, broken: Sequence[Attempt] = (), frames: int = 0) -> None:
        self._frames = frames
        self._deaths = len(broken)
        # The first attempt of all notes nothing, however it ends.
        self._parts = [frozenset(a.part) for a in broken[1:]]

    @property
    def careful(self) -> bool:
        """Whether an attempt broke off, so that parts have to be noted."""
        return self._deaths > 0

    def split(self, batch: Sequence[int]) -> Iterator[Sequence[int]]:
        """The batch as a whole, or each of its frames alone."""
        here = sum(bool(part) and part <= set(batch) for part in self._parts)
        if here < _DEATHS:
            yield batch
        else:
            yield from ((number,) for number in batch)

    def poisoned(self) -> list[int]:
        """Frames or pictures that are at fault."""
        return sorted(n for n, deaths in self._alone().items() if deaths >= _DEATHS)

    def see_if_there_is_hope(self, chunk: Chunk) -> None:
        """See whether another attempt makes sense.

        Raises:
            JobError: it does not; says where the attempts died.
        """
        poisoned = self.poisoned()
        where = ""
        if sum(not part for part in self._parts) >= _AIMLESS:
            where = "and at none of its frames"
        elif still := [n for n in poisoned if self._alone()[n] >= _DEATHS + _STILL]:
            where = f"in the end always at {chunk.noun} {still[0]}"
        elif len(poisoned) > max(_LIKELY, self._frames // 2):
            where = f"at {len(poisoned)} different frames"
        if where:
            raise JobError(
                f"The worker process died or hung {self._deaths} times at this chunk, {where}.",
                hint=_HINT,
            )

    def _alone(self) -> dict[int, int]:
        """Deaths by frame, of those that were in hand alone."""
        found: dict[int, int] = {}
        for part in self._parts:
            if len(part) == 1:
                (number,) = part
                found[number] = found.get(number, 0) + 1
        return found
