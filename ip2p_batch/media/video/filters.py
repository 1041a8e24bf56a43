"""Run decoded frames through filters of FFmpeg's libavfilter."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import av
import av.error
import av.filter

from .types import VideoFrame

#: What PyAV raises while a filter waits for more frames, and after its last one.
_NO_FRAME = (av.error.BlockingIOError, av.error.EOFError)


class FrameFilter:
    """A chain of filters for frames of one size and pixel format.

    Args:
        template: a frame as they will be pushed; its content does not matter.
        filters: name and arguments of each filter.
    """

    def __init__(self, template: VideoFrame, *filters: tuple[str, str]) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        base = template.time_base or Fraction(1, 1000)
        source = self._graph.add(
            "buffer",
            f"video_size={template.width}x{template.height}:pix_fmt={template.format.name}:"
            # Some filters refuse an unknown rate, which none here uses.
            f"time_base={base.numerator}/{base.denominator}:frame_rate=25",
        )
        chain = [self._graph.add(name, arguments) for name, arguments in filters]
        self._graph.link_nodes(source, *chain, self._graph.add("buffersink")).configure()

    def push(self, frame: VideoFrame | None) -> list[VideoFrame]:
        """Push the next frame, or None after the last one; returns the frames that are finished."""
        self._graph.vpush(cast(Any, frame))
        finished: list[VideoFrame] = []
        while True:
            try:
                finished.append(cast(VideoFrame, self._graph.vpull()))
            except _NO_FRAME:
                return finished
