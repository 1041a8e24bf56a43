"""Read a video once from end to end, and collect its timestamps."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import limits
from .captions import has_captions, packet_has_captions
from .color import Tags, check_matrix, frame_tags
from .deinterlace import deinterlaced, film_frames
from .fields import FieldCounter
from .packets import RESTART
from .pyav import MEDIA_ERRORS, fraction, ratio
from .scenes import CutFinder
from .streams import decode_packet, flush_decoder
from .timestamps import Times
from .types import InputContainer, Packet, Stream, VideoFrame

#: Called with a stage, frames done and frames expected (0 if unknown).
Progress = Callable[[str, int, int], None]

#: A time that is missing.
NO_TIME = -(2**63)
_COLUMNS = 4
_FRAMES_PER_REPORT = 25
_PACKETS_PER_REPORT = 1000


class Scan:
    """Timestamps and damage found in one pass over a file.

    Args:
        stream: the video stream to edit.
        time_base: seconds per tick of its timestamps.
        path: of the file, for errors.

    Attributes:
        pts, dts: presentation and decoding time of each packet of the stream, in file order, in
            ticks, int64; ``NO_TIME`` where missing.
        sizes_of_packets: bytes of each packet, int64.
        kept: whether each packet has a frame to show; others are cut off by an edit list, bool.
        shown: number of the packet of each decoded frame, in the decoder's order.
        film: numbers in ``shown`` of the film frames of telecined video; None if all frames count.
        last_listed: the latest presentation time of a packet that is kept, in ticks.
        last_duration: ticks for which its packet lasts; 0 if unknown.
        last_is_decoded_last: whether its packet is the last one in the file.
        bytes: of all packets of the stream.
        other_end: seconds at which the last packet of any other stream ends.
        sound_goes_back: whether times of a stream with sound go back by more than ``RESTART``.
        sound_start: seconds at which the first packet with sound begins; None without sound.
        damaged: frames that decode with errors.
        sizes: every ``(width, height)`` of decoded frames.
        fields: interlaced frames among the decoded ones.
        colors: number of the first decoded frame with these colour tags, in the decoder's order.
        was_decoded: whether all frames were decoded, and not only listed.
        has_captions: whether a frame or packet has closed captions.
    """

    def __init__(self, stream: Stream, time_base: Fraction, path: Path) -> None:
        self._index = stream.index
        self._path = path
        self._max_frames = limits.FRAMES.value()
        self.time_base = time_base
        self._packet_facts = array("q")
        self.shown = array("q")
        self.film: Times | None = None
        self.last_listed = NO_TIME
        self.last_duration = 0
        self.last_is_decoded_last = False
        self.bytes = 0
        self.other_end = 0.0
        self.sound_goes_back = False
        self._sound_times: dict[int, Fraction] = {}
        self.sound_start: Fraction | None = None
        self.damaged = 0
        self.sizes: set[tuple[int, int]] = set()
        self.fields = FieldCounter()
        self.colors: dict[Tags, int] = {}
        self.has_captions = False
        self.was_decoded = False
        self._codec = stream.codec_context.name

    @property
    def pts(self) -> Times:
        return self._column(0)

    @property
    def dts(self) -> Times:
        return self._column(1)

    @property
    def sizes_of_packets(self) -> Times:
        return self._column(2)

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return self._column(3).astype(bool)

    def list_packets(self, container: InputContainer, expected: int, progress: Progress) -> None:
        """List the packets without decoding them.

        Raises:
            SourceError: the stream has more frames than ``limits.FRAMES``.
        """
        for count, _ in enumerate(self._packets(container)):
            if count % _PACKETS_PER_REPORT == 0:
                progress("reading frames", count, expected)

    def decode(
        self,
        container: InputContainer,
        stream: Stream,
        expected: int,
        progress: Progress,
        *,
        film: bool = False,
    ) -> tuple[int, ...]:
        """Decode every frame; returns the first frames of new shots, in the decoder's order.

        Args:
            film: find the film frames of telecined video, and shots among them only.

        Raises:
            SourceError: the stream has more frames than ``limits.FRAMES``, or a colour matrix
                without a conversion.
        """
        self.was_decoded = True
        finder, places = CutFinder(), array("q")
        frames = self._frames(container, stream)
        for frame in film_frames(deinterlaced(frames, "ivtc")) if film else frames:
            finder.feed(frame)
            if film and frame.pts is not None:
                places.append(int(frame.pts))
            if len(self.shown) % _FRAMES_PER_REPORT == 0:
                progress("finding scene cuts", len(self.shown), expected)
        if not film:
            return tuple(finder.cuts)
        numbers = {place: number for number, place in enumerate(self.shown)}
        self.film = np.asarray([numbers[place] for place in places], dtype=np.int64)
        return tuple(int(self.film[cut]) for cut in finder.cuts)

    def _frames(self, container: InputContainer, stream: Stream) -> Iterator[VideoFrame]:
        """Decode every frame, and take its facts. Its time is the number of its packet."""
        for packet in self._packets(container):
            if packet.size:  # a decoder passes this number on to the packet's frame
                packet.pts = len(self._packet_facts) // _COLUMNS - 1
            yield from self._take(decode_packet(packet))
        yield from self._take(flush_decoder(stream))

    def _take(self, frames: list[VideoFrame]) -> Iterator[VideoFrame]:
        for frame in frames:
            if frame.pts is None:  # of no packet
                continue
            self.damaged += bool(frame.is_corrupt)
            self.sizes.add((frame.width, frame.height))
            self.fields.feed(frame)
            self._take_colors(frame)
            self.has_captions = self.has_captions or has_captions(frame)
            self.shown.append(int(frame.pts))
            yield frame

    def _take_colors(self, frame: VideoFrame) -> None:
        tags = frame_tags(frame, self._codec)
        if tags not in self.colors:
            check_matrix(tags.matrix, self._path)  # before FFmpeg refuses to convert the frame
            self.colors[tags] = len(self.shown)

    def _column(self, number: int) -> Times:
        table = np.asarray(self._packet_facts, dtype=np.int64).reshape(-1, _COLUMNS)
        return np.ascontiguousarray(table[:, number])

    def _packets(self, container: InputContainer) -> Iterator[Packet]:
        """Packets of the video stream, then an empty one that flushes the decoder."""
        try:
            for packet in container.demux():
                # Not packet.stream_index, which is 0 in every flushing packet.
                if packet.stream.index != self._index:
                    self._pass(packet)
                    continue
                if packet.size:
                    self._count(packet)
                yield packet
        except MEDIA_ERRORS:  # truncated; the packets so far are good
            return

    def _count(self, packet: Packet) -> None:
        if len(self._packet_facts) >= self._max_frames * _COLUMNS:
            limits.FRAMES.check(self._max_frames + 1, self._path, "it has at least")
        pts = NO_TIME if packet.pts is None else int(packet.pts)
        dts = NO_TIME if packet.dts is None else int(packet.dts)
        self.bytes += packet.size
        self._packet_facts.extend((pts, dts, packet.size, not packet.is_discard))
        if packet.is_discard:
            return
        self.has_captions = self.has_captions or packet_has_captions(packet, self._codec)
        if packet.pts is None:
            return
        self.last_is_decoded_last = pts >= self.last_listed
        if self.last_is_decoded_last:
            self.last_listed, self.last_duration = pts, int(packet.duration or 0)

    def _pass(self, packet: Packet) -> None:
        """Take the times of a packet of another stream."""
        if not packet.size or packet.pts is None or not packet.time_base:
            return
        end = (packet.pts + (packet.duration or 0)) * float(packet.time_base)
        self.other_end = max(self.other_end, end)
        if packet.stream.type == "audio" and not packet.is_discard:
            start = packet.pts * fraction(ratio(packet.time_base))
            before = self._sound_times.get(packet.stream.index, start)
            self.sound_goes_back = self.sound_goes_back or start < before - RESTART
            self._sound_times[packet.stream.index] = start
            if self.sound_start is None or start < self.sound_start:
                self.sound_start = start
