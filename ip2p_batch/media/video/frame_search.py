"""Find a frame by its time among frames that are decoded one by one."""

from __future__ import annotations

from collections.abc import Iterator

from .types import VideoFrame


def advance(
    target: int, next_frame: VideoFrame | None, decoded: Iterator[VideoFrame]
) -> tuple[VideoFrame | None, VideoFrame | None]:
    """Skip frames before ``target``; returns the last one skipped, and the first one not."""
    previous_frame: VideoFrame | None = None
    while next_frame is not None and pts_of(next_frame) < target:
        previous_frame, next_frame = next_frame, next(decoded, None)
    return previous_frame, next_frame


def frames_around(target: int, frames: Iterator[VideoFrame]) -> tuple[list[VideoFrame], int | None]:
    """Decode up to ``target``; also returns the time of the first frame that decodes.

    The list holds the frame at ``target``; where none is, the frames before and after it.
    """
    previous_frame: VideoFrame | None = None
    first_pts: int | None = None
    for frame in frames:
        pts = pts_of(frame)
        first_pts = pts if first_pts is None else first_pts
        if pts < target:
            previous_frame = frame
            continue
        if pts == target or previous_frame is None:
            return [frame], first_pts
        return [previous_frame, frame], first_pts
    return ([] if previous_frame is None else [previous_frame]), first_pts


def is_intact(frame: VideoFrame | None, target: int) -> bool:
    """Whether ``frame`` is the one at ``target``, decoded without errors."""
    return frame is not None and frame.pts == target and not frame.is_corrupt


def pts_of(frame: VideoFrame) -> int:
    """The time of a frame, in ticks."""
    assert frame.pts is not None  # the decoder drops frames without a time
    return frame.pts
