"""Write one chunk of a video as a segment, encoded once; segments are joined by copying packets.

All segments of a job use one frozen specification (see :mod:`.codecs`), so their headers
(extradata) are equal byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ...errors import OutputError
from ...frame import Alpha, FullFrame, FullImage
from ...jobs.coding import Encoding
from ...jobs.video_facts import VideoFacts
from . import color, hdr
from .captions import with_captions
from .codecs import Codec, codec_name, codec_of
from .deep_color import from_image
from .fields import FieldMarker, has_field_chroma, weave_frames
from .pyav import MEDIA_ERRORS, describe_error, fraction, open_output
from .result_format import keeps_captions, keeps_fields, pixel_format
from .timestamps import decoding_times
from .types import OutputContainer, Packet, Stream, VideoFrame

#: Frames of more pixels than this use several encoder threads. The number of threads changes the
#: output, so it depends on the frame size and never on the machine.
_BIG_FRAME = 1024 * 1024
_BIG_FRAME_THREADS = 4

#: Codecs without a least size that fit into the same containers, where H.264 does not.
_FOR_SMALL_FRAMES = {
    "dnxhr": "prores",
    "av1": "vp9 in .webm files, h264 in others",
    "av1_nvenc": "vp9 in .webm files, h264 in others",
}


class SegmentWriter:
    """Encode the frames of one chunk, in order, into a file of its own.

    Times are relative to the chunk's first frame: Matroska would round large times, and MP4 would
    start with a gap. Joining restores the planned times.

    Args:
        path: file to write; its suffix does not matter.
        facts: about the source.
        encoding: codec and quality.
        captions: closed captions by frame number, as :class:`~.reader.VideoReader` collects them.
            Each is removed when its frame is written.
    """

    def __init__(
        self,
        path: Path,
        facts: VideoFacts,
        encoding: Encoding,
        captions: MutableMapping[int, VideoFrame] | None = None,
    ) -> None:
        self._path = path
        self._facts = facts
        self._encoding = encoding
        self._captions = {} if captions is None else captions
        self._name, self._codec = codec_name(encoding), codec_of(encoding)
        self._pix_fmt = pixel_format(facts, encoding)
        self._color = hdr.output_color(facts, encoding)
        self._stack = ExitStack()
        self._container: OutputContainer
        self._stream: Stream
        self._first_pts: int | None = None
        self._pending: list[Packet] = []
        order = facts.kept_field_order if keeps_fields(encoding) else None
        self._marker = FieldMarker(order) if order else None

    def __enter__(self) -> Self:
        """Open the file and the encoder.

        Raises:
            OutputError: the file cannot be written, or the frames are too small for the codec.
        """
        codec, facts = self._codec, self._facts
        width, height = facts.upright
        if width < codec.min_size[0] or height < codec.min_size[1]:
            raise OutputError(
                f"{self._name} needs frames of at least {codec.min_size[0]}x{codec.min_size[1]} "
                f"pixels; these are {width}x{height}.",
                path=self._path,
                hint=f"Use --codec {_FOR_SMALL_FRAMES.get(self._name, 'h264')}.",
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
        stream.width, stream.height = width, height
        stream.pix_fmt = codec.encoder_formats.get(self._pix_fmt, self._pix_fmt)
        context = stream.codec_context
        stream.time_base = context.time_base = base
        context.framerate = rate
        context.sample_aspect_ratio = Fraction(*facts.upright_sar)
        context.thread_count = _BIG_FRAME_THREADS if width * height > _BIG_FRAME else 1
        color.set_color_tags(context, self._color, self._pix_fmt)
        if self._marker is not None:
            self._marker.configure(context)
        if codec.tag and codec.segment_format == "mp4":
            context.codec_tag = codec.tag
        self._stream = stream
        if codec.needs_gpu:
            self._open_on_gpu()
        return self

    def _open_on_gpu(self) -> None:
        try:
            self._stream.codec_context.open()
        except MEDIA_ERRORS as error:
            self._stack.close()
            raise OutputError(
                f"{self._name} cannot start: {describe_error(error)}.",
                path=self._path,
                hint="It needs an NVIDIA GPU with a video encoder, and its driver, on this machine "
                f"and on every worker's; --codec {self._name.split('_')[0]} needs none.",
            ) from error

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
        encodable = self._converted(frame.image, frame.alpha)
        if self._codec.matrices:  # these encoders read the tags of each frame
            color.set_color_tags(encodable, self._color, self._pix_fmt)
        if (encoder_format := self._codec.encoder_formats.get(self._pix_fmt)) is not None:
            encodable = encodable.reformat(format=encoder_format)
        carrier = self._captions.pop(frame.index, None)
        if carrier is not None and keeps_captions(self._facts, self._encoding):
            encodable = with_captions(encodable, carrier)
        encodable.pts = frame.pts - self._first_pts
        encodable.time_base = fraction(self._facts.time_base)
        self._mux(encodable if self._marker is None else self._marker.mark(encodable))

    def _converted(self, image: FullImage, alpha: Alpha | None) -> VideoFrame:
        if self._facts.keeps_hdr:
            image = hdr.to_hdr(image, self._facts)
        if not (self._facts.kept_field_order and has_field_chroma(self._pix_fmt, len(image))):
            return from_image(image, self._color, self._pix_fmt, alpha)
        top, bottom = (
            from_image(
                image[row::2], self._color, self._pix_fmt, None if alpha is None else alpha[row::2]
            )
            for row in (0, 1)
        )
        return weave_frames(top, bottom)

    def _mux(self, picture: VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(picture)
            if self._codec.unreliable_dts:
                self._pending += packets
            else:
                self._container.mux(packets)
        except (ValueError, NotImplementedError) as error:
            raise OutputError(
                f"{self._name} cannot encode this video: {describe_error(error)}.",
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
        options = {**codec.options, **codec.format_options.get(self._pix_fmt, {})}
        if "slices" in options and min(self._facts.upright) < 4:
            options["slices"] = "1"  # such frames, or their halved chroma, do not divide into four
        if self._marker is not None and codec.fields_option:
            options[codec.fields_option] += f":{self._facts.kept_field_order}=1"
        if keeps_captions(self._facts, self._encoding):
            options |= codec.caption_options or {}
        for name, value in hdr.encoder_options(self._facts, codec.encoder).items():
            options[name] = f"{options[name]}:{value}" if name in options else value
        crf = codec.crf if self._encoding.crf is None else self._encoding.crf
        return options if crf is None else options | {codec.crf_option: str(crf)}
