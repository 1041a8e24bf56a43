"""The source of a video's chunk: its reader, and its frames resized for the edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..frame import Frame, FullFrame
from ..jobs.video_facts import VideoFacts
from ..media.alpha import weigh_visible
from ..media.frames import open_frames
from ..media.resize import Resize
from ..media.video import hdr
from ..media.video.result_format import kept_bits
from .chunk_run import ChunkRun
from .crash_safe_reader import CrashSafeReader
from .full_size import keeps_depth


class SourceVideo:
    """The source of a chunk, resized for the edit."""

    def __init__(self, run: ChunkRun, reader: CrashSafeReader[FullFrame], resize: Resize) -> None:
        self._run = run
        self.reader = reader
        self.resize = resize

    def resized(self, frame: FullFrame) -> Frame:
        image = frame.image
        if frame.alpha is not None:
            image = weigh_visible(image, frame.alpha)
        return frame.with_image(self.resize.apply(hdr.shown(image, facts_of(self._run))))

    def frames_at(self, numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order."""
        return [self.resized(frame) for frame in self.reader.frames_at(numbers)]

    def context_frames(self, numbers: Sequence[int]) -> list[Frame]:
        """Borders and anchors, in ascending order; an earlier chunk has read most of them."""
        source, poisoned = self._run.job.source, self._run.poisoned
        # Pixels depend on the shots only if a poisoned frame is replaced by a neighbour.
        shots = self._run.folder.plan().shots if poisoned else ()
        clip = (source.path, source.stamp, self.resize, is_deep(self._run), poisoned, shots)
        return self._run.frame_cache.get(clip, numbers, self.frames_at)


@contextmanager
def open_video(run: ChunkRun) -> Iterator[SourceVideo]:
    facts = facts_of(run)
    with open_reader(run) as reader:
        yield SourceVideo(run, reader, Resize.of_video(facts, run.job.edit_size(*facts.upright)))


@contextmanager
def open_reader(run: ChunkRun) -> Iterator[CrashSafeReader[FullFrame]]:
    source, table = run.job.source, run.folder.frame_table()
    path = run.folder.roots.allow(source.path)
    with open_frames(
        path,
        facts_of(run),
        table,
        run.folder.frame_ids(),
        deep=is_deep(run),
        allow=run.folder.roots.allow,
    ) as reader:
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
