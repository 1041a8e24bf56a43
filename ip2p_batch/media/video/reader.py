"""Reading frames of a video: any range, exactly the planned ones, upright, as RGB."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ...errors import SourceError
from ...frame import Frame, Image
from ...jobs.spec import VideoFacts
from .color import to_rgb
from .probe import UNSEEKABLE, decode, limit_pixels, picture_stream
from .pyav import MEDIA_ERRORS, reading
from .timestamps import Times

#: How often an earlier keyframe is tried before the file is decoded from its beginning.
_EARLIER_KEYFRAMES = 3
#: Frames that are decoded in passing rather than sought past: keyframes are often 250 apart, so
#: that a seek decodes more than a hundred.
_NEAR = 60


class VideoReader:
    """Reads frames by their number in the table made at planning time.

    A frame is found by its presentation time alone, and only an exact match counts: "the first
    frame from there on" is wrong wherever a seek lands on an open group of pictures, whose
    leading frames the decoder drops.

    Args:
        path: the video.
        facts: of its picture stream.
        pts: presentation times of all frames, sorted.

    Attributes:
        warnings: one line for each frame that did not decode and was stood in for.
    """

    def __init__(self, path: Path, facts: VideoFacts, pts: Times) -> None:
        self._path = path
        self._facts = facts
        self._pts = pts
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._running = _nothing()
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            SourceError: it cannot be opened, or holds no picture stream.
        """
        self._reopen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def frame(self, number: int) -> Frame:
        """Frame ``number``; see :meth:`frames`."""
        return next(self.frames(number, number + 1))

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames ``[start, stop)``, each once, in order.

        Where one does not decode, the one before it stands in (the next one, at the beginning),
        so that the length and the sound stay right; ``warnings`` says so.

        Yields:
            frames of upright RGB pixels, in stored resolution.

        Raises:
            SourceError: nothing decodes from there on.
        """
        return self._read(range(start, stop))

    def frames_at(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """Single frames, in ascending order; as :meth:`frame` of each, with fewer seeks."""
        at = 0
        for n in range(1, len(numbers) + 1):
            if n == len(numbers) or numbers[n] - numbers[n - 1] > _NEAR:
                yield from self._read(numbers[at:n])
                at = n

    def _read(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """Frames ``numbers``, ascending, in one pass."""
        decoded = self._from(int(self._pts[numbers[0]])) if numbers else _nothing()
        ahead: Any = next(decoded, None)
        last: Image | None = None
        before = -2
        for number in numbers:
            target = int(self._pts[number])
            alone = number != before + 1  # so that what was yielded before it is no neighbour
            last, before = (None if alone else last), number
            passed, ahead = _up_to(target, ahead, decoded)
            if alone and number != numbers[0] and not _is(ahead, target):
                # Found as if it were the first, so that what stands in for it is the same, too.
                decoded = self._from(target)
                passed, ahead = _up_to(target, next(decoded, None), decoded)
            if ahead is not None and ahead.pts == target:
                last = self._image(ahead)
                yield Frame(number, target, last)
                # Decode the next one only when somebody wants it.
                ahead = next(decoded, None) if number != numbers[-1] else None
                continue
            if last is None and passed is not None:
                last = self._image(passed)
            if last is None and ahead is not None:
                last = self._image(ahead)
            if last is None:
                raise SourceError(
                    f"{self._path}: frame {number} does not decode, and none after it.",
                    path=self._path,
                    hint="The file is damaged; edit the part before it with --end.",
                    survives="Finished chunks are kept.",
                )
            self.warnings.append(f"Frame {number} does not decode; a neighbour stands in for it.")
            yield Frame(number, target, last)

    def _image(self, frame: Any) -> Image:
        facts = self._facts
        # A stream may change its size on the way; the output cannot.
        image = to_rgb(frame, facts.color, (facts.width, facts.height))
        if facts.rotation:
            image = np.ascontiguousarray(np.rot90(image, -(facts.rotation // 90)))
        return image

    def _from(self, target: int) -> Iterator[Any]:
        """Decoded frames, the first of which is at or before ``target`` wherever that can be."""
        seek_to = target
        for _ in range(0 if self._facts.container in UNSEEKABLE else 1 + _EARLIER_KEYFRAMES):
            frames = self._seek(seek_to)
            kept, first = self._sync(frames, target)
            if kept and kept[-1].pts <= target and not kept[-1].is_corrupt:
                yield kept[-1]
                yield from frames
                return
            seek_to = min(seek_to, seek_to if first is None else first) - 1
            if seek_to < int(self._pts[0]):
                break
        self._reopen()
        frames = self._decoded()
        kept, _ = self._sync(frames, target)
        yield from kept
        yield from frames

    def _sync(self, frames: Iterator[Any], target: int) -> tuple[list[Any], int | None]:
        """Read up to ``target``: the last frame before it and it itself, or the first after it."""
        before: Any = None
        first: int | None = None
        for frame in frames:
            first = frame.pts if first is None else first
            if frame.pts < target:
                before = frame
                continue
            if frame.pts == target or before is None:
                return [frame], first
            # A hole: somebody may want the frame on either side of it.
            return [before, frame], first
        return ([before] if before is not None else []), first

    def _seek(self, target: int) -> Iterator[Any]:
        self._running.close()
        try:
            self._container.seek(target, stream=self._stream, backward=True)
        except MEDIA_ERRORS:  # no index: from the beginning
            self._reopen()
        return self._decoded()

    def _decoded(self) -> Iterator[Any]:
        self._running = self._decode()
        return self._by_count() if self._facts.container in UNSEEKABLE else self._running

    def _by_count(self) -> Iterator[Any]:
        for frame, time in zip(self._running, self._pts, strict=False):
            frame.pts = int(time)
            yield frame

    def _decode(self) -> Generator[Any, None, None]:
        try:
            for packet in self._container.demux(self._stream):
                yield from (f for f in decode(packet) if f.pts is not None)
        except MEDIA_ERRORS:
            yield from (f for f in decode(None, self._stream) if f.pts is not None)

    def _reopen(self) -> None:
        self._close()
        self._container = self._stack.enter_context(reading(self._path))
        self._stream = picture_stream(self._container, self._path)
        limit_pixels(self._stream, self._path, self._facts.width * self._facts.height)
        self._stream.thread_type = "AUTO"

    def _close(self) -> None:
        # In this order: a demuxer that outlives its container waits for threads that are gone.
        self._running.close()
        self._stack.close()


def _up_to(target: int, ahead: Any, decoded: Iterator[Any]) -> tuple[Any, Any]:
    """The last frame before ``target`` that is decoded in passing, and the first one from there."""
    passed: Any = None
    while ahead is not None and ahead.pts < target:
        passed, ahead = ahead, next(decoded, None)
    return passed, ahead


def _is(frame: Any, target: int) -> bool:
    """Whether a decoded frame is the one of that time, and whole."""
    return frame is not None and frame.pts == target and not frame.is_corrupt


def _nothing() -> Generator[Any, None, None]:
    yield from ()
