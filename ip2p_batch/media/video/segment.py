"""Writing one chunk of a video as a segment: encoded once, here, and joined by copying packets.

Segments of one job join without another encode because all are made by one frozen specification:
same encoder and options, same number of encoder threads, groups of pictures that refer to nothing
outside, same colour tags. Their headers (extradata) are then equal byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...errors import OutputError
from ...frame import Frame
from ...jobs.spec import Encoding, VideoFacts
from . import color
from .pyav import fraction, reason, writing
from .timestamps import decoding_times


@dataclass(frozen=True, slots=True)
class Codec:
    """How a codec is encoded so that its segments can be joined.

    Attributes:
        encoder: FFmpeg's name.
        crf: default constant rate factor, visually close to the edit; None where lossless.
        container: FFmpeg's name of the format that segments are kept in.
        suffix: of segment files.
        outputs: suffixes of output files that can hold it.
        options: the encoder's own.
        pix_fmt: samples of an even-sized picture.
        odd_pix_fmt: samples where a side is odd and chroma cannot be halved.
        tag: codec tag in MP4, where the default one does not play everywhere.
        least: shortest side in pixels. x265 writes past its memory below 64; SVT-AV1 refuses.
        garbled: whether decoding times of short segments come out of the encoder at random.
    """

    encoder: str
    crf: int | None
    crf_range: tuple[int, int]
    container: str
    suffix: str
    outputs: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    odd_pix_fmt: str = "yuv444p"
    tag: str = ""
    least: int = 1
    garbled: bool = False


_MP4_FAMILY = (".mp4", ".m4v", ".mov")

CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        encoder="libx264",
        crf=18,
        crf_range=(0, 51),
        container="mp4",
        suffix=".mp4",
        outputs=(*_MP4_FAMILY, ".mkv"),
        # Macroblock trees spend less on frames that few others refer to, so on those at a segment's
        # end, and its next keyframe then pops: a seam ratio of 1.47 with nothing edited, 1.34
        # without, for 7 % more bytes.
        options={"preset": "medium", "x264-params": "open-gop=0:stitchable=1:mbtree=0"},
    ),
    "hevc": Codec(
        encoder="libx265",
        crf=20,
        crf_range=(0, 51),
        container="mp4",
        suffix=".mp4",
        outputs=(*_MP4_FAMILY, ".mkv"),
        # frame-threads decides the bits; the info message would sit in one segment's header only.
        options={
            "preset": "medium",
            "x265-params": "open-gop=0:frame-threads=2:info=0:log-level=none",
        },
        tag="hvc1",
        least=64,
        # x265 reads memory that it never set where fewer frames come than it looks ahead; one
        # segment in five of a few frames failed to be written for it (x265 4.2, FFmpeg 8 and 9).
        garbled=True,
    ),
    "av1": Codec(
        encoder="libsvtav1",
        crf=24,
        crf_range=(1, 63),
        container="mp4",
        suffix=".mp4",
        outputs=(".mp4", ".mkv", ".webm"),
        options={"preset": "8", "svtav1-params": "lp=2"},
        least=64,
        odd_pix_fmt="yuv420p",  # this encoder knows 4:2:0 only, and halves odd sides upwards
    ),
    # Lossless, and in RGB: what the editor made, to the bit.
    "ffv1": Codec(
        encoder="ffv1",
        crf=None,
        crf_range=(0, 0),
        container="matroska",
        suffix=".mkv",
        outputs=(".mkv",),
        options={"level": "3", "slices": "4", "slicecrc": "1", "g": "1"},
        pix_fmt="bgr0",
        odd_pix_fmt="bgr0",
    ),
}

#: Frames of more pixels than this are worth several encoder threads. The number decides the
#: bits, so it follows from the frame's size and never from the machine.
_BIG_FRAME = 1024 * 1024
_BIG_FRAME_THREADS = 4


def segment_suffix(encoding: Encoding) -> str:
    """Suffix of segment files, with its dot."""
    return CODECS[encoding.codec].suffix


def pixel_format(facts: VideoFacts, encoding: Encoding) -> str:
    """Samples that an upright frame is encoded in."""
    codec = CODECS[encoding.codec]
    width, height = facts.upright
    return codec.odd_pix_fmt if width % 2 or height % 2 else codec.pix_fmt


class SegmentWriter:
    """Encodes frames of one chunk, in order, into a file of its own.

    Times are written relative to the first frame: Matroska would round large ones, and MP4 would
    begin with a gap. Joining puts the planned times back.

    Args:
        path: file to write; its name does not matter.
        facts: of the source.
        encoding: codec and quality.
    """

    def __init__(self, path: Path, facts: VideoFacts, encoding: Encoding) -> None:
        self._path = path
        self._facts = facts
        self._encoding = encoding
        self._pix_fmt = pixel_format(facts, encoding)
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._first: int | None = None
        self._held: list[Any] = []

    def __enter__(self) -> Self:
        """Open the file and the encoder.

        Raises:
            OutputError: the file cannot be written, or the codec takes no frames of this size.
        """
        codec, facts = CODECS[self._encoding.codec], self._facts
        width, height = facts.upright
        if min(width, height) < codec.least:
            raise OutputError(
                f"{self._encoding.codec} takes no video with a side below {codec.least} pixels.",
                path=self._path,
                hint="Use --codec h264, or ffv1 for a lossless one.",
            )
        os.environ.setdefault("SVT_LOG", "0")  # SVT-AV1 prints its settings otherwise
        base = fraction(facts.time_base)
        options = {}
        if codec.container == "mp4":
            options["video_track_timescale"] = str(base.denominator)
        self._container = self._stack.enter_context(
            writing(self._path, format=codec.container, options=options)
        )
        rate = fraction(facts.frame_rate)
        stream = self._container.add_stream(codec.encoder, rate=rate, options=self._options(codec))
        stream.width, stream.height, stream.pix_fmt = width, height, self._pix_fmt
        context = stream.codec_context
        stream.time_base = context.time_base = base
        context.framerate = rate
        context.sample_aspect_ratio = Fraction(*facts.upright_sar)
        context.thread_count = _BIG_FRAME_THREADS if width * height > _BIG_FRAME else 1
        color.tag(context, facts.color)
        if codec.tag and codec.container == "mp4":
            context.codec_tag = codec.tag
        self._stream = stream
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush the encoder and close; after an exception, only close."""
        try:
            if kind is None and self._first is not None:
                self._mux(None)
                self._mux_held()
        finally:
            self._stack.__exit__(kind, error, trace)

    def write(self, frame: Frame) -> None:
        """Encode the next frame.

        Args:
            frame: upright RGB pixels of the source's stored size.

        Raises:
            OutputError: the encoder refuses, or the disk is full.
        """
        if self._first is None:
            self._first = frame.pts
        picture = color.from_rgb(frame.image, self._facts.color, self._pix_fmt)
        picture.pts = frame.pts - self._first
        picture.time_base = fraction(self._facts.time_base)
        self._mux(picture)

    def _mux(self, picture: Any) -> None:
        try:
            packets = self._stream.encode(picture)
            if CODECS[self._encoding.codec].garbled:
                self._held += packets
            else:
                self._container.mux(packets)
        except ValueError as error:
            raise OutputError(
                f"{self._encoding.codec} cannot encode this video: {reason(error)}.",
                path=self._path,
                hint="Try another --codec.",
            ) from error

    def _mux_held(self) -> None:
        """Write packets whose decoding times had to wait for all of them."""
        shown = np.asarray([packet.pts for packet in self._held], dtype=np.int64)
        for packet, time in zip(self._held, decoding_times(shown), strict=True):
            packet.dts = int(time)
            self._container.mux(packet)
        self._held.clear()

    def _options(self, codec: Codec) -> dict[str, str]:
        crf = codec.crf if self._encoding.crf is None else self._encoding.crf
        return dict(codec.options) | ({} if crf is None else {"crf": str(crf)})
