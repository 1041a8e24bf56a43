"""The opacity channel of video frames."""

from __future__ import annotations

from typing import Any, cast

import av
import cv2
import numpy as np

from ...frame import Alpha
from .pixel_formats import component_depth
from .types import CodecContext, Stream, VideoFrame

#: Decoders that read the transparency of VP8 and VP9, which FFmpeg's own drop.
_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def alpha_decoder(stream: Stream) -> CodecContext | None:
    """A decoder that reads the stream's transparency; None if the stream's own does, or has none.

    VP8 and VP9 in Matroska have it in a second image next to each frame, which only a tag of the
    stream announces.
    """
    own = stream.codec_context.name
    if own not in _DECODERS or not announces_alpha(stream):
        return None
    decoder = av.CodecContext.create(_DECODERS[own], "r")
    decoder.thread_type = "AUTO"
    return cast(CodecContext, decoder)


def announces_alpha(stream: Stream) -> bool:
    """Whether a tag of the stream says that its frames have transparency."""
    return stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"


def frame_has_alpha(frame: VideoFrame) -> bool:
    """Whether the frame's pixel format has an opacity channel."""
    return any(component.is_alpha for component in frame.format.components)


def is_transparent(frame: VideoFrame) -> bool:
    """Whether any pixel of the frame is less than opaque."""
    if not frame_has_alpha(frame):
        return False
    alpha = frame_alpha(frame)
    return int(alpha.min(initial=np.iinfo(alpha.dtype).max)) < int(np.iinfo(alpha.dtype).max)


def frame_alpha(frame: VideoFrame, size: tuple[int, int] | None = None) -> Alpha:
    """The opacity of a decoded frame, in stored orientation.

    Args:
        frame: opaque if its pixel format has no opacity channel.
        size: ``(width, height)`` to scale to; None keeps the frame's own.

    Returns:
        shape ``(height, width)``: uint8, or uint16 for formats of more than 8 bits, where
        ``v / (2^bits - 1)`` of the sample is ``v' / 65535`` of the result, rounded.
    """
    width, height = size or (frame.width, frame.height)
    depth = component_depth(frame.format)
    kind = np.uint8 if depth <= 8 else np.uint16
    if not frame_has_alpha(frame):
        return cast(Alpha, np.full((height, width), np.iinfo(kind).max, kind))
    samples: Any = _samples(frame, depth)
    if 8 < depth < 16:
        white = (1 << depth) - 1
        samples = ((samples.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)
    if samples.shape != (height, width):
        samples = cv2.resize(samples, (width, height), interpolation=cv2.INTER_LINEAR)
    return cast(Alpha, np.ascontiguousarray(samples, kind))


def _samples(frame: VideoFrame, depth: int) -> Alpha:
    """Samples of the opacity channel, of the format's own depth."""
    name = frame.format.name
    if name.startswith(("yuva", "gbrap")) and not name.endswith("be") and "f" not in name:
        plane = frame.planes[3]
        kind = np.dtype("u1" if depth <= 8 else "<u2")
        return np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]
    packed = frame.reformat(format="rgba" if depth <= 8 else "rgba64le")
    return packed.to_ndarray()[..., 3]
