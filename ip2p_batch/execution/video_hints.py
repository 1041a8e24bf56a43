"""Hints of a video's frames: made and filtered along the motion, or read from companions.

A frame's hints depend on its neighbours within the shot and on nothing else, so borders, anchors
and the frames of every chunk get the same ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..frame import Frame, Image
from ..hints.kinds import make_hint
from ..hints.steady import HintFilter, window_of
from ..jobs.plan import Shot
from ..jobs.spec import Job
from ..media.companion.reader import CompanionReader, open_companion
from ..media.resize import Resize
from ..threads import CpuPool


@dataclasses.dataclass(frozen=True, eq=False)
class VideoHints:
    """Hints for the control nets of one job; without nets, frames stay as they are.

    Attributes:
        kinds: of the nets whose hints are made of the frame.
        companions: readers of the others' hints, by the place of their net.
        shots: of the video; hints are filtered within one.
        radius: of the filter, in frames.
        resize: of the source.
        cpu_pool: threads of the filter.
    """

    kinds: tuple[str, ...]
    companions: Mapping[int, CompanionReader]
    shots: Sequence[Shot]
    radius: int
    resize: Resize
    cpu_pool: CpuPool

    @classmethod
    @contextmanager
    def open(
        cls,
        job: Job,
        shots: Sequence[Shot],
        resize: Resize,
        cpu_pool: CpuPool,
        allow: Callable[[Path | str], Path],
    ) -> Iterator[VideoHints]:
        """Open the companions of a job.

        Raises:
            SourceError: one cannot be read, or has changed since the job was planned.
            OutsideRoots: one may not be read here.
        """
        nets = job.recipe.control
        kinds = tuple(net.kind for net in nets if net.hints is None)
        with ExitStack() as stack:
            readers = {
                n: stack.enter_context(open_companion(companion, allow))
                for n in range(len(nets))
                if (companion := job.companion(f"hints-{n}")) is not None
            }
            radius = job.recipe.temporal_filter if kinds else 0
            yield cls(kinds, readers, shots, radius, resize, cpu_pool)

    def window(self, numbers: range) -> range:
        """The frames that must be read for the hints of consecutive frames of one shot."""
        return window_of(numbers, self._shot(numbers.start), self.radius) if self.kinds else numbers

    def made(self, frame: Frame) -> Frame:
        """A resized frame with its hints before the filter; any thread may call this."""
        if not self.kinds:
            return frame
        hints = tuple(make_hint(kind, frame.image) for kind in self.kinds)
        return dataclasses.replace(frame, hints=hints)

    def finished(self, made: Iterator[Frame], numbers: range) -> Iterator[Frame]:
        """Frames ``numbers`` with all their hints.

        Args:
            made: those of :meth:`window`, in order.
        """
        steady = HintFilter(self.radius, self.cpu_pool).apply(made, numbers)
        own = {n: reader.images(numbers.start, numbers.stop) for n, reader in self._readers()}
        for frame in steady:
            yield self._joined(frame, {n: next(images) for n, images in own.items()})

    def finished_at(self, made: Mapping[int, Frame], numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order, with all their hints.

        Args:
            made: those of :meth:`window` of each number.
        """
        own = {n: reader.images_at(numbers) for n, reader in self._readers()}
        frames = []
        for number in numbers:
            only = range(number, number + 1)
            around = (made[n] for n in self.window(only))
            (frame,) = HintFilter(self.radius, self.cpu_pool).apply(around, only)
            frames.append(self._joined(frame, {n: next(images) for n, images in own.items()}))
        return frames

    def _readers(self) -> Iterator[tuple[int, CompanionReader]]:
        return iter(self.companions.items())

    def _joined(self, frame: Frame, own: Mapping[int, Image]) -> Frame:
        if not own:
            return frame
        made = iter(frame.hints)
        hints = tuple(
            self.resize.of_companion(own[n]).apply(own[n]) if n in own else next(made)
            for n in range(len(own) + len(frame.hints))
        )
        return dataclasses.replace(frame, hints=hints)

    def _shot(self, number: int) -> range:
        shot = next(shot for shot in self.shots if shot.start <= number < shot.stop)
        return range(shot.start, shot.stop)
