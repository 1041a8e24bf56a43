"""Publish the frames of finished segments as an image sequence, each under its own name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import msgspec

from ..errors import EditError, OutputTaken
from ..frame import FullFrame
from ..jobs.folder import JobFolder
from ..jobs.grouping import grouped
from ..jobs.plan import ASSEMBLY
from ..jobs.publications import Publication
from ..jobs.results import first_number, result_files
from ..jobs.spec import Job
from ..media.sequence.segments import segment_frames
from ..media.sequence.writer import write_frame
from ..planning.guard import SourceGuard
from ..storage.atomic import atomic_path, sync_directory, write_error
from ..storage.publish import content_stamp
from ..storage.sequence import pattern_of
from ..threads import CpuPool
from .publication import Publisher, source_identity

_THREADS = 8


@dataclass(slots=True)
class _Frames:
    """Where the frames of a job go."""

    folder: JobFolder
    job: Job
    outputs: Sequence[str]
    replaces: Sequence[str]
    guard: SourceGuard
    made: Publication
    done: frozenset[tuple[str, str]]
    sources: Callable[[int], Path | None]
    losses: list[tuple[str, str]] = field(default_factory=list)

    def write(self, frame: FullFrame) -> None:
        """Write one frame, unless an assembly that was ended has published it."""
        output = self.outputs[frame.index]
        if self._is_done(output):
            return
        job, facts = self.job, self.job.source.video
        assert facts is not None
        publisher = Publisher(
            self.folder, ASSEMBLY, output, self.replaces[frame.index], guard=self.guard
        )
        digest = ""

        def publish(temporary: Path, path: Path) -> None:
            try:
                publisher.publish(
                    temporary, path, msgspec.structs.replace(self.made, digest=digest)
                )
            except OutputTaken as taken:
                taken.hint = f"Move it away, then run `ip2p-batch resume {job.id}`."
                taken.survives = "All chunks are kept."
                raise

        with atomic_path(publisher.place(), sync_parent=False, publish=publish) as temporary:
            digest, losses = write_frame(
                temporary,
                frame.image,
                frame.alpha,
                bits=facts.bit_depth,
                source=self.sources(frame.index),
                comment=_comment(job),
                encoding=job.encoding,
            )
        self.losses += ((output, loss) for loss in losses)

    def _is_done(self, output: str) -> bool:
        try:
            return (output, content_stamp(os.lstat(output))) in self.done
        except OSError:
            return False


def publish_sequence(folder: JobFolder, job: Job, segments: Sequence[Path]) -> list[str]:
    """Write a file for each planned frame; returns a warning for each kind of loss.

    Each gets its final name when it is complete. Those of an earlier attempt are kept.

    Raises:
        OutputTaken: another file has the name of a frame; those before it are written.
        OutputError: a file cannot be written.
        EditError: the segments do not hold the planned frames.
    """
    frames = _frames(folder, job)
    facts = job.source.video
    assert facts is not None
    pool = CpuPool(min(_THREADS, os.cpu_count() or 1))
    count = 0
    with closing(pool.map(frames.write, _numbered(segments, has_alpha=facts.has_alpha))) as written:
        for _ in written:
            count += 1
    if count != len(frames.outputs):
        raise EditError(
            f"The segments hold {count} frames, and {len(frames.outputs)} were planned.",
            hint="Run the command again with --overwrite.",
        )
    parent = Path(job.output).parent
    try:
        sync_directory(folder.roots.allow(parent))
    except OSError as error:
        raise write_error(parent, error) from error
    return grouped(frames.losses, "frames")


def _numbered(segments: Sequence[Path], *, has_alpha: bool) -> Iterator[FullFrame]:
    images = chain.from_iterable(segment_frames(path, has_alpha=has_alpha) for path in segments)
    for number, (image, alpha) in enumerate(images):
        yield FullFrame(number, 0, image, alpha=alpha)


def _frames(folder: JobFolder, job: Job) -> _Frames:
    source_path = Path(job.source.path)
    outputs = list(result_files(job))
    stamp, source_digest = source_identity(folder.roots.allow(source_path))
    made = Publication(
        output="", stamp="", recipe=job.options, source=stamp, source_digest=source_digest
    )
    reads = filter(None, (job.recipe.reference_image,))
    replaces = job.replaces.split("\n") if job.replaces else list(repeat("", len(outputs)))
    pattern, first = pattern_of(source_path), first_number(job.source)
    is_sequence = job.source.video is not None and job.source.video.is_sequence

    def source_of(number: int) -> Path | None:
        if pattern is None or not is_sequence:
            return None
        return folder.roots.allow(pattern.path(first + number))

    return _Frames(
        folder,
        job,
        outputs,
        replaces,
        SourceGuard(source_path, Path(job.output), reads),
        made,
        folder.published.stamps(),
        source_of,
    )


def _comment(job: Job) -> str:
    """The recipe as JSON text for the metadata of frames."""
    facts = job.source.video
    assert facts is not None
    values = msgspec.to_builtins(job.recipe) | {"size": job.edit_size(*facts.upright)}
    return msgspec.json.encode({"ip2p_batch": values}).decode()
