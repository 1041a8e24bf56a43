"""Write small interlaced and telecined videos whose true frames are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ip2p_batch.media.video.fields import (
    FieldCounter,
    FieldMarker,
    has_field_chroma,
    weave_frames,
)

SIZE = (96, 64)


def moment(time: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """Draw a moving, coloured pattern, as it is at ``time`` in fields."""
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 100 * np.sin((x - 3 * time) / 6)
    blue = 128 + 90 * np.sin((x + 2 * time) / 9)
    return np.stack([red, 60 + 120 * y / height, blue], -1).astype(np.uint8)


def combed(number: int, order: str) -> np.ndarray:
    """Frame ``number``: its first field shows moment 2n, its second field moment 2n + 1."""
    frame = moment(2 * number)
    second = 1 if order == "tff" else 0
    frame[second::2] = moment(2 * number + 1)[second::2]
    return frame


def telecined(number: int) -> np.ndarray:
    """Frame ``number`` of film at 4/5 of the rate: fields AA, BB, BC, CD, DD, top field first."""
    film = number // 5 * 4
    top, bottom = [(0, 0), (1, 1), (1, 2), (2, 3), (3, 3)][number % 5]
    frame = moment(2 * (film + top))
    frame[1::2] = moment(2 * (film + bottom))[1::2]
    return frame


def make(
    path: Path,
    images: Sequence[np.ndarray],
    orders: Sequence[str | None],
    *,
    codec: str = "ffv1",
    pix_fmt: str = "yuv444p",
    options: dict[str, str] | None = None,
    first: int = 0,
) -> Path:
    """Write a video, with each frame flagged ``tff``, ``bff`` or None for progressive.

    Args:
        first: time of the first frame, in frames.
    """
    height, width = images[0].shape[:2]
    markers = {order: FieldMarker(order) for order in set(orders) if order}  # type: ignore[arg-type]
    with av.open(str(path), "w") as target:
        video = target.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        context = video.codec_context
        video.time_base = context.time_base = Fraction(1, 25)
        context.thread_count = 1
        context.colorspace, context.color_range = 1, 1
        if codec == "mpeg2video":
            next(iter(markers.values())).configure(context)  # type: ignore[arg-type]
        for number, (image, order) in enumerate(zip(images, orders, strict=True)):
            if order and has_field_chroma(pix_fmt, height):
                frame = weave_frames(*(_converted(image[n::2], pix_fmt) for n in (0, 1)))
            else:
                frame = _converted(image, pix_fmt)
            frame.pts, frame.time_base = first + number, Fraction(1, 25)
            if order:
                frame = markers[order].mark(frame)
            target.mux(video.encode(frame))  # type: ignore[arg-type]
        target.mux(video.encode(None))
    return path


def _converted(image, pix_fmt):
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(format=pix_fmt, dst_colorspace=1, src_color_range=2, dst_color_range=1)


def orders_of(path: Path) -> list[str | None]:
    """Return the flags of every frame, as :func:`make` takes them."""
    with av.open(str(path)) as container:
        flags: list[str | None] = []
        for frame in container.decode(video=0):
            counter = FieldCounter()
            counter.feed(frame)  # type: ignore[arg-type]
            flags.append(counter.order)
        return flags
