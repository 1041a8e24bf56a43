"""Make progressive frames of interlaced ones, and film frames of telecined ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby

from ...jobs.coding import Deinterlacing
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
#: Leaves out the frame of each five that differs least from the one before it, if no 32x32 block of
#: it differs by more than 5 % of the range. Noise of the encoder is below: up to 2.5 % in a test.
_DECIMATE = ("decimate", "cycle=5:mixed=1:dupthresh=5")
#: Frames before a frame that must be pushed for it and for the frame before it, which replaces it
#: if it does not decode, to come out as in a read from the beginning.
LOOKBACK: dict[Deinterlacing, int] = {"off": 0, "auto": 2, "ivtc": 3}
#: Smaller frames have chroma planes that bwdif refuses.
_MIN_SIDE = 16


def deinterlaced(frames: Iterable[VideoFrame], how: Deinterlacing) -> Iterator[VideoFrame]:
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
    for (width, height, _), alike in groupby(frames, _kind):
        if min(width, height) < _MIN_SIDE:
            yield from alike
            continue
        waiting: deque[VideoFrame] = deque()
        chain: FrameFilter | None = None
        for frame in alike:
            chain = chain or FrameFilter(frame, *_FILTERS[how])
            waiting.append(frame)
            yield from _timed(chain.push(frame), waiting, how)
        assert chain is not None
        yield from _timed(chain.push(None), waiting, how)


def film_frames(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Leave out the frames that 3:2 pulldown has repeated.

    Args:
        frames: as from :func:`deinterlaced` with ``ivtc``, from the beginning of the video: one
            frame is left out of each five, if it repeats the frame before it.

    Yields:
        the others, with their times.
    """
    for (width, height, _), alike in groupby(frames, _kind):
        if min(width, height) < _MIN_SIDE:
            yield from alike
            continue
        waiting: dict[int, VideoFrame] = {}
        chain: FrameFilter | None = None
        for number, frame in enumerate(alike):
            chain = chain or FrameFilter(frame, _DECIMATE)
            frame.dts = number  # which the filter keeps, while it changes ``pts``
            waiting[number] = frame
            yield from _kept(chain.push(frame), waiting)
        assert chain is not None
        yield from _kept(chain.push(None), waiting)


def _kept(filtered: list[VideoFrame], waiting: dict[int, VideoFrame]) -> Iterator[VideoFrame]:
    for frame in filtered:
        assert frame.dts is not None
        for number in [number for number in waiting if number < frame.dts]:
            del waiting[number]
        yield waiting.pop(frame.dts)


def _kind(frame: VideoFrame) -> tuple[int, int, str]:
    """What a chain of filters cannot change."""
    return frame.width, frame.height, frame.format.name


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
