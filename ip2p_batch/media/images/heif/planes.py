"""The planes of decoded frames, and their samples as 16 bits."""

from __future__ import annotations

from typing import cast

import av
import numpy as np
import numpy.typing as npt

from ...depth import Samples16
from ...video.types import VideoFrame

#: Samples of one plane, shape ``(height, width)``.
Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_FULL = 2
_WHITE = 65535


def without_j(frame: VideoFrame) -> VideoFrame:
    """The same samples in a format that says nothing of range: FFmpeg converts "yuvj" unasked."""
    name = frame.format.name
    if not name.startswith("yuvj"):
        return frame
    result = cast(VideoFrame, av.VideoFrame(frame.width, frame.height, name.replace("yuvj", "yuv")))
    result.colorspace, result.color_range = frame.colorspace, _FULL
    for target, source in zip(planes_of(result), planes_of(frame), strict=True):
        target[:] = source
    return result


def planes_of(frame: VideoFrame) -> list[Plane]:
    """The planes of a planar frame, without padding; writing to them changes the frame."""
    planes: list[Plane] = []
    for plane in frame.planes:
        size = 2 if depth_of(frame) > 8 else 1
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        samples = rows.view(np.uint16) if size == 2 else rows
        planes.append(samples[:, : plane.width])
    return planes


def depth_of(frame: VideoFrame) -> int:
    return frame.format.components[0].bits


def to_16_bits(samples: Plane, bits: int) -> Samples16:
    white = (1 << bits) - 1
    numbers = samples.astype(np.uint32)
    return ((numbers * 2 * _WHITE + white) // (2 * white)).astype(np.uint16)


def grey_of(samples: Plane, bits: int, is_full: bool) -> Samples16:
    """Luma alone as 16 bits (H.273, 8.3)."""
    if is_full:
        return to_16_bits(samples, bits)
    step = 1 << (bits - 8)
    numbers = (samples.astype(np.float32) - 16 * step) / (219 * step)
    return np.rint(np.clip(numbers, 0, 1) * _WHITE).astype(np.uint16)
