"""The result of one pass over a video."""

from __future__ import annotations

from dataclasses import dataclass

from ...jobs.video_facts import VideoFacts
from .timestamps import Times


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """Result of one pass over a video.

    Attributes:
        facts: about its video stream.
        pts: presentation time of each frame in ticks of the time base, sorted, int64, shape
            ``(frames,)``.
        cuts: numbers of the first frames of new shots, sorted; empty without scene detection.
        ids: decoding time or place in the file of each frame, int64, shape ``(frames,)``; None if
            frames are found by their presentation times (``facts.frame_key``).
    """

    facts: VideoFacts
    pts: Times
    cuts: tuple[int, ...]
    ids: Times | None = None
