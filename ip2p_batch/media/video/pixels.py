"""Convert decoded frames to the upright RGB pixels that are edited."""

from __future__ import annotations

from typing import cast

from ...frame import FullImage
from ...jobs.video_facts import VideoFacts
from ..depth import Samples16
from .color import frame_color, to_rgb
from .deep_color import to_rgb48
from .fields import has_field_chroma, split_fields, weave_images
from .hdr import from_hdr
from .orientation import turn_upright
from .types import VideoFrame


def upright_image(frame: VideoFrame, facts: VideoFacts, *, deep: bool) -> FullImage:
    """Convert a decoded frame to RGB that is edited; see :func:`_upright_samples`.

    HDR becomes SDR, or toned samples where the result is HDR (:mod:`.hdr`).
    """
    if facts.hdr is None:
        return _upright_samples(frame, facts, deep=deep)
    samples = cast(Samples16, _upright_samples(frame, facts, deep=True))
    return from_hdr(samples, facts, deep=deep)


def _upright_samples(frame: VideoFrame, facts: VideoFacts, *, deep: bool) -> FullImage:
    """Convert a decoded frame to RGB, of the size that all frames of the video have.

    Matrix and range are the frame's own, which may change within a video. The fields of an
    interlaced 4:2:0 frame are converted each by itself.

    Args:
        frame: a stream may change its frame size and format; the output cannot.
        deep: return uint16 instead of uint8.

    Returns:
        shape ``(height, width, 3)``, turned and mirrored as players show it.
    """
    convert = to_rgb48 if deep else to_rgb
    color = frame_color(frame, facts)
    width, height = facts.decoded_size
    has_fields = frame.interlaced_frame and has_field_chroma(frame.format.name, height)
    if not has_fields or (frame.width, frame.height) != (width, height):
        return turn_upright(convert(frame, color, (width, height)), facts)
    top, bottom = (convert(field, color, (width, height // 2)) for field in split_fields(frame))
    return turn_upright(weave_images(top, bottom), facts)
