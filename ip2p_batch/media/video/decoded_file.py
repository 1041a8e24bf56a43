"""Decode a video file from a seek on, or on from where the last read ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from ...jobs.video_facts import VideoFacts
from .alpha import alpha_decoder
from .animated_input import open_input
from .frame_keys import FrameKeys
from .frame_search import frames_around, is_intact, pts_of
from .pyav import MEDIA_ERRORS
from .streams import decode_packet, flush_decoder, limit_pixels, video_stream
from .types import InputContainer, Stream, VideoFrame

#: Most decoded frames that are kept, for reads that overlap, and most pixels of all of them.
_RECENT_FRAMES = 8
_RECENT_PIXELS = 40_000_000


class DecodedFile:
    """The video stream of a file, and its decoder.

    Frames come in the order of their times. Iterators share one decoder: a new one ends the others.
    Closing an iterator does not close the decoder, so that the next read can continue.

    Args:
        path: the video.
        facts: about its video stream.
        keys: what identifies its frames.
    """

    def __init__(self, path: Path, facts: VideoFacts, keys: FrameKeys) -> None:
        self._path = path
        self._facts = facts
        self._keys = keys
        self._stack = ExitStack()
        self._container: InputContainer
        self._stream: Stream
        self._decoder = _no_frames()
        self._recent: deque[VideoFrame] = deque(maxlen=_most_recent(facts))
        self._keyframes = 0  # that the decoder got

    def open(self) -> None:
        """Open the file, also again, at its beginning.

        Raises:
            SourceError: it cannot be opened, or has no video stream.
        """
        self.close()
        self._container = self._stack.enter_context(open_input(self._path))
        self._stream = video_stream(self._container, self._path, self._facts.stream)
        width, height = self._facts.decoded_size
        limit_pixels(self._stream, self._path, width * height)
        self._stream.thread_type = "AUTO"

    def close(self) -> None:
        """Close the file."""
        # In this order: a demuxer that outlives its container waits for threads that have ended.
        self._decoder.close()
        self._recent.clear()
        self._stack.close()

    def seek(self, target: int) -> Iterator[VideoFrame]:
        """Decode from the keyframe at or before a time on; from the beginning without an index.

        Args:
            target: in ticks.
        """
        self._decoder.close()
        found = self._keys.seek_target(target)
        if not self._keys.can_seek:
            self.open()
            return self._start(found)
        try:
            self._container.seek(found, stream=self._stream, backward=True)
        except MEDIA_ERRORS:  # the file has no index: decode from the beginning
            return self.restart()
        return self._start(found)

    def restart(self) -> Iterator[VideoFrame]:
        """Decode from the beginning of the file."""
        self.open()
        return self._start()

    def continued(self, target: int) -> Iterator[VideoFrame] | None:
        """Frames from the one at ``target`` on, without a seek; None if a seek must find it.

        Decoding on equals decoding after a seek while the decoder got no keyframe but its first:
        the seek would find that one.
        """
        if not self._recent or self._keyframes > 1:
            return None
        again = [frame for frame in self._recent if pts_of(frame) >= target]
        if not again:
            again = frames_around(target, self._decoder)[0][-1:]
        if not again or not is_intact(again[0], target) or self._keyframes > 1:
            return None
        return chain(again, _kept_open(self._decoder))

    def _start(self, found: int | None = None) -> Iterator[VideoFrame]:
        """Start the decoder at the beginning, or after a seek for ``found``."""
        self._recent.clear()
        self._keyframes = 0
        self._decoder = self._decode(found)
        return _kept_open(self._decoder)

    def _decode(self, found: int | None) -> Generator[VideoFrame, None, None]:
        decoder = alpha_decoder(self._stream) if self._facts.has_alpha else None
        packets = self._keys.marked(self._container.demux(self._stream))
        try:
            for packet in packets if found is None else self._keys.after_seek(packets, found):
                self._keyframes += packet.is_keyframe
                for frame in self._keys.timed(decode_packet(packet, decoder)):
                    self._recent.append(frame)
                    yield frame
        except MEDIA_ERRORS:
            yield from self._keys.timed(flush_decoder(self._stream, decoder))


def _most_recent(facts: VideoFacts) -> int:
    """How many decoded frames are kept."""
    width, height = facts.decoded_size
    return max(1, min(_RECENT_FRAMES, _RECENT_PIXELS // (width * height)))


def _kept_open(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The frames; ``frames`` stays open if the caller takes only some of them."""
    for frame in frames:  # noqa: UP028 - `yield from` would close it, too
        yield frame


def _no_frames() -> Generator[VideoFrame, None, None]:
    yield from ()
