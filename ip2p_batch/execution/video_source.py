"""The source of a video's chunk: its reader, and its frames resized for the edit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Literal

from ..frame import Frame, FullFrame, Mask
from ..jobs.companion import MASK
from ..jobs.video_facts import VideoFacts
from ..masks.make import MaskMaker
from ..media.alpha import weigh_visible
from ..media.frames import FrameReader, open_frames
from ..media.resize import Resize
from ..media.video import hdr
from ..media.video.result_format import kept_bits
from ..media.video.types import VideoFrame
from .chunk_run import ChunkRun
from .crash_safe_reader import CrashSafeReader
from .full_size import keeps_depth
from .masks import VideoMasks, at_edit_size, open_masks
from .video_hints import VideoHints

#: What a reader of a chunk reads: consecutive frames to edit, single ones, or those of results.
Purpose = Literal["frames", "single", "results"]


class SourceVideo:
    """The source of a chunk, resized for the edit, with masks, and hints for the control nets.

    Args:
        open_reader: called once for each purpose, when a frame is first needed for it. Consecutive
            and single frames have a reader each, since one only moves forward cheaply.
    """

    def __init__(
        self,
        facts: VideoFacts,
        open_reader: Callable[[Purpose], CrashSafeReader[FullFrame]],
        resize: Resize,
        hints: VideoHints,
        masks: VideoMasks,
    ) -> None:
        self._facts = facts
        self._open_reader = open_reader
        self._readers: dict[Purpose, CrashSafeReader[FullFrame]] = {}
        self.resize = resize
        self._hints = hints
        self._masks = masks

    @property
    def warnings(self) -> list[str]:
        """One line for each frame that was replaced by a neighbour."""
        order: tuple[Purpose, ...] = ("single", "frames")
        readers = [self._readers[purpose] for purpose in order if purpose in self._readers]
        return list(dict.fromkeys(line for reader in readers for line in reader.warnings))

    @property
    def captions(self) -> dict[int, VideoFrame]:
        """Closed captions of the frames that :meth:`frames` has read so far."""
        return self._reader("frames").captions

    def frames(self, start: int, stop: int) -> Generator[Frame, None, None]:
        """Consecutive frames of one shot, in order; any thread may iterate them."""
        return self._frames(self._reader("frames"), range(start, stop))

    def _frames(
        self, reader: CrashSafeReader[FullFrame], numbers: range
    ) -> Generator[Frame, None, None]:
        self._hints.prepare([numbers.start], self._resized_at)
        window = self._hints.window(numbers)
        with (
            closing(reader.frames(window.start, window.stop)) as frames,
            closing(
                self._hints.cpu_pool.map(
                    lambda pair: self._made(*pair),
                    zip(frames, self._masks.drawn(window.start, window.stop), strict=False),
                )
            ) as made,
        ):
            yield from self._hints.finished(made, numbers)

    def frames_at(self, numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order."""
        self._hints.prepare(numbers, self._resized_at)
        windows = [self._hints.window(range(n, n + 1)) for n in numbers]
        needed = sorted({number for window in windows for number in window})
        drawn = self._masks.drawn_at(needed)
        frames = zip(self._reader("single").frames_at(needed), drawn, strict=False)
        made = {frame.index: self._made(frame, own) for frame, own in frames}
        return self._hints.finished_at(made, numbers)

    def _reader(self, purpose: Purpose) -> CrashSafeReader[FullFrame]:
        if purpose not in self._readers:
            self._readers[purpose] = self._open_reader(purpose)
        return self._readers[purpose]

    def _made(self, frame: FullFrame, drawn: Mask | None) -> Frame:
        mask = at_edit_size(self._masks.of(frame, drawn), self.resize)
        return self._hints.made(dataclasses.replace(self._resized(frame), mask=mask))

    def _resized_at(self, numbers: Sequence[int]) -> list[Frame]:
        return [self._resized(frame) for frame in self._reader("single").frames_at(numbers)]

    def _resized(self, frame: FullFrame) -> Frame:
        image = frame.image
        if frame.alpha is not None:
            image = weigh_visible(image, frame.alpha)
        return frame.with_image(self.resize.apply(hdr.shown(image, self._facts)))


def context_frames(run: ChunkRun, video: SourceVideo, numbers: Sequence[int]) -> list[Frame]:
    """Borders and anchors, in ascending order; an earlier chunk has read most of them."""
    job, recipe = run.job, run.job.recipe
    hints = (
        (_nets(run), job.companions, recipe.temporal_filter, run.folder.plan().shots)
        if recipe.control
        else ()
    )
    made = (hints, MaskMaker.of(recipe), job.companion(MASK), job.mask_digest)
    return run.frame_cache.get((_clip(run, video.resize), made), numbers, video.frames_at)


def _clip(run: ChunkRun, resize: Resize) -> Hashable:
    """All that the pixels of a resized frame depend on besides its number."""
    source = run.job.source
    # They depend on the shots where a poisoned frame is replaced by a neighbour.
    shots = run.folder.plan().shots if run.poisoned else ()
    return source.path, source.stamp, facts_of(run), resize, is_deep(run), run.poisoned, shots


def _nets(run: ChunkRun) -> Hashable:
    """The control nets, and what identifies their estimators of depth."""
    return run.job.recipe.control, run.job.depth_digests


@contextmanager
def open_video(run: ChunkRun) -> Iterator[SourceVideo]:
    facts, shots = facts_of(run), run.folder.plan().shots
    resize = Resize.of_video(facts, run.job.edit_size(*facts.upright))
    scales = run.scales.of((_clip(run, resize), _nets(run), shots))
    with (
        ExitStack() as readers,
        VideoHints.open(
            run.job, shots, resize, run.cpu_pool, run.folder.roots.allow, scales
        ) as hints,
        open_masks(run) as masks,
    ):
        yield SourceVideo(
            facts,
            lambda purpose: readers.enter_context(open_reader(run, purpose)),
            resize,
            hints,
            masks,
        )


@contextmanager
def open_reader(run: ChunkRun, purpose: Purpose) -> Iterator[CrashSafeReader[FullFrame]]:
    """A reader of the source; it continues where the last chunk with this purpose ended."""
    source, facts, table = run.job.source, facts_of(run), run.folder.frame_table()
    path, deep, allow = run.folder.roots.allow(source.path), is_deep(run), run.folder.roots.allow

    def new() -> FrameReader[FullFrame]:
        return open_frames(path, facts, table, run.folder.frame_ids(), deep=deep, allow=allow)

    with ExitStack() as stack:
        if run.readers is None or facts.is_sequence:
            reader = stack.enter_context(new())
        else:
            key = (purpose, path, source.stamp, facts, deep)
            reader = stack.enter_context(run.readers.borrow(key, new))
        yield CrashSafeReader(reader, table, run.poisoned, run.folder.plan().shots)


def is_deep(run: ChunkRun) -> bool:
    """Whether results have more than 8 bits a sample."""
    job, facts = run.job, facts_of(run)
    if facts.keeps_hdr:
        return True
    return keeps_depth(job.recipe) and kept_bits(facts, job.encoding) > 8


def facts_of(run: ChunkRun) -> VideoFacts:
    facts = run.job.source.video
    assert facts is not None
    return facts
