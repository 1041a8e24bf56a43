"""Read a video once from end to end, and collect its timestamps."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from .. import limits
from .captions import has_captions, packet_has_captions
from .color import Tags, check_matrix, frame_tags
from .fields import FieldCounter
from .pyav import MEDIA_ERRORS, fraction, ratio
from .scenes import CutFinder
from .streams import decode_packet, flush_decoder
from .types import InputContainer, Packet, Stream, VideoFrame

#: Called with a stage, frames done and frames expected (0 if unknown).
Progress = Callable[[str, int, int], None]

_FRAMES_PER_REPORT = 25
_PACKETS_PER_REPORT = 1000


class Scan:
    """Timestamps and damage found in one pass over a file.

    Args:
        stream: the video stream to edit.
        time_base: seconds per tick of its timestamps.
        path: of the file, for errors.

    Attributes:
        listed: presentation times of the stream's packets, in file order, in ticks.
        decoded: presentation times of the frames that decode, in decoding order, in ticks; the
            same object as ``listed`` where nothing was decoded.
        last_listed: the latest time in ``listed``, in ticks.
        last_duration: ticks for which its packet lasts; 0 if unknown.
        last_is_decoded_last: whether its packet is the last one in the file.
        other_end: seconds at which the last packet of any other stream ends.
        sound_start: seconds at which the first packet with sound begins; None without sound.
        untimed: packets and frames without a timestamp.
        damaged: frames that decode with errors.
        sizes: every ``(width, height)`` of decoded frames.
        fields: interlaced frames among the decoded ones.
        colors: the first time at which frames have these colour tags, in ticks.
        has_captions: whether a frame or packet has closed captions.
    """

    def __init__(self, stream: Stream, time_base: Fraction, path: Path) -> None:
        self._index = stream.index
        self._path = path
        self._max_frames = limits.FRAMES.value()
        self.time_base = time_base
        self.listed = array("q")
        self.decoded = array("q")
        self.last_listed = 0
        self.last_duration = 0
        self.last_is_decoded_last = False
        self.other_end = 0.0
        self.sound_start: Fraction | None = None
        self.untimed = 0
        self.damaged = 0
        self.sizes: set[tuple[int, int]] = set()
        self.fields = FieldCounter()
        self.colors: dict[Tags, int] = {}
        self.has_captions = False
        self._codec = stream.codec_context.name

    @property
    def was_decoded(self) -> bool:
        """Whether all frames were decoded, and not only listed."""
        return self.decoded is not self.listed

    def list_packets(self, container: InputContainer, expected: int, progress: Progress) -> None:
        """List the packets without decoding them; ``decoded`` becomes ``listed``.

        Raises:
            SourceError: the stream has more frames than ``limits.FRAMES``.
        """
        for _ in self._packets(container):
            if len(self.listed) % _PACKETS_PER_REPORT == 0:
                progress("reading frames", len(self.listed), expected)
        self.decoded = self.listed

    def decode(
        self, container: InputContainer, stream: Stream, expected: int, progress: Progress
    ) -> tuple[int, ...]:
        """Decode every frame; returns the first frames of new shots, in decoding order.

        Raises:
            SourceError: the stream has more frames than ``limits.FRAMES``, or a colour matrix
                without a conversion.
        """
        finder = CutFinder()

        def take(frames: list[VideoFrame]) -> None:
            for frame in frames:
                if frame.pts is None:
                    self.untimed += 1
                    continue
                self.damaged += bool(frame.is_corrupt)
                self.sizes.add((frame.width, frame.height))
                self.fields.feed(frame)
                self._take_colors(frame, int(frame.pts))
                self.has_captions = self.has_captions or has_captions(frame)
                self.decoded.append(int(frame.pts))
                finder.feed(frame)
                if len(self.decoded) % _FRAMES_PER_REPORT == 0:
                    progress("finding scene cuts", len(self.decoded), expected)

        for packet in self._packets(container):
            take(decode_packet(packet))
        take(flush_decoder(stream))
        return tuple(finder.cuts)

    def _take_colors(self, frame: VideoFrame, pts: int) -> None:
        tags = frame_tags(frame, self._codec)
        if tags not in self.colors:
            check_matrix(tags.matrix, self._path)  # before FFmpeg refuses to convert the frame
            self.colors[tags] = pts

    def _packets(self, container: InputContainer) -> Iterator[Packet]:
        """Packets of the video stream, then an empty one that flushes the decoder."""
        try:
            for packet in container.demux():
                # Not packet.stream_index, which is 0 in every flushing packet.
                if packet.stream.index != self._index:
                    self._pass(packet)
                    continue
                if packet.size and not packet.is_discard:
                    self._count(packet)
                yield packet
        except MEDIA_ERRORS:  # truncated; the packets so far are good
            return

    def _count(self, packet: Packet) -> None:
        if len(self.listed) + self.untimed >= self._max_frames:
            limits.FRAMES.check(self._max_frames + 1, self._path, "it has at least")
        if packet.pts is None:
            self.untimed += 1
            return
        self.has_captions = self.has_captions or packet_has_captions(packet, self._codec)
        pts = int(packet.pts)
        self.last_is_decoded_last = not self.listed or pts >= self.last_listed
        if self.last_is_decoded_last:
            self.last_listed, self.last_duration = pts, int(packet.duration or 0)
        self.listed.append(pts)

    def _pass(self, packet: Packet) -> None:
        """Take the times of a packet of another stream."""
        if not packet.size or packet.pts is None or not packet.time_base:
            return
        end = (packet.pts + (packet.duration or 0)) * float(packet.time_base)
        self.other_end = max(self.other_end, end)
        if packet.stream.type == "audio" and not packet.is_discard:
            start = packet.pts * fraction(ratio(packet.time_base))
            if self.sound_start is None or start < self.sound_start:
                self.sound_start = start


def make_rising(times: Sequence[int]) -> array[int]:
    """Replace each time that does not exceed its predecessor by predecessor + median step.

    >>> make_rising([0, 40, 40, 120]).tolist()
    [0, 40, 80, 120]
    """
    if len(times) < 2:
        return array("q", times)
    step = max(1, int(np.median(np.diff(times))))
    rising = array("q", times[:1])
    for time in times[1:]:
        rising.append(time if time > rising[-1] else rising[-1] + step)
    return rising
