"""Encode sound that the output's container cannot hold as it is, in step with the frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt

from .packets import TimeRange
from .pyav import MEDIA_ERRORS, fraction, ratio
from .types import OutputContainer, Packet, Stream

Samples = npt.NDArray[Any]

#: Seconds by which a frame's time may differ from the count of samples before it. Containers round
#: times (Matroska, ASF and FLV to milliseconds), and live recordings jitter. A larger difference is
#: a gap or an overlap. It is less than one packet of any common codec (AAC: 21 ms).
_TOLERANCE = Fraction(15, 1000)
#: Names of the layouts that a number of channels usually means, for streams that name none.
_LAYOUTS = {
    1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1",
}  # fmt: skip


#: Starts of the names of lossless decoders that may give floating-point samples.
_FLOAT_SOURCES = ("pcm", "wavpack")


@dataclass(frozen=True, slots=True)
class SoundCodec:
    """A codec for sound that cannot be copied.

    Attributes:
        label: name in messages.
        encoder: FFmpeg's name, for samples of at most 16 bits.
        format: FFmpeg's sample format for it.
        deep_encoder, deep_format: the same for samples of more bits; 24 are kept.
        rates: sample rates that it can have, ascending; empty: any.
        bit_rate: bits per second and channel; 0 if lossless.
    """

    label: str
    encoder: str
    format: str
    deep_encoder: str
    deep_format: str
    rates: tuple[int, ...] = ()
    bit_rate: int = 0


SOUND_CODECS: Mapping[str, SoundCodec] = {
    "flac": SoundCodec("FLAC", "flac", "s16", "flac", "s32"),
    "pcm": SoundCodec("PCM", "pcm_s16le", "s16", "pcm_s24le", "s32"),
    "aac": SoundCodec(
        "AAC", "aac", "fltp", "aac", "fltp",
        rates=(7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200,
               96000),
        bit_rate=96_000,
    ),
    "opus": SoundCodec(
        "Opus", "libopus", "flt", "libopus", "flt", rates=(8000, 12000, 16000, 24000, 48000),
        bit_rate=80_000,
    ),
}  # fmt: skip


def add_sound(target: OutputContainer, stream: Stream, name: str) -> Stream:
    """Add a stream to ``target`` that encodes the sound of ``stream``.

    Args:
        stream: of the source.
        name: of :data:`SOUND_CODECS`.

    Raises:
        ValueError: the container cannot hold the codec, or no sound of the source decodes.
    """
    codec, source = SOUND_CODECS[name], _context(stream)
    if not source.sample_rate or source.format is None:
        raise ValueError("the sound has no sample rate or format")
    is_deep = _is_deep(source)
    rate = next((r for r in codec.rates if r >= source.sample_rate), (codec.rates or (0,))[-1])
    rate = rate or source.sample_rate
    encoder = codec.deep_encoder if is_deep else codec.encoder
    added = target.add_stream(encoder, rate=rate)
    context = _context(added)
    context.format = codec.deep_format if is_deep else codec.format
    context.layout = _layout(source.layout)
    context.time_base = Fraction(1, rate)
    if codec.bit_rate:
        context.bit_rate = codec.bit_rate * context.layout.nb_channels
    return added


class SoundConverter:
    """Decode the packets of a sound stream and encode them for the output.

    The position of every sample follows from its frame's time. Gaps become silence, overlaps are
    cut, and the sound begins and ends exactly with the edited part.

    Args:
        source: stream to decode.
        output: stream of :func:`add_sound`.
        offset: seconds to subtract from every time of the source.
        kept: the edited part of the source; None: all.
    """

    def __init__(
        self, source: Stream, output: Stream, offset: Fraction, kept: TimeRange | None
    ) -> None:
        self._source = source
        self._output = output
        self._offset = offset
        self._start = Fraction(0) if kept is None else max(kept.start - offset, Fraction(0))
        self._end = None if kept is None or kept.stop is None else kept.stop - offset
        #: Sample format, layout and rate of the first frame, which later ones are converted to.
        self._kind: tuple[str, str, int] | None = None
        self._resamplers: dict[tuple[str, str, int], Any] = {}
        #: Positions in samples from the output's zero: of the source's next sample, if its times
        #: are steady, and of the next sample to encode.
        self._clock: int | None = None
        self._position: int | None = None

    def push(self, packet: Packet) -> Iterator[Packet]:
        """Decode one packet of the source; yields packets of the output."""
        try:
            frames: list[Any] = list(packet.decode())
        except MEDIA_ERRORS:  # damaged: its time becomes silence
            return
        for frame in frames:
            yield from self._convert(frame)

    def flush(self) -> Iterator[Packet]:
        """Yield what the decoder and the encoder still hold."""
        try:
            frames: list[Any] = list(self._source.decode(None))
        except MEDIA_ERRORS:
            frames = []
        for frame in frames:
            yield from self._convert(frame)
        if self._position is not None:
            yield from self._output.encode(None)

    def _convert(self, frame: Any) -> Iterator[Packet]:
        kind = (frame.format.name, _layout(frame.layout), int(frame.sample_rate))
        if self._kind is None:
            self._kind = kind
        if kind == self._kind:
            yield from self._place(frame)
            return
        resampler = self._resamplers.setdefault(kind, av.AudioResampler(*self._kind))
        for uniform in resampler.resample(frame):
            yield from self._place(uniform)

    def _place(self, frame: Any) -> Iterator[Packet]:
        """Encode the samples of a frame that belong to the output, at their positions."""
        assert self._kind is not None
        rate = self._kind[2]
        samples = frame.to_ndarray()
        width = 1 if frame.format.is_planar else len(frame.layout.channels)
        time = self._frame_position(frame, rate)
        if self._clock is not None and abs(time - self._clock) <= _TOLERANCE * rate:
            time = self._clock
        stop = self._clock = time + samples.shape[1] // width
        if self._position is None:
            # Silence before the first sample: MP4 would round a later start to milliseconds.
            self._position = round(self._start * rate)
        if self._end is not None:
            stop = min(stop, round(self._end * rate))
        if min(time, stop) > self._position:
            yield from self._silence(samples, width, min(time, stop) - self._position)
        first = max(self._position - time, 0)
        if stop - time > first:
            yield from self._encode(samples[:, first * width : (stop - time) * width], width)

    def _frame_position(self, frame: Any, rate: int) -> int:
        if frame.pts is None:
            return round(self._start * rate) if self._clock is None else self._clock
        base = fraction(ratio(frame.time_base, (1, rate)))
        ticks: int = round((int(frame.pts) * base - self._offset) * rate)
        return ticks

    def _silence(self, like: Samples, width: int, length: int) -> Iterator[Packet]:
        """Encode ``length`` samples of silence, at most one second at a time."""
        assert self._kind is not None
        zero = 128 if self._kind[0].startswith("u8") else 0
        while length > 0:
            part = min(length, self._kind[2])
            yield from self._encode(np.full((len(like), part * width), zero, like.dtype), width)
            length -= part

    def _encode(self, samples: Samples, width: int) -> Iterator[Packet]:
        """Encode samples as PyAV arranges them.

        Args:
            samples: shape ``(channels, length)`` for planar formats, else
                ``(1, length * channels)``.
            width: columns per sample: 1, or the number of channels.
        """
        assert self._kind is not None and self._position is not None
        kind, layout, rate = self._kind
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format=kind, layout=layout
        )
        frame.sample_rate, frame.pts = rate, self._position
        frame.time_base = Fraction(1, rate)
        self._position += samples.shape[1] // width
        yield from self._output.encode(cast(Any, frame))


def _context(stream: Stream) -> Any:
    return stream.codec_context


def _layout(layout: Any) -> str:
    """The layout's name, or that of the usual layout where a stream only counts its channels."""
    name = str(layout.name)
    return _LAYOUTS.get(layout.nb_channels, name) if name.endswith("channels") else name


def _is_deep(context: Any) -> bool:
    """Whether the samples of a decoder have more than 16 bits.

    Decoders of lossy codecs give floating-point samples, whose noise is above 16 bits.
    """
    kind = context.format.name.removesuffix("p")
    return kind in ("s32", "s64") or (
        kind in ("flt", "dbl") and context.name.startswith(_FLOAT_SOURCES)
    )
