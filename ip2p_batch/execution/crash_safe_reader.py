"""Read a video without the frames that crash the process that edits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from typing import Generic

from ..jobs.plan import Shot
from ..media.frames import FrameReader
from ..media.video.reader import AnyFrame
from ..media.video.timestamps import Times
from ..media.video.types import VideoFrame


class CrashSafeReader(Generic[AnyFrame]):
    """Reads frames like its reader, but replaces poisoned frames by a neighbour of their shot.

    This is the nearest frame before, or after if there is none before. It is the same for every
    chunk that reads the frame, whether to edit it or as a border or an anchor.
    """

    def __init__(
        self,
        reader: FrameReader[AnyFrame],
        pts: Times,
        poisoned: frozenset[int],
        shots: Sequence[Shot],
    ) -> None:
        self._reader = reader
        self._pts = pts
        self._poisoned = poisoned
        self._shots = shots
        self._warnings: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """The reader's own, and one line for each frame that was replaced."""
        return [*self._reader.warnings, *self._warnings]

    @property
    def captions(self) -> dict[int, VideoFrame]:
        """Closed captions by frame number, see :class:`VideoReader`."""
        return self._reader.captions

    def frame(self, number: int) -> AnyFrame:
        """Frame ``number``, with a neighbour's image if it is poisoned."""
        if number not in self._poisoned:
            return self._reader.frame(number)
        neighbour = self._neighbour(number)
        self._warnings.append(
            f"Frame {number} crashed or hung its worker repeatedly; frame {neighbour} replaces it."
        )
        frame = self._reader.frame(neighbour)
        return dataclasses.replace(frame, index=number, pts=int(self._pts[number]))

    def frames_at(self, numbers: Sequence[int]) -> list[AnyFrame]:
        """Single frames, in ascending order."""
        if self._poisoned.isdisjoint(numbers):
            return list(self._reader.frames_at(numbers))
        return [self.frame(number) for number in numbers]

    def frames(self, start: int, stop: int) -> Generator[AnyFrame, None, None]:
        """Frames ``[start, stop)``, each once, in order."""
        # Read first, since the reader is at one position at a time.
        replacements = {n: self.frame(n) for n in sorted(self._poisoned) if start <= n < stop}
        for frame in self._reader.frames(start, stop):
            yield replacements.get(frame.index, frame)

    def _neighbour(self, number: int) -> int:
        shot = next((s for s in self._shots if s.start <= number < s.stop), None)
        if shot is None:
            return number
        before = range(number - 1, shot.start - 1, -1)
        after = range(number + 1, shot.stop)
        return next((n for n in (*before, *after) if n not in self._poisoned), number)
