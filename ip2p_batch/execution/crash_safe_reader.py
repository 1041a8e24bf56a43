"""Reading a video without the frames that kill whoever edits them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..frame import Frame
from ..jobs.plan import Shot
from ..media.video.reader import VideoReader
from ..media.video.timestamps import Times


class CrashSafeReader:
    """Reads frames as its reader does, but for the deadly ones: a neighbour's picture stands in.

    Of the same shot, the one before where there is one: the same for every chunk that reads it,
    as a frame to edit, a border or an anchor.
    """

    def __init__(
        self, reader: VideoReader, pts: Times, poisoned: frozenset[int], shots: Sequence[Shot]
    ) -> None:
        self._reader = reader
        self._pts = pts
        self._deadly = poisoned
        self._shots = shots
        self._warnings: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """One line for each frame that was stood in for."""
        return [*self._reader.warnings, *self._warnings]

    def frame(self, number: int) -> Frame:
        """Frame ``number``, or what stands in for it."""
        if number not in self._deadly:
            return self._reader.frame(number)
        neighbour = self._neighbour(number)
        self._warnings.append(
            f"Frame {number} killed its worker or hung it, again and again;"
            f" frame {neighbour} stands in for it."
        )
        return Frame(number, int(self._pts[number]), self._reader.frame(neighbour).image)

    def frames_at(self, numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order."""
        if self._deadly.isdisjoint(numbers):
            return list(self._reader.frames_at(numbers))
        return [self.frame(number) for number in numbers]

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Frames ``[start, stop)``, each once, in order."""
        # First, for the reader is at one place at a time.
        instead = {n: self.frame(n) for n in sorted(self._deadly) if start <= n < stop}
        for frame in self._reader.frames(start, stop):
            yield instead.get(frame.index, frame)

    def _neighbour(self, number: int) -> int:
        shot = next((s for s in self._shots if s.start <= number < s.stop), None)
        if shot is None:
            return number
        before = range(number - 1, shot.start - 1, -1)
        after = range(number + 1, shot.stop)
        return next((n for n in (*before, *after) if n not in self._deadly), number)
