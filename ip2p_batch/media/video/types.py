"""The part of PyAV that this package uses, as protocols.

PyAV's own stubs do not fit: they promise a ``Fraction`` where PyAV 19 gives an ``AVRational``, and
one class per kind of stream where the code here handles all kinds alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from ...frame import Image


class Rational(Protocol):
    """A ``Fraction`` in PyAV 18, an ``AVRational`` in PyAV 19."""

    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int: ...
    def __float__(self) -> float: ...


class Component(Protocol):
    """One channel of a pixel format."""

    bits: int
    is_alpha: bool


class PixelFormat(Protocol):
    name: str
    is_rgb: bool
    components: Sequence[Component]


class SideData(Protocol):
    """Facts about a frame by ``av.sidedata.sidedata.Type``; each is a buffer."""

    def get(self, key: Any) -> Any: ...


class VideoFrame(Protocol):
    """``av.VideoFrame``. ``pts`` is in ticks of ``time_base``; colour values are H.273 codes."""

    pts: int | None
    dts: int | None
    time_base: Rational | None
    width: int
    height: int
    format: PixelFormat
    is_corrupt: bool
    interlaced_frame: bool
    pict_type: int
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    side_data: SideData
    #: Each has ``width`` and ``height`` in samples and ``line_size`` in bytes, and is a buffer.
    planes: Sequence[Any]

    def reformat(
        self, width: int = ..., height: int = ..., format: str = ..., **options: Any
    ) -> VideoFrame: ...
    def to_ndarray(self) -> Image: ...


class CodecContext(Protocol):
    name: str
    width: int
    height: int
    pix_fmt: str
    extradata: bytes | None
    options: dict[str, str]
    codec_tag: str
    time_base: Rational
    framerate: Rational
    sample_aspect_ratio: Rational
    thread_count: int
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    field_order: int
    flags: int

    thread_type: str

    def open(self) -> None: ...
    def decode(self, packet: Packet | None) -> Sequence[VideoFrame]: ...


class Disposition(Protocol):
    """``av.stream.Disposition``: a set of flags."""

    attached_pic: int
    default: int
    forced: int
    timed_thumbnails: int

    def __and__(self, other: int) -> int: ...


class Stream(Protocol):
    """A stream of any kind.

    Data streams and attachments have no ``codec_context``. Only attachments have ``mimetype`` and
    ``data``; only video streams have rates and sizes. Times are in ticks of ``time_base``.
    """

    index: int
    type: str
    name: str | None
    metadata: dict[str, str]
    disposition: Disposition
    codec_context: CodecContext
    thread_type: str
    time_base: Rational | None
    start_time: int | None
    duration: int | None
    frames: int
    average_rate: Rational | None
    guessed_rate: Rational | None
    sample_aspect_ratio: Rational | None
    width: int
    height: int
    pix_fmt: str
    mimetype: str | None
    data: bytes

    def decode(self, packet: None) -> Sequence[VideoFrame]: ...
    def encode(self, frame: VideoFrame | None) -> list[Packet]: ...


class Packet(Protocol):
    """``av.Packet``. ``pts``, ``dts`` and ``duration`` are in ticks of ``time_base``."""

    stream: Stream
    pts: int | None
    dts: int | None
    duration: int | None
    time_base: Rational | None
    size: int
    is_discard: bool
    is_keyframe: bool

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def decode(self) -> Sequence[VideoFrame]: ...


class StreamList(Protocol):
    video: Sequence[Stream]
    audio: Sequence[Stream]
    subtitles: Sequence[Stream]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Stream: ...
    def __iter__(self) -> Iterator[Stream]: ...


class ContainerFormat(Protocol):
    name: str


class InputContainer(Protocol):
    """A file open for reading. ``start_time`` and ``duration`` are in microseconds."""

    name: str
    format: ContainerFormat
    streams: StreamList
    metadata: dict[str, str]
    start_time: int | None
    duration: int | None

    def chapters(self) -> Sequence[Mapping[str, Any]]: ...
    def decode(self, *, video: int) -> Iterator[VideoFrame]: ...
    def demux(self, *streams: Stream | Sequence[Stream]) -> Iterator[Packet]: ...
    def seek(self, offset: int, *, stream: Stream, backward: bool) -> None: ...


class OutputContainer(Protocol):
    """A file open for writing."""

    format: ContainerFormat
    metadata: dict[str, str]

    def add_stream(
        self,
        codec_name: str,
        *,
        rate: Fraction | int | None = None,
        options: dict[str, str] | None = None,
    ) -> Stream: ...
    def add_stream_from_template(
        self, template: Stream, *, opaque: bool | None = None
    ) -> Stream: ...
    def add_attachment(self, name: str, mimetype: str, data: bytes) -> Stream: ...
    def set_chapters(self, chapters: Sequence[Mapping[str, Any]]) -> None: ...
    def mux(self, packets: Packet | Sequence[Packet]) -> None: ...
