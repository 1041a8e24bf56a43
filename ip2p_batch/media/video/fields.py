"""Fields of interlaced frames: their order, and the conversion of each by itself.

In 4:2:0 each field has chroma rows of its own, which alternate like its luma rows. A conversion of
the whole frame would mix the chroma of two moments.
"""

from __future__ import annotations

from typing import TypeVar, cast

import av
import numpy as np
import numpy.typing as npt

from ...frame import FullImage
from ...jobs.video_facts import FieldOrder
from .filters import FrameFilter
from .types import CodecContext, VideoFrame

Pixels = TypeVar("Pixels", bound=FullImage)

#: libavfilter's names of field orders, AVFieldOrder, and flags of an encoder.
_CODES: dict[FieldOrder, int] = {"tff": 2, "bff": 3}
_INTERLACED_DCT, _INTERLACED_ME = 1 << 18, 1 << 29


class FieldCounter:
    """Count the frames of a video that are flagged as interlaced.

    Attributes:
        interlaced: frames so far.
    """

    def __init__(self) -> None:
        self.interlaced = 0
        self._top_first = 0
        self._filter: FrameFilter | None = None
        self._kind: tuple[int, int, str] | None = None

    def feed(self, frame: VideoFrame) -> None:
        """Count the next frame."""
        if not frame.interlaced_frame:
            return
        kind = (frame.width, frame.height, frame.format.name)
        if self._filter is None or kind != self._kind:
            # PyAV has no attribute for the order; this filter lets top-first frames through.
            self._filter = FrameFilter(frame, ("select", "expr=eq(interlace_type\\,TOPFIRST)"))
            self._kind = kind
        self.interlaced += 1
        self._top_first += len(self._filter.push(frame))

    @property
    def order(self) -> FieldOrder | None:
        """The order of most interlaced frames; None without any."""
        if not self.interlaced:
            return None
        return "tff" if 2 * self._top_first >= self.interlaced else "bff"


class FieldMarker:
    """Flag frames as interlaced, so that an encoder keeps their field order.

    Args:
        order: of all frames.
    """

    def __init__(self, order: FieldOrder) -> None:
        self._order = order
        self._filter: FrameFilter | None = None

    def configure(self, context: CodecContext) -> None:
        """Set up an encoder that is not open yet for interlaced frames."""
        context.field_order = _CODES[self._order]
        context.flags |= _INTERLACED_DCT | _INTERLACED_ME

    def mark(self, frame: VideoFrame) -> VideoFrame:
        """Return ``frame`` with the flags of its order. All frames have one size and format."""
        if self._filter is None:
            self._filter = FrameFilter(frame, ("setfield", self._order))
        (marked,) = self._filter.push(frame)
        marked.pts, marked.time_base = frame.pts, frame.time_base
        return marked


def has_field_chroma(pix_fmt: str, height: int) -> bool:
    """Whether frames of a format have chroma rows that belong to one field.

    Args:
        pix_fmt: FFmpeg's name.
        height: in pixels; where it is no multiple of 4, fields have different numbers of rows.

    >>> has_field_chroma("yuv420p", 576), has_field_chroma("yuv422p", 576)
    (True, False)
    """
    form = av.VideoFormat(pix_fmt, 64, 64)
    return height % 4 == 0 and not form.is_rgb and form.chroma_height(64) < 64


def split_fields(frame: VideoFrame) -> tuple[VideoFrame, VideoFrame]:
    """The fields of a frame with :func:`has_field_chroma`, top field first, of half its height."""
    return _field(frame, 0), _field(frame, 1)


def weave_frames(top: VideoFrame, bottom: VideoFrame) -> VideoFrame:
    """The inverse of :func:`split_fields`."""
    name = top.format.name
    frame = cast(VideoFrame, av.VideoFrame(top.width, 2 * top.height, name))
    for plane, *fields in zip(frame.planes, top.planes, bottom.planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        for parity, source in enumerate(fields):
            _copy_rows(source, rows[parity::2])
        plane.update(rows)
    return frame


def weave_images(top: Pixels, bottom: Pixels) -> Pixels:
    """One image of two fields, shape ``(height, width, 3)`` each, twice as high."""
    return cast(Pixels, np.stack([top, bottom], axis=1).reshape(-1, *top.shape[1:]))


def _field(frame: VideoFrame, parity: int) -> VideoFrame:
    name = frame.format.name
    field = cast(VideoFrame, av.VideoFrame(frame.width, frame.height // 2, name))
    for plane, source in zip(field.planes, frame.planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        every = np.frombuffer(source, np.uint8).reshape(source.height, -1)
        width = min(rows.shape[1], every.shape[1])
        rows[:, :width] = every[parity::2, :width]
        plane.update(rows)
    return field


def _copy_rows(source: object, rows: npt.NDArray[np.uint8]) -> None:
    samples = np.frombuffer(source, np.uint8).reshape(len(rows), -1)  # type: ignore[call-overload]
    width = min(rows.shape[1], samples.shape[1])
    rows[:, :width] = samples[:, :width]
