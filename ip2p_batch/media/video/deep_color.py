"""Convert video samples of more than 8 bits to RGB of 16 bits, and back; full range of 8 bits, too.

FFmpeg's own conversion puts the white of limited-range video at 65280 instead of 65535, and its
full range is inexact: it truncates chroma, which loses half a step in each pass. So FFmpeg only
scales planes here, in 16 bits; the matrix is applied to samples shifted left to 16 bits, by ITU-T
H.273, 8.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt

from ...frame import Alpha, FullImage
from ...jobs.video_facts import ColorFacts
from ..depth import Samples16, to_8_bits, to_16_bits
from .color import FULL, LIMITED, SWSCALE, SWSCALE_MATRICES, from_rgb
from .pixel_formats import component_depth, format_depth, has_alpha, is_rgb
from .types import VideoFrame

#: K_R and K_B of each matrix (H.273, table 4).
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114),
    7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
_WHITE = 65535
_U16 = np.dtype("<u2")
_CHROMA_ZERO = 1 << 15

Matrix = npt.NDArray[np.float64]


def to_rgb48(
    frame: VideoFrame, color: ColorFacts, size: tuple[int, int] | None = None
) -> Samples16:
    """Convert a decoded frame to RGB of 16 bits, in stored orientation.

    Args:
        frame: of any pixel format; alpha is dropped.
        color: how to interpret its samples.
        size: ``(width, height)`` to scale to; None keeps the frame's own.

    Returns:
        uint16, shape ``(height, width, 3)``.
    """
    width, height = size or (frame.width, frame.height)
    if frame.format.is_rgb or frame.format.name.startswith("xyz"):
        rgb = frame.reformat(width, height, "rgb48le", interpolation=SWSCALE)
        return np.ascontiguousarray(rgb.to_ndarray(), dtype=np.uint16)
    if sum(not component.is_alpha for component in frame.format.components) == 1:
        # FFmpeg takes grey for full range, whatever its tag.
        grey = _reformat(frame, width, height, "gray16le", color, FULL)
        return np.asarray(cv2.merge(_planes(grey)[:1] * 3), dtype=np.uint16)
    # With one range at both ends, whichever it is, samples are only shifted.
    yuv = _reformat(frame, width, height, "yuv444p16le", color, LIMITED)
    rgb = cv2.transform(
        cv2.merge(_planes(yuv)), decoding_matrix(color, component_depth(frame.format))
    )
    return np.asarray(rgb, dtype=np.uint16)


def from_image(
    image: FullImage, color: ColorFacts, pix_fmt: str, alpha: Alpha | None = None
) -> VideoFrame:
    """Convert RGB pixels to a frame of ``pix_fmt``, in the source's matrix and range.

    Args:
        image: uint8 or uint16, shape ``(height, width, 3)``; converted to the format's depth.
        color: the matrix and range to convert to; ignored if ``pix_fmt`` is RGB.
        pix_fmt: RGB, or planar Y'CbCr, of 8 to 16 bits; with or without an opacity channel.
        alpha: opacity, for a format with such a channel; None is opaque.
    """
    if has_alpha(pix_fmt):
        opaque = np.full(image.shape[:2], 255, np.uint8)
        return _from_rgba(image, opaque if alpha is None else alpha, color, pix_fmt)
    if format_depth(pix_fmt) > 8 or (color.full_range and not is_rgb(pix_fmt)):
        return from_rgb48(to_16_bits(image), color, pix_fmt)
    return from_rgb(to_8_bits(image), color, pix_fmt)


def _from_rgba(image: FullImage, alpha: Alpha, color: ColorFacts, pix_fmt: str) -> VideoFrame:
    """See :func:`from_image`. Opacity has full range, whatever the colours have."""
    depth = format_depth(pix_fmt)
    shallow = _of_depth(alpha, depth)
    if not is_rgb(pix_fmt):
        opaque = from_image(image, color, pix_fmt.replace("yuva", "yuv"))
        kind = np.dtype("u1" if depth == 8 else "<u2")
        size = (image.shape[1], image.shape[0])
        return _frame([*_planes(opaque, kind), shallow], size, pix_fmt)
    samples: Any = np.dstack([_of_depth(image, depth), shallow])
    if depth > 8:
        return cast(VideoFrame, av.VideoFrame.from_ndarray(samples, format=pix_fmt))
    frame = cast(VideoFrame, av.VideoFrame.from_ndarray(samples, format="rgba"))
    return frame.reformat(format=pix_fmt)


def _of_depth(samples: FullImage | Alpha, depth: int) -> Any:
    return to_8_bits(samples) if depth == 8 else np.take(_rounded(depth), to_16_bits(samples))


def from_rgb48(image: Samples16, color: ColorFacts, pix_fmt: str) -> VideoFrame:
    """Convert RGB pixels of 16 bits to a frame of ``pix_fmt``, in the source's matrix and range.

    Args:
        image: uint16, shape ``(height, width, 3)``.
        color: the matrix and range to convert to; ignored if ``pix_fmt`` is RGB.
        pix_fmt: planar Y'CbCr of 8 to 16 bits, or R'G'B' of 9 to 16 bits; little-endian:
            ``yuv420p``, ``yuv420p10le``, ``gbrp12le``.
    """
    depth = format_depth(pix_fmt)
    if is_rgb(pix_fmt):
        samples = image if depth == 16 else np.take(_rounded(depth), image)
        return cast(VideoFrame, av.VideoFrame.from_ndarray(samples, format=pix_fmt))
    height, width = image.shape[:2]
    yuv = cv2.split(cv2.transform(np.ascontiguousarray(image), encoding_matrix(color, depth)))
    frame = _frame(yuv, (width, height), "yuv444p16le")
    deep_format = pix_fmt + "16le" if depth == 8 else pix_fmt.replace(f"p{depth}le", "p16le")
    frame = _reformat(frame, width, height, deep_format, color, LIMITED)
    return _frame([_shift(plane, depth) for plane in _planes(frame)], (width, height), pix_fmt)


def decoding_matrix(color: ColorFacts, depth: int) -> Matrix:
    """Matrix from Y'CbCr of ``depth`` bits, shifted left to 16 bits, to R'G'B'; shape ``(3, 4)``.

    The last column is added. With E' from 0 to 1, or -0.5 to 0.5 for chroma (H.273, 8.3)::

        E'R = E'Y + 2 (1 - K_R) E'Cr,   E'B = E'Y + 2 (1 - K_B) E'Cb,
        E'G = (E'Y - K_R E'R - K_B E'B) / (1 - K_R - K_B)
    """
    kr, kb = _LUMA_WEIGHTS[color.matrix]
    kg = 1 - kr - kb
    red, blue = 2 * (1 - kr), 2 * (1 - kb)
    primed = np.array([[1, 0, red], [1, -kb * blue / kg, -kr * red / kg], [1, blue, 0]])
    scale, offset = _quantization(color, depth)
    matrix = _WHITE * primed / scale
    return np.column_stack([matrix, -matrix @ offset])


def encoding_matrix(color: ColorFacts, depth: int) -> Matrix:
    """Inverse of :func:`decoding_matrix`::

    E'Y = K_R E'R + K_G E'G + K_B E'B,
    E'Cb = (E'B - E'Y) / (2 (1 - K_B)),   E'Cr = (E'R - E'Y) / (2 (1 - K_R))
    """
    kr, kb = _LUMA_WEIGHTS[color.matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - kb))
    red = (np.array([1, 0, 0]) - luma) / (2 * (1 - kr))
    scale, offset = _quantization(color, depth)
    return np.column_stack([np.stack([luma, blue, red]) * scale[:, None] / _WHITE, offset])


def _quantization(color: ColorFacts, depth: int) -> tuple[Matrix, Matrix]:
    """Scale and offset of Y', Cb and Cr of ``depth`` bits, shifted left to 16 bits (H.273, 8.3)."""
    if color.full_range:
        scale = float(((1 << depth) - 1) << (16 - depth))
        return np.array([scale, scale, scale]), np.array([0.0, _CHROMA_ZERO, _CHROMA_ZERO])
    return np.array([219.0, 224, 224]) * 256, np.array([16 * 256.0, _CHROMA_ZERO, _CHROMA_ZERO])


def _reformat(
    frame: VideoFrame, width: int, height: int, pix_fmt: str, color: ColorFacts, color_range: int
) -> VideoFrame:
    """Scale and convert without a change of matrix or range."""
    matrix = SWSCALE_MATRICES[color.matrix]
    return frame.reformat(
        width,
        height,
        pix_fmt,
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=color_range,
        dst_color_range=color_range,
        interpolation=SWSCALE,
    )


def _planes(frame: VideoFrame, kind: np.dtype[Any] = _U16) -> list[Samples16]:
    """Views of the planes, without the padding of their rows."""
    return [
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    ]


def _frame(planes: Sequence[Samples16], size: tuple[int, int], pix_fmt: str) -> VideoFrame:
    """Make a frame from its planes, of any size: ``from_ndarray`` refuses odd sides of 4:2:0."""
    frame = cast(VideoFrame, av.VideoFrame(*size, pix_fmt))
    for plane, samples in zip(frame.planes, planes, strict=True):
        kind = np.dtype("u1" if format_depth(pix_fmt) == 8 else "<u2")
        padded = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        padded[:, : plane.width] = samples
        plane.update(padded)
    return frame


@lru_cache(maxsize=4)
def _rounded(depth: int) -> Samples16:
    """The value of ``depth`` bits that is nearest to each sample of 16 bits."""
    samples = np.arange(_WHITE + 1, dtype=np.uint32)
    return ((samples * ((1 << depth) - 1) + _WHITE // 2) // _WHITE).astype(np.uint16)


def _shift(samples: Samples16, depth: int) -> Samples16:
    """Round samples shifted left to 16 bits to ``depth`` bits."""
    half = np.uint16((1 << (16 - depth)) >> 1)
    return np.right_shift(np.minimum(samples, _WHITE - half) + half, 16 - depth)
