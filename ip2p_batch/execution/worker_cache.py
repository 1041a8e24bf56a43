"""Keep frames and threads of a process from chunk to chunk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from ..frame import Frame
from ..threads import CpuPool

#: A frame is dropped if this many requests, those of one chunk, did not ask for it.
_MAX_AGE = 2


class FrameCache:
    """Cache of borders and anchors, resized.

    All chunks of a shot share its anchors, and both chunks at a border share that frame. Reading a
    frame means a seek and decoding from the keyframe before, up to some hundred frames. Frames
    that recent requests did not ask for are dropped, so memory does not grow with the video.
    """

    def __init__(self) -> None:
        self._frames: dict[Hashable, Frame] = {}
        self._last_request: dict[Hashable, int] = {}
        self._requests = 0

    def get(
        self, clip: Hashable, numbers: Sequence[int], read: Callable[[Sequence[int]], list[Frame]]
    ) -> list[Frame]:
        """Return frames ``numbers`` of a clip; read and cache those that are missing.

        Args:
            clip: all that the pixels depend on besides the number.
        """
        self._requests += 1
        keys = {number: (clip, number) for number in numbers}
        missing = [number for number, key in keys.items() if key not in self._frames]
        if missing:
            self._frames |= {keys[frame.index]: frame for frame in read(missing)}
        self._last_request |= dict.fromkeys(keys.values(), self._requests)
        frames = [self._frames[keys[number]] for number in numbers]
        for key in [k for k, at in self._last_request.items() if at <= self._requests - _MAX_AGE]:
            del self._last_request[key], self._frames[key]
        return frames


class WorkerCache:
    """What a process that edits chunks, one at a time, keeps between them.

    Args:
        threads: for optical flow, filters and resizing, besides torch's own; see :class:`CpuPool`.
    """

    def __init__(self, threads: int = 1) -> None:
        self.cpu_pool = CpuPool(threads)
        self.frames = FrameCache()
