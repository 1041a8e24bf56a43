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
from ..hints.depth import Estimate, depth_hint, sampled, scale_of
from ..hints.make import make_hint
from ..hints.steady import HintFilter, window_of
from ..jobs.companion import hints_use
from ..jobs.plan import Shot
from ..jobs.spec import Job
from ..media.companion.reader import CompanionReader, open_companion
from ..media.resize import Resize
from ..threads import CpuPool
from .depth import job_estimator
from .worker_cache import ShotScales


@dataclasses.dataclass(frozen=True, eq=False)
class VideoHints:
    """Hints for the control nets of one job; without nets, frames stay as they are.

    Attributes:
        kinds: of the nets whose hints are made of the frame.
        estimators: of depth, by the place in ``kinds``.
        scales: of depth, by that place and the first frame of the shot; see :meth:`prepare`.
        companions: readers of the others' hints, by the place of their net.
        shots: of the video; hints are filtered within one.
        radius: of the filter, in frames.
        resize: of the source.
        cpu_pool: threads of the filter.
    """

    kinds: tuple[str, ...]
    estimators: Mapping[int, Estimate]
    scales: ShotScales
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
        scales: ShotScales,
    ) -> Iterator[VideoHints]:
        """Open the companions of a job.

        Args:
            scales: those that are known; more are added.

        Raises:
            SourceError: one cannot be read, or has changed since the job was planned.
            OutsideRoots: one may not be read here.
            ModelError: a depth estimator cannot be loaded.
        """
        nets = job.recipe.control
        made = [n for n, net in enumerate(nets) if net.hints is None]
        kinds = tuple(nets[n].kind for n in made)
        estimators = {
            place: estimate
            for place, n in enumerate(made)
            if (estimate := job_estimator(job, n, allow)) is not None
        }
        with ExitStack() as stack:
            readers = {
                n: stack.enter_context(open_companion(companion, allow))
                for n in range(len(nets))
                if (companion := job.companion(hints_use(n))) is not None
            }
            radius = job.recipe.temporal_filter if kinds else 0
            yield cls(kinds, estimators, scales, readers, shots, radius, resize, cpu_pool)

    def window(self, numbers: range) -> range:
        """The frames that must be read for the hints of consecutive frames of one shot."""
        return window_of(numbers, self._shot(numbers.start), self.radius) if self.kinds else numbers

    def prepare(
        self, numbers: Sequence[int], read: Callable[[Sequence[int]], Sequence[Frame]]
    ) -> None:
        """Find the scales of depth of the shots of ``numbers``; before any of their frames.

        Args:
            read: resized frames, in ascending order.
        """
        for shot in dict.fromkeys(map(self._shot, numbers) if self.estimators else ()):
            missing = [n for n in self.estimators if (n, shot.start) not in self.scales]
            frames = read(sampled(shot)) if missing else ()
            for place in missing:
                maps = [self.estimators[place](frame.image) for frame in frames]
                self.scales[place, shot.start] = scale_of(maps)

    def made(self, frame: Frame) -> Frame:
        """A resized frame with its hints before the filter; any thread may call this."""
        if not self.kinds:
            return frame
        hints = tuple(self._hint(place, frame) for place in range(len(self.kinds)))
        return dataclasses.replace(frame, hints=hints)

    def _hint(self, place: int, frame: Frame) -> Image:
        estimate = self.estimators.get(place)
        if estimate is None:
            return make_hint(self.kinds[place], frame.image)
        scale = self.scales[place, self._shot(frame.index).start]
        return depth_hint(estimate(frame.image), scale, frame.image)

    def finished(self, made: Iterator[Frame], numbers: range) -> Iterator[Frame]:
        """Frames ``numbers`` with all their hints.

        Args:
            made: those of :meth:`window`, in order.
        """
        steady = HintFilter(self.radius, self.cpu_pool).apply(made, numbers)
        own = {
            n: reader.images(numbers.start, numbers.stop) for n, reader in self.companions.items()
        }
        for frame in steady:
            yield self._joined(frame, {n: next(images) for n, images in own.items()})

    def finished_at(self, made: Mapping[int, Frame], numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order, with all their hints.

        Args:
            made: those of :meth:`window` of each number.
        """
        own = {n: reader.images_at(numbers) for n, reader in self.companions.items()}
        frames = []
        for number in numbers:
            only = range(number, number + 1)
            around = (made[n] for n in self.window(only))
            (frame,) = HintFilter(self.radius, self.cpu_pool).apply(around, only)
            frames.append(self._joined(frame, {n: next(images) for n, images in own.items()}))
        return frames

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
