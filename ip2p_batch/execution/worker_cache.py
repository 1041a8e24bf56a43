"""What a process keeps from chunk to chunk, beside its editor."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ..frame import Frame
from ..threads import CpuPool

#: Requests for which a frame is kept that nobody asked for again: those of one chunk.
_KEPT_FOR = 2


class FrameCache:
    """Borders and anchors that were read before, fitted.

    Anchors are the same for all chunks of a shot, and a border belongs to those on both sides of
    it. Each read is a seek and a decoding from the keyframe before: up to some hundred frames.
    What the last requests did not ask for is let go, so that a long video takes no more memory.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Frame] = {}
        self._asked: dict[Hashable, int] = {}
        self._requests = 0

    def get(
        self, clip: Hashable, numbers: Sequence[int], read: Callable[[Sequence[int]], list[Frame]]
    ) -> list[Frame]:
        """Frames ``numbers`` of a clip; those that are not here are read, and kept.

        Args:
            clip: what the pixels depend on beside the number.
        """
        self._requests += 1
        keys = {number: (clip, number) for number in numbers}
        missing = [number for number, key in keys.items() if key not in self._kept]
        if missing:
            self._kept |= {keys[frame.index]: frame for frame in read(missing)}
        self._asked |= dict.fromkeys(keys.values(), self._requests)
        found = [self._kept[keys[number]] for number in numbers]
        for key in [k for k, at in self._asked.items() if at <= self._requests - _KEPT_FOR]:
            del self._asked[key], self._kept[key]
        return found


class WorkerCache:
    """One for each process that works on chunks, one chunk at a time.

    Args:
        threads: beside the editor's own, for flow, filters and fitting; see :class:`CpuPool`.
    """

    def __init__(self, threads: int = 1) -> None:
        self.cpu_pool = CpuPool(threads)
        self.frames = FrameCache()
