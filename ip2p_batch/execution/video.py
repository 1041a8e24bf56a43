"""Edit the chunks of a video: borders in wave 1, and frames that become a segment.

Decoding runs ahead in one thread and encoding follows in another; the editor runs in the caller's
thread between them. The queues are bounded and hold frames of the edit size. Where a result is made
from the full-size source, the encoding thread decodes it a second time: that takes less memory than
to keep the frames, and less time than to encode them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Protocol, cast

from ..editing.editor import ChunkContext, ContextFrame, EditSession
from ..errors import EditError
from ..frame import Frame, FullFrame, FullImage
from ..jobs.log import chunk_log
from ..jobs.plan import BorderChunk, VideoChunk
from ..jobs.spec import VideoFacts
from ..media.alpha import weigh_visible
from ..media.depth import Samples16
from ..media.resize import Resize
from ..media.video import hdr
from ..media.video.codecs import kept_bits, segment_suffix
from ..media.video.reader import VideoReader
from ..media.video.segment import SegmentWriter
from ..recipe import Recipe
from ..storage.atomic import atomic_path
from ..storage.atomic import digest as sha256
from ..temporal.pipeline import Pair, TemporalPipeline
from ..temporal.stages import stages_for
from .chunk_run import ChunkOutput, ChunkRun, Inline
from .crash_safe_reader import CrashSafeReader
from .frame_fallback import FrameFallback, note_lines
from .full_size import at_full_size, hdr_at_full_size, keeps_depth, needs_source
from .tile_pass import TilePass, tile_pass

log = logging.getLogger(__name__)


class NewSession(Protocol):
    """Creates a session of a chunk."""

    def __call__(self, context: ChunkContext, recipe: Recipe | None = None) -> EditSession:
        """The session for these borders and anchors, by ``recipe`` or the job's own."""
        ...


_READ_AHEAD = 2  # batches decoded before the editor asks for them


def edit_frames(run: ChunkRun, chunk: VideoChunk, new_session: NewSession) -> ChunkOutput:
    """Decode, resize, edit, filter, restore the size and encode a segment."""
    with _open(run) as video:
        session, warnings = _session_with_context(run, chunk, new_session, video)
        fallback = FrameFallback(session)
        tiles = tile_pass(run, session)
        digest = _write_segment(run, chunk, session, fallback, video, tiles)
        # The neighbouring chunks report the frames beyond this chunk's ends.
        notes = {**session.notes, **fallback.notes, **(tiles.notes if tiles else {})}
        warnings += [*video.reader.warnings, *note_lines(notes, chunk.numbers), *session.warnings]
    return ChunkOutput(digest, tuple(warnings))


def edit_borders(run: ChunkRun, chunk: BorderChunk, new_session: NewSession) -> ChunkOutput:
    """Write the latents of the chunk's border frames."""
    digests = hashlib.sha256()
    with _open(run) as video:
        with run.timer.stage("decode"):
            anchors = video.context_frames(chunk.anchors)
        session = new_session(ChunkContext(anchors=[ContextFrame(frame) for frame in anchors]))
        for numbers in run.batches(iter(chunk.frames), chunk.frames, session.border_batch_size):
            with run.timer.stage("decode"):
                frames = video.frames_at(numbers)
            for digest in _write_border_latents(run, session, frames):
                digests.update(digest.encode())
            _log_batch(run, frames)
            run.lease.advance(len(frames))
        notes = note_lines(session.notes, chunk.frames, "Border frame")
        warnings = (*video.reader.warnings, *notes, *session.warnings)
    return ChunkOutput(digests.hexdigest(), warnings)


class _Video:
    """The source of a chunk, resized for the edit."""

    def __init__(self, run: ChunkRun, reader: CrashSafeReader[FullFrame], resize: Resize) -> None:
        self._run = run
        self.reader = reader
        self.resize = resize

    def resized(self, frame: FullFrame) -> Frame:
        image = frame.image
        if frame.alpha is not None:
            image = weigh_visible(image, frame.alpha)
        return frame.with_image(self.resize.apply(hdr.shown(image, _facts(self._run))))

    def frames_at(self, numbers: Sequence[int]) -> list[Frame]:
        """Single frames, in ascending order."""
        return [self.resized(frame) for frame in self.reader.frames_at(numbers)]

    def context_frames(self, numbers: Sequence[int]) -> list[Frame]:
        """Borders and anchors, in ascending order; an earlier chunk has read most of them."""
        source, poisoned = self._run.job.source, self._run.poisoned
        # Pixels depend on the shots only if a poisoned frame is replaced by a neighbour.
        shots = self._run.folder.plan().shots if poisoned else ()
        clip = (source.path, source.stamp, self.resize, _is_deep(self._run), poisoned, shots)
        return self._run.frame_cache.get(clip, numbers, self.frames_at)


@contextmanager
def _open(run: ChunkRun) -> Iterator[_Video]:
    facts = _facts(run)
    with _open_reader(run) as reader:
        yield _Video(run, reader, Resize.of_video(facts, run.job.edit_size(*facts.upright)))


@contextmanager
def _open_reader(run: ChunkRun) -> Iterator[CrashSafeReader[FullFrame]]:
    source, table = run.job.source, run.folder.frame_table()
    path = run.folder.roots.allow(source.path)
    with VideoReader(
        path, _facts(run), table, run.folder.frame_ids(), deep=_is_deep(run)
    ) as reader:
        yield CrashSafeReader(reader, table, run.poisoned, run.folder.plan().shots)


def _is_deep(run: ChunkRun) -> bool:
    """Whether results have more than 8 bits a sample."""
    job, facts = run.job, _facts(run)
    if facts.keeps_hdr:
        return True
    return keeps_depth(job.recipe) and kept_bits(facts, job.encoding) > 8


def _facts(run: ChunkRun) -> VideoFacts:
    facts = run.job.source.video
    assert facts is not None
    return facts


@contextmanager
def _open_results(
    run: ChunkRun, chunk: VideoChunk, resize: Resize, tiles: TilePass | None
) -> Iterator[Callable[[Sequence[Pair]], Iterator[FullFrame]]]:
    """A function that makes full-size results of the chunk's own frames, which come in order."""
    facts = _facts(run)
    uses_source = needs_source(
        run.job.recipe, resize, deep=_is_deep(run), transparent=facts.has_alpha
    )
    if not uses_source and not facts.has_alpha and not facts.keeps_hdr:

        def enlarged(pair: Pair) -> FullFrame:
            return pair.edited.with_image(resize.restore(pair.edited.image))

        yield lambda pairs: run.cpu_pool.map(enlarged, pairs)
        return

    def transfer(work: tuple[Pair, FullFrame]) -> FullFrame:
        (source, edited), full = work
        if facts.keeps_hdr:
            toned = cast(Samples16, full.image)
            image: FullImage = hdr_at_full_size(
                resize, source.image, edited.image, toned, hdr.mapping(facts), detail=uses_source
            )
        elif uses_source:
            image = at_full_size(resize, source.image, edited.image, full.image, full.alpha)
        else:
            image = resize.restore(edited.image)
        return dataclasses.replace(full, image=image)

    def draw(work: tuple[Pair, FullFrame]) -> FullFrame:
        assert tiles is not None
        pair, full = work
        image = tiles.refine(full.image, transfer(work).image, pair.edited)
        return dataclasses.replace(full, image=image)

    with _open_reader(run) as reader, closing(reader.frames(chunk.start, chunk.stop)) as sources:
        if tiles is not None:  # in this thread, which uses the device
            yield lambda pairs: map(draw, zip(pairs, sources, strict=False))
        else:
            yield lambda pairs: run.cpu_pool.map(transfer, zip(pairs, sources, strict=False))


def _write_segment(
    run: ChunkRun,
    chunk: VideoChunk,
    session: EditSession,
    fallback: FrameFallback,
    video: _Video,
    tiles: TilePass | None,
) -> str:
    """Edit the chunk's frames and write its segment; returns its SHA-256."""
    job = run.job
    facts = _facts(run)
    target = run.folder.segment_path(chunk, segment_suffix(job.encoding))
    frames = run.cpu_pool.map(
        lambda frame: session.prepare(video.resized(frame)), video.reader.frames(*chunk.reach)
    )
    batches = run.batches(frames, range(*chunk.reach), session.batch_size)
    pipeline = TemporalPipeline(stages_for(job.recipe, run.cpu_pool))
    with (
        closing(frames),
        atomic_path(target, parents=False, check=run.lease.check) as temporary,
        run.ahead(batches, _READ_AHEAD) as ready,
        _open_results(run, chunk, video.resize, tiles) as results,
    ):
        with SegmentWriter(temporary, facts, job.encoding, video.reader.captions) as writer:

            def write(filtered: Sequence[Pair]) -> None:
                own = [pair for pair in filtered if pair.edited.index in chunk.numbers]
                for frame in results(own):
                    writer.write(frame)
                run.lease.advance(len(own))

            def finish(pairs: Sequence[tuple[Frame, Frame]]) -> None:
                for source, edited in pairs:
                    write(pipeline.push(source, edited))

            # The tile pass uses the device, so it runs between the edits and not next to them.
            with Inline(finish) if tiles else run.behind(finish, _READ_AHEAD) as encoder:
                for batch in run.timer.iterate(ready, "decode"):
                    with run.timer.stage("edit"):
                        pairs = fallback.edit(batch)
                    _log_batch(run, batch)
                    with run.timer.stage("encode"):  # only waits, if encoding keeps up
                        encoder.put(pairs)
                fallback.finish()
            write(pipeline.flush())
        return sha256(temporary)


def _log_batch(run: ChunkRun, batch: Sequence[Frame]) -> None:
    first = batch[0].index
    chunk_log(log, run.folder, run.chunk.id, "batch-edited", first=first, frames=len(batch))


def _write_border_latents(
    run: ChunkRun, session: EditSession, frames: Sequence[Frame]
) -> list[str]:
    """Compute and write the latents of border frames; returns the SHA-256 of each file."""
    with run.timer.stage("edit"), ExitStack() as stack:
        files = [
            stack.enter_context(
                atomic_path(
                    run.folder.border_path(frame.index), parents=False, check=run.lease.check
                )
            )
            for frame in frames
        ]
        for file, latents in zip(files, session.border_latents(frames), strict=True):
            file.write_bytes(latents)
        return [sha256(file) for file in files]


def _session_with_context(
    run: ChunkRun, chunk: VideoChunk, new_session: NewSession, video: _Video
) -> tuple[EditSession, list[str]]:
    """Create the session for a chunk's frames.

    Latents that are damaged or missing are computed again. A border does not depend on where and
    when it is edited, so this gives the same latents as wave 1.

    Returns:
        the session, and warnings, one line each.
    """
    with run.timer.stage("decode"):
        numbers = sorted({*chunk.borders, *chunk.anchors})
        frames = dict(zip(numbers, video.context_frames(numbers), strict=True))
    without_latents = ChunkContext(anchors=[ContextFrame(frames[n]) for n in chunk.anchors])
    if not chunk.borders:
        return new_session(without_latents), []

    def session() -> EditSession:
        context = {n: ContextFrame(frames[n], _read_latents(run, n)) for n in numbers}
        return new_session(
            ChunkContext(
                borders=[context[n] for n in chunk.borders],
                anchors=[context[n] for n in chunk.anchors],
            )
        )

    try:
        return session(), []
    except EditError as error:
        _write_border_latents(run, new_session(without_latents), list(frames.values()))
        return session(), [f"{error.message} They were computed again."]


def _read_latents(run: ChunkRun, number: int) -> bytes:
    """The content of a border's latents file.

    Raises:
        EditError: the file cannot be read.
    """
    path = run.folder.border_path(number)
    try:
        return path.read_bytes()
    except OSError as error:
        raise EditError(
            f"The latents of border frame {number} cannot be read from {path}: {error.strerror}.",
            hint="Run `ip2p-batch resume` to compute them again.",
        ) from error
