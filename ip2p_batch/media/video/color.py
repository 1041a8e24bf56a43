"""Convert video samples from their colour matrix and range to RGB, and back.

FFmpeg converts untagged video as BT.601 whatever its size, and setting "BT.709" on an encoder only
labels the samples, it does not convert them. So every conversion here names both ends (ITU-T H.273
code points), and the encoder gets the same values as tags.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import av
import msgspec
import numpy as np

from ...errors import SourceError
from ...frame import Image
from ...jobs.video_facts import ColorFacts, VideoFacts
from .types import CodecContext, VideoFrame

UNSPECIFIED = 2
BT709 = 1
BT601 = 6
BT2020 = 9
SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # H.273 -> swscale's SWS_CS_*
LIMITED, FULL = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
_HDR_TRANSFERS = {16: "HDR10 (PQ)", 18: "HDR (HLG)"}
# Accurate rounding and full chroma: otherwise errors reach 2 levels and depend on the CPU.
SWSCALE = 4 | 0x40000 | 0x2000 | 0x4000  # BICUBIC | ACCURATE_RND | FULL_CHR_H_INT | _INP


class Tags(NamedTuple):
    """What a file states about its samples: H.273 codes, and FFmpeg's range; 0 is not stated."""

    matrix: int = 0
    color_range: int = 0
    primaries: int = 0
    transfer: int = 0

    def or_else(self, other: Tags) -> Tags:
        """These, and those of ``other`` where nothing is stated here."""
        return Tags(*(mine or theirs for mine, theirs in zip(self, other, strict=True)))


def container_tags(container: str, context: CodecContext) -> Tags:
    """The tags that a container has for a stream whose decoder has not started.

    Args:
        container: FFmpeg's name. Those without such tags give the ones of some later frame.
    """
    if not any(name in container for name in ("mp4", "matroska", "mxf")):
        return Tags()
    values = (context.colorspace, context.color_primaries, context.color_trc)
    matrix, primaries, transfer = (_stated(value) for value in values)
    return Tags(matrix, int(context.color_range), primaries, transfer)


def frame_tags(frame: VideoFrame, codec: str) -> Tags:
    """The tags of a decoded frame.

    Args:
        codec: FFmpeg's name. Its HEVC decoder gives limited range to frames that state nothing.
    """
    values = (frame.colorspace, frame.color_primaries, frame.color_trc)
    matrix, primaries, transfer = (_stated(value) for value in values)
    color_range = FULL if frame.format.name.startswith("yuvj") else int(frame.color_range)
    if codec == "hevc" and color_range == LIMITED and not (matrix or primaries or transfer):
        color_range = 0
    return Tags(matrix, color_range, primaries, transfer)


def _stated(code: int) -> int:
    return 0 if int(code) == UNSPECIFIED else int(code)


def dynamic_range(transfer: int) -> str:
    """Name of the dynamic range of a transfer characteristic (H.273 code)."""
    return _HDR_TRANSFERS.get(transfer, "SDR")


def color_facts(frame: VideoFrame, path: Path, tags: Tags) -> ColorFacts:
    """How to interpret the samples of a decoded frame.

    Untagged video counts as BT.709 from 720 lines or 1280 columns up, else as BT.601, as players
    do, and HDR as BT.2020. RGB video (GIF, some screen recordings) is written as BT.709.

    Args:
        tags: of the frame, and of the container where the frame has none.

    Raises:
        SourceError: a colour matrix without a conversion.
    """
    is_hdr = tags.transfer in _HDR_TRANSFERS
    if frame.format.is_rgb:
        if not is_hdr:
            return ColorFacts(primaries=tags.primaries or UNSPECIFIED)
        return ColorFacts(
            matrix=BT2020, primaries=tags.primaries or BT2020, transfer=tags.transfer, tagged=True
        )
    check_matrix(tags.matrix, path)
    default = BT709 if frame.height >= 720 or frame.width >= 1280 else BT601
    default = BT2020 if is_hdr else default
    return ColorFacts(
        matrix=tags.matrix or default,
        full_range=tags.color_range == FULL,
        primaries=tags.primaries or UNSPECIFIED,
        transfer=tags.transfer or UNSPECIFIED,
        tagged=bool(tags.matrix),
    )


def check_matrix(matrix: int, path: Path) -> None:
    """Refuse a colour matrix without a conversion.

    Raises:
        SourceError: see above.
    """
    if matrix and matrix not in SWSCALE_MATRICES:
        raise SourceError(
            f"{path}: its colour matrix (H.273 code {matrix}) is not supported.",
            path=path,
            hint="Convert it to BT.709 first: "
            "ffmpeg -i FILE -vf zscale=tin=709:pin=709:t=709:p=709:m=709 -crf 12 NEW.mkv",
        )


def check_dynamic_range(frame: VideoFrame, facts: VideoFacts, path: Path) -> None:
    """Refuse a frame that is HDR in an SDR video, or the other way round.

    Raises:
        SourceError: it is. Planning finds it where all frames are decoded.
    """
    then, now = (dynamic_range(int(code)) for code in (facts.color.transfer, frame.color_trc))
    if now != then and int(frame.color_trc) not in (0, UNSPECIFIED):
        raise SourceError(
            f"{path}: it is {then} at first, and {now} later; one result has one dynamic range.",
            path=path,
            hint="`ip2p-batch plan` without --no-scenes names the time at which it changes.",
            survives="Finished chunks are kept.",
        )


def frame_color(frame: VideoFrame, facts: VideoFacts) -> ColorFacts:
    """How to interpret the samples of one frame: by its own tags, else like the first frame."""
    tags = frame_tags(frame, facts.codec)
    color = facts.color
    return msgspec.structs.replace(
        color,
        matrix=tags.matrix if tags.matrix in SWSCALE_MATRICES else color.matrix,
        full_range=tags.color_range == FULL if tags.color_range else color.full_range,
    )


def to_rgb(frame: VideoFrame, color: ColorFacts, size: tuple[int, int] | None = None) -> Image:
    """Convert a decoded frame to RGB, in stored orientation.

    Args:
        frame: of any pixel format; alpha is dropped.
        color: how to interpret its samples.
        size: ``(width, height)`` to scale to; None keeps the frame's own.

    Returns:
        uint8, shape ``(height, width, 3)``.
    """
    width, height = size or (frame.width, frame.height)
    if frame.format.is_rgb:
        converted = frame.reformat(width, height, "rgb24")
    else:
        converted = frame.reformat(
            width,
            height,
            "rgb24",
            src_colorspace=SWSCALE_MATRICES[color.matrix],
            src_color_range=FULL if color.full_range else LIMITED,
            dst_color_range=FULL,
            interpolation=SWSCALE,
        )
    image: Image = np.ascontiguousarray(converted.to_ndarray(), dtype=np.uint8)
    return image


def from_rgb(image: Image, color: ColorFacts, pix_fmt: str) -> VideoFrame:
    """Convert RGB pixels to a frame of ``pix_fmt`` of 8 bits, in the source's matrix.

    Only to limited range: FFmpeg's conversion to full range truncates chroma. Use
    :func:`deep_color.from_image` for any range and depth.

    Args:
        image: uint8, shape ``(height, width, 3)``.
        color: the matrix to convert to; ignored if ``pix_fmt`` is RGB.
    """
    frame = cast(
        VideoFrame, av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    )
    if av.VideoFormat(pix_fmt).is_rgb:
        return frame.reformat(format=pix_fmt)
    return frame.reformat(
        format=pix_fmt,
        dst_colorspace=SWSCALE_MATRICES[color.matrix],
        src_color_range=FULL,
        dst_color_range=LIMITED,
        interpolation=SWSCALE,
    )


def set_color_tags(target: CodecContext | VideoFrame, color: ColorFacts, pix_fmt: str) -> None:
    """Set the tags of an encoder or frame, so that players interpret the samples correctly."""
    rgb = av.VideoFormat(pix_fmt).is_rgb
    target.colorspace = 0 if rgb else color.matrix
    target.color_range = FULL if rgb or color.full_range else LIMITED
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
