"""Convert decoded frames to the upright RGB pixels that are edited."""

from __future__ import annotations

from ...frame import FullImage
from ...jobs.spec import VideoFacts
from .color import to_rgb
from .deep_color import to_rgb48
from .fields import has_field_chroma, split_fields, weave_images
from .orientation import turn_upright
from .types import VideoFrame


def upright_image(frame: VideoFrame, facts: VideoFacts, *, deep: bool) -> FullImage:
    """Convert a decoded frame to RGB, of the size that all frames of the video have.

    The fields of an interlaced 4:2:0 frame are converted each by itself.

    Args:
        frame: a stream may change its frame size and format; the output cannot.
        deep: return uint16 instead of uint8.

    Returns:
        shape ``(height, width, 3)``, turned and mirrored as players show it.
    """
    width, height = facts.width, facts.height
    has_fields = frame.interlaced_frame and has_field_chroma(frame.format.name, height)
    if not has_fields or (frame.width, frame.height) != (width, height):
        return turn_upright(_rgb(frame, facts, (width, height), deep=deep), facts)
    top, bottom = (
        _rgb(field, facts, (width, height // 2), deep=deep) for field in split_fields(frame)
    )
    return turn_upright(weave_images(top, bottom), facts)


def _rgb(frame: VideoFrame, facts: VideoFacts, size: tuple[int, int], *, deep: bool) -> FullImage:
    return (to_rgb48 if deep else to_rgb)(frame, facts.color, size)
