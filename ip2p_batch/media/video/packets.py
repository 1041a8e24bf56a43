"""Select packets of copied streams by time, move their times, and merge them with video packets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from .pyav import MEDIA_ERRORS, fraction, ratio
from .sample_times import SampleClock, pcm_after
from .streams import is_cover
from .types import InputContainer, Packet, Stream

#: Time base of packets that name none: milliseconds.
_DEFAULT_TIME_BASE = (1, 1000)
#: Seconds by which a clock that begins again goes back; less is damage.
RESTART = Fraction(1, 2)
#: Codecs whose start Matroska cuts by a ``CodecDelay``; their first packets have negative times.
_WITH_CODEC_DELAY = {"opus", "libopus"}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The edited part of the source, in seconds of its clock; ``stop`` None: to its end."""

    start: Fraction
    stop: Fraction | None


class Converter(Protocol):
    """Turns the packets of a stream of the source into packets of the output, with final times."""

    def push(self, packet: Packet) -> Iterator[Packet]: ...
    def flush(self) -> Iterator[Packet]: ...


class ContinuousClock:
    """Lets the times of a stream continue where they begin again, as in joined recordings."""

    def __init__(self) -> None:
        self._shift = Fraction(0)
        self._expected: Fraction | None = None

    def place(self, packet: Packet) -> None:
        """Move the time of the next packet of the stream."""
        base = fraction(ratio(packet.time_base, _DEFAULT_TIME_BASE))
        if packet.pts is None:
            return
        own = packet.pts * base
        expected = self._expected
        if expected is not None and abs(own - expected) < RESTART:
            self._shift = Fraction(0)  # a single wrong time
        elif expected is not None and own + self._shift < expected - RESTART:
            self._shift = expected - own
        ticks = round(self._shift / base)
        packet.pts += ticks
        if packet.dts is not None:
            packet.dts += ticks
        self._expected = (packet.pts + (packet.duration or 0)) * base


@dataclass(frozen=True, slots=True)
class Route:
    """Where the packets of a stream of the source go.

    Attributes:
        output: stream of the output.
        converter: None copies the packets.
        continuous: corrects the times of packets of joined recordings.
        clock: sets the times of packets before they are copied; None keeps those of the source.
    """

    output: Stream
    converter: Converter | None = None
    clock: SampleClock | None = None
    continuous: ContinuousClock | None = None


def copied_packets(
    source: InputContainer,
    routes: Mapping[int, Route],
    offset: Fraction,
    kept: TimeRange | None,
    *,
    preroll: bool,
) -> Iterator[tuple[Packet, Stream]]:
    """Read the packets of all copied and converted streams, with their times moved.

    Args:
        routes: by the index of the source's stream.
        offset: seconds to subtract from every time.
        kept: leave out packets that neither sound nor show in this range; None keeps all.
        preroll: keep sound from before the first frame: a decoder needs one packet of it to
            start without a click. MP4 hides it with an edit list; Matroska would delay the
            video instead.

    Yields:
        packets and their streams of the output, in the source's order.
    """
    streams = [stream for stream in source.streams if stream.index in routes]
    previous: dict[int, Packet] = {}
    for packet in _demux(source, streams):
        stream = packet.stream
        route = routes[stream.index]
        if route.continuous is not None:
            route.continuous.place(packet)
        if route.converter is not None:
            for converted in route.converter.push(packet):
                if _is_writable(converted, route.output, preroll=preroll):
                    yield converted, route.output
            continue
        if route.clock is not None:
            route.clock.place(packet)
        for selected in _select(packet, stream, kept, previous, preroll=preroll):
            _move(selected, offset, stream)
            if _is_writable(selected, stream, preroll=preroll):
                yield selected, route.output
    for route in routes.values():
        for converted in route.converter.flush() if route.converter is not None else ():
            if _is_writable(converted, route.output, preroll=preroll):
                yield converted, route.output


def _demux(source: InputContainer, streams: list[Stream]) -> Iterator[Packet]:
    """Packets with content of some streams, up to where the file is damaged."""
    if not streams:
        return
    try:
        yield from (packet for packet in source.demux(streams) if packet.size)
    except MEDIA_ERRORS:
        return  # the source is truncated, as a note of its plan says


def _is_writable(packet: Packet, stream: Stream, *, preroll: bool) -> bool:
    """Whether the container can hold a packet at its time, see :func:`copied_packets`."""
    delayed = stream.codec_context.name in _WITH_CODEC_DELAY
    return preroll or delayed or _start(packet) >= 0


def merge_by_time(
    video_packets: Iterator[Packet], video: Stream, others: Iterator[tuple[Packet, Stream]]
) -> Iterator[tuple[Packet, Stream]]:
    """Merge video packets and copied packets by time, so that the muxer buffers few of them."""
    packet, other = next(video_packets, None), next(others, None)
    while packet is not None or other is not None:
        if packet is not None and (
            other is None or _decoding_time(packet) <= _decoding_time(other[0])
        ):
            yield packet, video
            packet = next(video_packets, None)
        elif other is not None:
            yield other
            other = next(others, None)


def _select(
    packet: Packet,
    stream: Stream,
    kept: TimeRange | None,
    previous: dict[int, Packet],
    *,
    preroll: bool,
) -> Iterator[Packet]:
    """Yield ``packet`` if it lies in the range, after the stream's last packet before the range.

    Args:
        previous: last packet before the range by stream index; updated.
    """
    if kept is None or (stream.type == "video" and is_cover(stream)):
        yield packet
        return
    base = fraction(ratio(packet.time_base, _DEFAULT_TIME_BASE))
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None:
        return
    start = time * base
    end = start + max(int(packet.duration or 0), 1) * base
    if kept.stop is not None and start >= kept.stop:
        return
    if stream.type == "subtitle":
        if end > kept.start:
            if start < kept.start:  # on screen when the range begins
                packet.pts = packet.dts = round(kept.start / base)
                packet.duration = max(1, round((end - kept.start) / base))
            yield packet
        return
    if start < kept.start < end and not preroll and (rest := pcm_after(packet, stream, kept.start)):
        yield rest
        return
    if end <= kept.start or (start < kept.start and not preroll):
        previous[stream.index] = packet
        return
    before = previous.pop(stream.index, None)
    if before is not None and preroll:
        yield before
    yield packet


def _move(packet: Packet, offset: Fraction, stream: Stream) -> None:
    """Subtract ``offset`` seconds, rounded to ticks of the packet's time base."""
    base = ratio(packet.time_base, ratio(stream.time_base, _DEFAULT_TIME_BASE))
    ticks = round(offset / fraction(base))
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks


def _start(packet: Packet) -> int:
    """Time at which a packet begins to sound or show, in its own ticks."""
    return int(packet.pts if packet.pts is not None else packet.dts or 0)


def _decoding_time(packet: Packet) -> Fraction:
    """Decoding time in seconds; the presentation time where none is known."""
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * fraction(ratio(packet.time_base, _DEFAULT_TIME_BASE))
