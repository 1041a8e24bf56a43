"""Find frames of a video while it is decoded, by presentation time, decoding time or place."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from ...jobs.video_facts import VideoFacts
from .timestamps import Times
from .types import Packet, VideoFrame

#: Largest MPEG-4 packet that says "no new frame" (ISO/IEC 14496-2, vop_coded 0), in bytes.
EMPTY_SIZE = 8
#: Codecs whose packets FFmpeg all takes for keyframes.
_WITHOUT_KEYFRAMES = {"h261", "h263"}
#: Bytes of packets that are kept while a keyframe is searched; above, decoding starts early.
_MAX_SKIPPED = 256 * 2**20


class FrameKeys:
    """Marks packets so that every decoded frame gets its time of the table.

    A decoder passes a packet's presentation time on to its frame. Where a file has none, the
    packet gets its decoding time or its place in the file instead.

    Args:
        facts: about the video stream.
        pts: presentation times of all frames, sorted.
        ids: decoding time or place of each frame; None if its time identifies it.
    """

    def __init__(self, facts: VideoFacts, pts: Times, ids: Times | None) -> None:
        key = facts.frame_key
        if (key == "pts") != (ids is None):
            raise ValueError("frames have ids exactly if they are not found by their time")
        self._key = key
        self._has_keyframes = facts.codec not in _WITHOUT_KEYFRAMES
        self._pts = pts
        self._ids = ids
        self._numbers = None if ids is None else np.argsort(ids, kind="stable")
        self._sorted = None if ids is None else np.asarray(ids)[self._numbers]

    @property
    def can_seek(self) -> bool:
        """Whether times of the file lead to a frame; otherwise it is read from its beginning."""
        return self._key != "order"

    def seek_target(self, time: int) -> int:
        """What to seek for the frame at or before ``time``: ticks, or a place in the file."""
        if self._ids is None:
            return time
        number = int(np.searchsorted(self._pts, time, side="right")) - 1
        return int(self._ids[max(0, number)])

    def marked(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """Give packets of the video stream, from the beginning or a seek on, their ids."""
        place = 0
        for packet in packets:
            if self._key == "dts":
                packet.pts = packet.dts
            elif self._key == "order" and packet.size:
                packet.pts = place
                place += 1
            yield packet

    def timed(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Give decoded frames their times; frames that the table does not have are left out."""
        for frame in frames:
            if frame.pts is None:
                continue
            if self._sorted is not None and self._numbers is not None:
                at = int(np.searchsorted(self._sorted, frame.pts))
                if at == len(self._sorted) or self._sorted[at] != frame.pts:
                    continue
                frame.pts = int(self._pts[self._numbers[at]])
            yield frame

    def after_seek(self, packets: Iterator[Packet], found: int) -> Iterator[Packet]:
        """Marked packets from which the frame of a :meth:`seek_target` can be decoded.

        Args:
            packets: marked, after the seek, or from the beginning if :attr:`can_seek` is false.
            found: the target.
        """
        if self._key == "pts" or not self._has_keyframes:
            return packets
        if self._key == "dts":  # indexes of AVI files mark other packets as keyframes, too
            return itertools.dropwhile(lambda packet: not _is_keyframe(packet), packets)
        return _from_keyframe(packets, found)


def _is_keyframe(packet: Packet) -> bool:
    return packet.is_keyframe and packet.size > EMPTY_SIZE


def _from_keyframe(packets: Iterator[Packet], place: int) -> Iterator[Packet]:
    """Skip packets that a decoder does not need for the frame at ``place``.

    Decoding starts one keyframe earlier than the last, because frames that follow a keyframe may
    refer to frames before it (open groups of pictures).

    Args:
        packets: marked with their places, from the beginning of the file.
    """
    groups: deque[list[Packet]] = deque([[]], maxlen=2)
    kept = 0
    for packet in packets:
        if _is_keyframe(packet):
            if len(groups) == groups.maxlen:
                kept -= sum(skipped.size for skipped in groups[0])
            groups.append([])
        groups[-1].append(packet)
        kept += packet.size
        if kept > _MAX_SKIPPED or (packet.size and packet.pts is not None and packet.pts >= place):
            break
    for group in groups:
        yield from group
    yield from packets
