"""Edit the chunks of a video: borders in wave 1, and frames that become a segment.

Decoding runs ahead in one thread and encoding follows in another; the editor runs in the caller's
thread between them. The queues are bounded and hold frames of the edit size. Where a result is made
from the full-size source, the encoding thread decodes it a second time: that takes less memory than
to keep the frames, and less time than to encode them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Protocol

from ..editing.editor import ChunkContext, ContextFrame, EditSession
from ..errors import EditError
from ..frame import Frame
from ..jobs.log import chunk_log
from ..jobs.plan import BorderChunk, VideoChunk
from ..media.video.codecs import segment_suffix
from ..media.video.segment import SegmentWriter
from ..recipe import Recipe
from ..storage.atomic import atomic_path
from ..storage.atomic import digest as sha256
from ..temporal.pipeline import Pair, TemporalPipeline
from ..temporal.stages import stages_for
from .chunk_run import ChunkOutput, ChunkRun, Inline
from .frame_fallback import FrameFallback, note_lines
from .tile_pass import TilePass, tile_pass
from .video_results import open_results
from .video_source import SourceVideo, context_frames, facts_of, open_video

log = logging.getLogger(__name__)


class NewSession(Protocol):
    """Creates a session of a chunk."""

    def __call__(self, context: ChunkContext, recipe: Recipe | None = None) -> EditSession:
        """The session for these borders and anchors, by ``recipe`` or the job's own."""
        ...


_READ_AHEAD = 2  # batches decoded before the editor asks for them


def edit_frames(run: ChunkRun, chunk: VideoChunk, new_session: NewSession) -> ChunkOutput:
    """Decode, resize, edit, filter, restore the size and encode a segment."""
    with open_video(run) as video:
        session, warnings = _session_with_context(run, chunk, new_session, video)
        fallback = FrameFallback(session)
        tiles = tile_pass(run, session)
        digest = _write_segment(run, chunk, session, fallback, video, tiles)
        # The neighbouring chunks report the frames beyond this chunk's ends.
        notes = {**session.notes, **fallback.notes, **(tiles.notes if tiles else {})}
        warnings += [*video.warnings, *note_lines(notes, chunk.numbers), *session.warnings]
    return ChunkOutput(digest, tuple(warnings))


def edit_borders(run: ChunkRun, chunk: BorderChunk, new_session: NewSession) -> ChunkOutput:
    """Write the latents of the chunk's border frames."""
    digests = hashlib.sha256()
    with open_video(run) as video:
        with run.timer.stage("decode"):
            anchors = context_frames(run, video, chunk.anchors)
        session = new_session(ChunkContext(anchors=[ContextFrame(frame) for frame in anchors]))
        for numbers in run.batches(iter(chunk.frames), chunk.frames, session.border_batch_size):
            with run.timer.stage("decode"):
                frames = video.frames_at(numbers)
            for digest in _write_border_latents(run, session, frames):
                digests.update(digest.encode())
            _log_batch(run, frames)
            run.lease.advance(len(frames))
        notes = note_lines(session.notes, chunk.frames, "Border frame")
        warnings = (*video.warnings, *notes, *session.warnings)
    return ChunkOutput(digests.hexdigest(), warnings)


def _write_segment(
    run: ChunkRun,
    chunk: VideoChunk,
    session: EditSession,
    fallback: FrameFallback,
    video: SourceVideo,
    tiles: TilePass | None,
) -> str:
    """Edit the chunk's frames and write its segment; returns its SHA-256."""
    job = run.job
    facts = facts_of(run)
    target = run.folder.segment_path(chunk, segment_suffix(job.encoding))
    sources = video.frames(*chunk.reach)
    frames = run.cpu_pool.map(
        lambda frame: frame if frame.is_protected else session.prepare(frame), sources
    )
    batches = run.batches(frames, range(*chunk.reach), session.batch_size)
    pipeline = TemporalPipeline(stages_for(job.recipe, run.cpu_pool))
    with (
        closing(sources),
        closing(frames),
        atomic_path(target, parents=False, check=run.lease.check) as temporary,
        run.ahead(batches, _READ_AHEAD) as ready,
        open_results(run, chunk, video.resize, tiles) as results,
    ):
        with SegmentWriter(temporary, facts, job.encoding, video.captions) as writer:

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
    run: ChunkRun, chunk: VideoChunk, new_session: NewSession, video: SourceVideo
) -> tuple[EditSession, list[str]]:
    """Create the session for a chunk's frames.

    Latents that are damaged or missing are computed again. A border does not depend on where and
    when it is edited, so this gives the same latents as wave 1.

    Returns:
        the session, and warnings, one line each.
    """
    with run.timer.stage("decode"):
        numbers = sorted({*chunk.borders, *chunk.anchors})
        frames = dict(zip(numbers, context_frames(run, video, numbers), strict=True))
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
