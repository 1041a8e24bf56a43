"""Decode the lossless segments of a job whose result is an image sequence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...frame import Alpha, FullImage
from ...jobs.video_facts import ColorFacts
from ..video.alpha import frame_alpha
from ..video.color import to_rgb
from ..video.deep_color import to_rgb48
from ..video.pyav import open_input
from ..video.streams import decode_packet


def segment_frames(path: Path, *, has_alpha: bool) -> Iterator[tuple[FullImage, Alpha | None]]:
    """The frames of a segment in RGB, and their opacity.

    Yields:
        pixels of 8 bits, or 16 bits if the segment has more than 8; opacity if ``has_alpha``.

    Raises:
        SourceError: the segment cannot be read.
    """
    with open_input(path) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            for frame in decode_packet(packet):
                is_deep = max(component.bits for component in frame.format.components) > 8
                image: FullImage = (to_rgb48 if is_deep else to_rgb)(frame, ColorFacts())
                yield image, frame_alpha(frame) if has_alpha else None
