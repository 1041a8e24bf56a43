"""Keep frames, open videos and threads of a process from chunk to chunk."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from ..frame import Frame, FullFrame
from ..hints.depth import Scale
from ..media.frames import FrameReader
from ..threads import CpuPool

#: Scales of depth by the place of the net among those whose hints are made, and the first frame of
#: the shot.
ShotScales = dict[tuple[int, int], Scale]

#: A frame is dropped if this many requests, those of one chunk, did not ask for it.
_MAX_AGE = 2
#: Videos that stay open: each chunk reads one for its context, its frames and its results.
_MAX_READERS = 3
#: Seconds after which a video that no chunk reads is closed, so that its file is free again.
_KEEP_SECONDS = 30.0


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


class ScaleCache:
    """Cache of the scales of depth of one clip's shots.

    All chunks of a shot share its scale, which takes frames from all of the shot to find.
    """

    def __init__(self) -> None:
        self._clip: Hashable = None
        self._scales: ShotScales = {}

    def of(self, clip: Hashable) -> ShotScales:
        """The scales of a clip that are known, to add others to; those of another are dropped.

        Args:
            clip: all that they depend on besides the net and the shot.
        """
        if clip != self._clip:
            self._clip, self._scales = clip, {}
        return self._scales


class ReaderCache:
    """Cache of open videos.

    A chunk begins where an earlier one of this process ended, or a little after it. A reader that
    stayed open decodes on from there; a new one decodes from the keyframe before, up to some
    hundred frames.

    Args:
        keep_seconds: how long a video stays open after its last use.
    """

    def __init__(self, keep_seconds: float = _KEEP_SECONDS) -> None:
        self._keep_seconds = keep_seconds
        self._kept: dict[Hashable, _Kept] = {}
        self._lock = threading.Lock()
        # In a worker that ends: a video that is closed by the garbage collector may block.
        weakref.finalize(self, _close_all, self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def borrow(
        self, key: Hashable, new: Callable[[], FrameReader[FullFrame]]
    ) -> Iterator[FrameReader[FullFrame]]:
        """Use the open reader of ``key``, or a new one, for the length of the block.

        Args:
            key: all that the pixels depend on, and what the reader is for.

        Raises:
            SourceError: as for entering the new reader.
        """
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is None:
            reader = new().__enter__()
        else:
            kept.timer.cancel()
            reader = kept.reader
            reader.warnings, reader.captions = [], {}
        try:
            yield reader
        except BaseException:
            reader.__exit__(None, None, None)
            raise
        self._keep(key, reader)

    def close(self) -> None:
        """Close all videos."""
        with self._lock:
            _close_all(self._kept)

    def _keep(self, key: Hashable, reader: FrameReader[FullFrame]) -> None:
        # Without a reference to the cache: a cache that is not used any more closes its videos.
        timer = threading.Timer(self._keep_seconds, _close_unused, [weakref.ref(self), key, reader])
        timer.daemon = True
        with self._lock:
            if key in self._kept:
                _close(self._kept, key)
            self._kept[key] = _Kept(reader, timer)
            while len(self._kept) > _MAX_READERS:
                _close(self._kept, next(iter(self._kept)))
            timer.start()

    def _close_unused(self, key: Hashable, reader: FrameReader[FullFrame]) -> None:
        """Close a video that was not borrowed since it was kept."""
        with self._lock:
            if key in self._kept and self._kept[key].reader is reader:
                _close(self._kept, key)


class _Kept(NamedTuple):
    reader: FrameReader[FullFrame]
    timer: threading.Timer


def _close_unused(
    cache: weakref.ref[ReaderCache], key: Hashable, reader: FrameReader[FullFrame]
) -> None:
    if (alive := cache()) is not None:
        alive._close_unused(key, reader)


def _close(kept: dict[Hashable, _Kept], key: Hashable) -> None:
    kept[key].timer.cancel()
    kept[key].reader.__exit__(None, None, None)
    del kept[key]


def _close_all(kept: dict[Hashable, _Kept]) -> None:
    for key in [*kept]:
        _close(kept, key)


class WorkerCache:
    """What a process that edits chunks, one at a time, keeps between them.

    Args:
        threads: for optical flow, filters and resizing, besides torch's own; see :class:`CpuPool`.
    """

    def __init__(self, threads: int = 1) -> None:
        self.cpu_pool = CpuPool(threads)
        self.frames = FrameCache()
        self.scales = ScaleCache()
        self.readers = ReaderCache()
