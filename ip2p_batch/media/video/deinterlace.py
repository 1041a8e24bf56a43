"""Make progressive frames of interlaced ones, one for each, at its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ...jobs.spec import Deinterlacing
from .filters import FrameFilter
from .types import VideoFrame

#: Replaces the second field of frames flagged as interlaced, and returns all others as they are.
#: A frame depends on itself and its two neighbours.
_BWDIF = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
#: Puts the fields of one film frame together again, which 3:2 pulldown had spread over two frames,
#: and flags the frames that are still combed. ``combmatch=full`` depends on the two neighbours
#: only; the other methods remember earlier frames.
_FIELDMATCH = ("fieldmatch", "order=auto:mode=pc_n:combmatch=full")
_FILTERS: dict[Deinterlacing, tuple[tuple[str, str], ...]] = {
    "auto": (_BWDIF,),
    "ivtc": (_FIELDMATCH, _BWDIF),
}
#: Frames before a frame that must be pushed for it and for the frame before it, which replaces it
#: if it does not decode, to come out as in a read from the beginning.
LOOKBACK: dict[Deinterlacing, int] = {"off": 0, "auto": 2, "ivtc": 3}
#: Smaller frames have chroma planes that bwdif refuses.
_MIN_SIDE = 16


def deinterlaced(frames: Iterator[VideoFrame], how: Deinterlacing) -> Iterator[VideoFrame]:
    """Deinterlace decoded frames.

    Reads one or two frames ahead. The first frame has no neighbour before it, so it differs from
    the same frame within a longer read.

    Args:
        frames: in presentation order, of any sizes and formats; none under 16 pixels a side is
            changed.
        how: ``auto`` returns progressive frames as they are, ``ivtc`` matches all fields.

    Yields:
        one frame for each, with its time.
    """
    waiting: deque[VideoFrame] = deque()
    chain: FrameFilter | None = None
    kind: tuple[int, int, str] | None = None
    for frame in frames:
        if kind != (frame.width, frame.height, frame.format.name):
            if chain is not None:
                yield from _timed(chain.push(None), waiting, how)
            kind = (frame.width, frame.height, frame.format.name)
            is_small = min(frame.width, frame.height) < _MIN_SIDE
            chain = None if is_small else FrameFilter(frame, *_FILTERS[how])
        if chain is None:
            yield frame
            continue
        waiting.append(frame)
        yield from _timed(chain.push(frame), waiting, how)
    if chain is not None:
        yield from _timed(chain.push(None), waiting, how)


def _timed(
    filtered: list[VideoFrame], waiting: deque[VideoFrame], how: Deinterlacing
) -> Iterator[VideoFrame]:
    """Give filtered frames the times of the originals, which wait in the same order."""
    for frame in filtered:
        original = waiting.popleft()
        if how == "auto" and not original.interlaced_frame:
            yield original
            continue
        frame.pts, frame.time_base = original.pts, original.time_base
        yield frame
