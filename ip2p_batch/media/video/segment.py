"""Write one chunk of a video as a segment, encoded once; segments are joined by copying packets.

Segments of one job join without another encode because all use one frozen specification: the same
encoder, options, number of encoder threads and colour tags, and closed groups of pictures. Their
headers (extradata) are then equal byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ...errors import OutputError
from ...frame import FullFrame
from ...jobs.spec import Encoding, VideoFacts
from . import color
from .deep_color import format_depth, from_image, is_rgb
from .pyav import describe_error, fraction, open_output
from .timestamps import decoding_times
from .types import OutputContainer, Packet, Stream, VideoFrame


@dataclass(frozen=True, slots=True)
class Codec:
    """How to encode a codec so that its segments can be joined.

    Attributes:
        encoder: FFmpeg's name.
        crf: default constant rate factor, visually close to the edit; None if lossless.
        crf_range: lowest and highest ``crf``, both allowed.
        segment_format: FFmpeg's name of the container of segments.
        suffix: of segment files.
        containers: suffixes of output files that can hold the codec.
        options: encoder options.
        pix_fmts: pixel formats of frames with even sides, by ascending depth.
        odd_pix_fmts: the same if a side is odd, since chroma cannot be halved then.
        tag: codec tag in MP4, where some players reject the default one.
        min_side: shortest side in pixels. Below 64, x265 writes outside its memory and SVT-AV1
            refuses.
        unreliable_dts: whether the encoder gives packets of short segments random decoding times.
    """

    encoder: str
    crf: int | None
    crf_range: tuple[int, int]
    segment_format: str
    suffix: str
    containers: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmts: tuple[str, ...] = ("yuv420p", "yuv420p10le")
    odd_pix_fmts: tuple[str, ...] = ("yuv444p", "yuv444p10le")
    tag: str = ""
    min_side: int = 1
    unreliable_dts: bool = False


_MP4_FAMILY = (".mp4", ".m4v", ".mov")
_RGB = ("bgr0", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le")

CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        encoder="libx264",
        crf=18,
        crf_range=(0, 51),
        segment_format="mp4",
        suffix=".mp4",
        containers=(*_MP4_FAMILY, ".mkv"),
        # mbtree spends fewer bits on frames that few others refer to, which are those at a
        # segment's end, and the next keyframe is visible as a seam. Measured on an unedited
        # video: seam ratio 1.47 with mbtree, 1.34 without it at 7 % more bytes.
        options={"preset": "medium", "x264-params": "open-gop=0:stitchable=1:mbtree=0"},
    ),
    "hevc": Codec(
        encoder="libx265",
        crf=20,
        crf_range=(0, 51),
        segment_format="mp4",
        suffix=".mp4",
        containers=(*_MP4_FAMILY, ".mkv"),
        # The number of frame threads changes the output, so it is fixed. The info message would be
        # in the header of one segment only.
        options={
            "preset": "medium",
            "x265-params": "open-gop=0:frame-threads=2:info=0:log-level=none",
        },
        tag="hvc1",
        min_side=64,
        # x265 reads uninitialized memory if a segment has fewer frames than its lookahead. One in
        # five segments of a few frames could not be written because of it (x265 4.2, FFmpeg 8
        # and 9).
        unreliable_dts=True,
    ),
    "av1": Codec(
        encoder="libsvtav1",
        crf=24,
        crf_range=(1, 63),
        segment_format="mp4",
        suffix=".mp4",
        containers=(".mp4", ".mkv", ".webm"),
        options={"preset": "8", "svtav1-params": "lp=2"},
        min_side=64,
        # SVT-AV1 knows 4:2:0 only, and rounds half an odd side up.
        odd_pix_fmts=("yuv420p", "yuv420p10le"),
    ),
    # Lossless, and in RGB: exactly the editor's pixels.
    "ffv1": Codec(
        encoder="ffv1",
        crf=None,
        crf_range=(0, 0),
        segment_format="matroska",
        suffix=".mkv",
        containers=(".mkv",),
        options={"level": "3", "slices": "4", "slicecrc": "1", "g": "1"},
        pix_fmts=_RGB,
        odd_pix_fmts=_RGB,
    ),
}

#: Frames of more pixels than this use several encoder threads. The number of threads changes the
#: output, so it depends on the frame size and never on the machine.
_BIG_FRAME = 1024 * 1024
_BIG_FRAME_THREADS = 4


def segment_suffix(encoding: Encoding) -> str:
    """Suffix of segment files, dot included."""
    return CODECS[encoding.codec].suffix


def pixel_format(facts: VideoFacts, encoding: Encoding) -> str:
    """FFmpeg's name of the pixel format in which upright frames are encoded.

    It is the codec's first one that has the source's depth, or its deepest.
    """
    codec = CODECS[encoding.codec]
    width, height = facts.upright
    choices = codec.odd_pix_fmts if width % 2 or height % 2 else codec.pix_fmts
    depth = facts.bit_depth
    if depth > 8 and is_rgb(choices[0]) and not is_rgb(facts.pix_fmt):
        depth += 2  # Y'CbCr of n bits is exact in R'G'B' of n + 2, and not in n
    return next((name for name in choices if format_depth(name) >= depth), choices[-1])


def kept_bits(facts: VideoFacts, encoding: Encoding) -> int:
    """Bits per sample that the source has and the result can hold, 8 to 16.

    It is 8 for a source of fewer bits, too.
    """
    return min(max(facts.bit_depth, 8), format_depth(pixel_format(facts, encoding)))


class SegmentWriter:
    """Encode the frames of one chunk, in order, into a file of its own.

    Times are relative to the chunk's first frame: Matroska would round large times, and MP4 would
    start with a gap. Joining restores the planned times.

    Args:
        path: file to write; its suffix does not matter.
        facts: about the source.
        encoding: codec and quality.
    """

    def __init__(self, path: Path, facts: VideoFacts, encoding: Encoding) -> None:
        self._path = path
        self._facts = facts
        self._encoding = encoding
        self._pix_fmt = pixel_format(facts, encoding)
        self._stack = ExitStack()
        self._container: OutputContainer
        self._stream: Stream
        self._first_pts: int | None = None
        self._pending: list[Packet] = []

    def __enter__(self) -> Self:
        """Open the file and the encoder.

        Raises:
            OutputError: the file cannot be written, or the frames are too small for the codec.
        """
        codec, facts = CODECS[self._encoding.codec], self._facts
        width, height = facts.upright
        if min(width, height) < codec.min_side:
            raise OutputError(
                f"{self._encoding.codec} needs frames of at least {codec.min_side} pixels a side; "
                f"these are {width}x{height}.",
                path=self._path,
                hint="Use --codec h264, or --codec ffv1 for lossless video.",
            )
        os.environ.setdefault("SVT_LOG", "0")  # keep SVT-AV1 from printing its settings
        base = fraction(facts.time_base)
        options = {}
        if codec.segment_format == "mp4":
            options["video_track_timescale"] = str(base.denominator)
        self._container = self._stack.enter_context(
            open_output(self._path, format=codec.segment_format, options=options)
        )
        rate = fraction(facts.frame_rate)
        stream = self._container.add_stream(codec.encoder, rate=rate, options=self._options(codec))
        stream.width, stream.height, stream.pix_fmt = width, height, self._pix_fmt
        context = stream.codec_context
        stream.time_base = context.time_base = base
        context.framerate = rate
        context.sample_aspect_ratio = Fraction(*facts.upright_sar)
        context.thread_count = _BIG_FRAME_THREADS if width * height > _BIG_FRAME else 1
        color.set_color_tags(context, facts.color)
        if codec.tag and codec.segment_format == "mp4":
            context.codec_tag = codec.tag
        self._stream = stream
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush the encoder and close the file; after an exception, only close it."""
        try:
            if kind is None and self._first_pts is not None:
                self._mux(None)
                self._mux_pending()
        finally:
            self._stack.__exit__(kind, error, trace)

    def write(self, frame: FullFrame) -> None:
        """Encode the next frame.

        Args:
            frame: upright RGB pixels, uint8 or uint16, of the source's size (``facts.upright``).
                They are converted to the depth of the pixel format.

        Raises:
            OutputError: the encoder refuses the frame, or the disk is full.
        """
        if self._first_pts is None:
            self._first_pts = frame.pts
        encodable = from_image(frame.image, self._facts.color, self._pix_fmt)
        encodable.pts = frame.pts - self._first_pts
        encodable.time_base = fraction(self._facts.time_base)
        self._mux(encodable)

    def _mux(self, picture: VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(picture)
            if CODECS[self._encoding.codec].unreliable_dts:
                self._pending += packets
            else:
                self._container.mux(packets)
        except ValueError as error:
            raise OutputError(
                f"{self._encoding.codec} cannot encode this video: {describe_error(error)}.",
                path=self._path,
                hint="Try another --codec.",
            ) from error

    def _mux_pending(self) -> None:
        """Write the packets with new decoding times, which depend on all of them."""
        pts = np.asarray([packet.pts for packet in self._pending], dtype=np.int64)
        for packet, time in zip(self._pending, decoding_times(pts), strict=True):
            packet.dts = int(time)
            self._container.mux(packet)
        self._pending.clear()

    def _options(self, codec: Codec) -> dict[str, str]:
        crf = codec.crf if self._encoding.crf is None else self._encoding.crf
        return dict(codec.options) | ({} if crf is None else {"crf": str(crf)})
