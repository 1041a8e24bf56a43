"""Chunks of a video: borders of wave 1, and frames that become a segment.

Decoding runs ahead in one thread and encoding behind in another, with the editor between them
in the caller's thread; the queues are bounded, so memory depends on the frames' size only.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing

from ..editing.editor import EditSession
from ..errors import EditError
from ..frame import Frame
from ..jobs.log import chunk_log
from ..jobs.plan import BorderChunk, VideoChunk
from ..media.resize import Resize
from ..media.video.reader import VideoReader
from ..media.video.segment import SegmentWriter, segment_suffix
from ..storage.atomic import atomic_path
from ..storage.atomic import digest as sha256
from .chunk_run import ChunkOutput, ChunkRun
from .crash_safe_reader import CrashSafeReader
from .frame_fallback import FrameFallback, told

log = logging.getLogger(__name__)

_READ_AHEAD = 2  # batches decoded before the editor asks for them


def edit_frames(run: ChunkRun, chunk: VideoChunk, session: EditSession) -> ChunkOutput:
    """Decode, resize, edit, restore the size and encode a segment."""
    job = run.job
    facts = job.source.video
    assert facts is not None
    resize = Resize.of_video(facts, job.recipe.size)
    target = run.folder.segment_path(chunk, segment_suffix(job.encoding))
    source = run.folder.roots.allow(job.source.path)
    table = run.folder.frame_table()
    with VideoReader(source, facts, table) as opened:
        reader = CrashSafeReader(opened, table, run.poisoned, run.folder.plan().shots)
        warnings = _take_over(run, chunk, session, reader, resize)
        frames = run.cpu_pool.map(
            lambda frame: session.prepare(_resized(frame, resize)), reader.frames(*chunk.reach)
        )
        parts = run.batches(frames, range(*chunk.reach), session.batch_size)
        with (
            closing(frames),
            atomic_path(target, parents=False, check=run.lease.check) as temporary,
            run.ahead(parts, _READ_AHEAD) as ready,
        ):
            with SegmentWriter(temporary, facts, job.encoding) as writer:

                def restored(frame: Frame) -> Frame:
                    return frame.with_image(resize.restore(frame.image))

                def write(steady: Sequence[Frame]) -> None:
                    mine = [f for f in steady if chunk.start <= f.index < chunk.stop]
                    for frame in run.cpu_pool.map(restored, mine):
                        writer.write(frame)
                    run.lease.advance(len(mine))

                def finish(pairs: Sequence[tuple[Frame, Frame]]) -> None:
                    for source, edited in pairs:
                        write(session.steady(source, edited))

                stand_ins = FrameFallback(session)
                with run.behind(finish, _READ_AHEAD) as encoder:
                    for batch in run.timer.iterate(ready, "decode"):
                        with run.timer.stage("edit"):
                            edited = stand_ins.edit(batch)
                        _log_batch(run, batch)
                        with run.timer.stage("encode"):  # waiting only, where encoding keeps up
                            encoder.put(edited)
                    stand_ins.finish()
                write(session.rest())
            digest = sha256(temporary)
        warnings += reader.warnings
        # What lies beyond its ends is the chunk's beside it to tell of.
        notes = {**session.notes, **stand_ins.notes}
        warnings += told(notes, range(chunk.start, chunk.stop))
    return ChunkOutput(digest, tuple(warnings))


def edit_borders(run: ChunkRun, chunk: BorderChunk, session: EditSession) -> ChunkOutput:
    """Border frames of wave 1, up to the step at which they are handed over."""
    job = run.job
    facts = job.source.video
    assert facts is not None
    resize = Resize.of_video(facts, job.recipe.size)
    digests = hashlib.sha256()
    source = run.folder.roots.allow(job.source.path)
    table = run.folder.frame_table()
    with VideoReader(source, facts, table) as opened:
        reader = CrashSafeReader(opened, table, run.poisoned, run.folder.plan().shots)
        with run.timer.stage("decode"):
            anchors = _frames(run, reader, resize, chunk.anchors)
        session.anchor([(frame, None) for frame in anchors])
        for numbers in run.batches(iter(chunk.frames), chunk.frames, session.border_batch_size):
            with run.timer.stage("decode"):
                frames = [_resized(frame, resize) for frame in reader.frames_at(numbers)]
            for digest in _save_borders(run, session, frames):
                digests.update(digest.encode())
            _log_batch(run, frames)
            run.lease.advance(len(frames))
        notes = told(session.notes, chunk.frames, "Border frame")
    return ChunkOutput(digests.hexdigest(), (*reader.warnings, *notes))


def _log_batch(run: ChunkRun, batch: Sequence[Frame]) -> None:
    first = batch[0].index
    chunk_log(log, run.folder, run.chunk.id, "batch-edited", first=first, frames=len(batch))


def _save_borders(run: ChunkRun, session: EditSession, frames: Sequence[Frame]) -> list[str]:
    """Write the latents of these border frames; returns their SHA-256."""
    paths = [run.folder.border_path(frame.index) for frame in frames]
    with run.timer.stage("edit"), ExitStack() as stack:
        temporary = [
            stack.enter_context(atomic_path(path, parents=False, check=run.lease.check))
            for path in paths
        ]
        session.save_borders(list(zip(frames, temporary, strict=True)))
        return [sha256(path) for path in temporary]


def _take_over(
    run: ChunkRun, chunk: VideoChunk, session: EditSession, reader: CrashSafeReader, resize: Resize
) -> list[str]:
    """Tie the session to the chunk's borders, and let it look at its anchors.

    A latents file that is damaged or gone is made again. Where and when a border is edited does
    not change it, so making it here is the same as doing wave 1 again.

    Returns:
        warnings, one line each.
    """
    with run.timer.stage("decode"):
        numbers = sorted({*chunk.borders, *chunk.anchors})
        read = dict(zip(numbers, _frames(run, reader, resize, numbers), strict=True))
    anchors = [read[number] for number in chunk.anchors]
    if not chunk.borders:
        session.anchor([(frame, None) for frame in anchors])
        return []
    paths = {number: run.folder.border_path(number) for number in read}

    def begin() -> None:
        session.tie([(read[number], paths[number]) for number in chunk.borders])
        session.anchor([(frame, paths[frame.index]) for frame in anchors])

    try:
        begin()
    except EditError as error:
        session.anchor([(frame, None) for frame in anchors])
        _save_borders(run, session, list(read.values()))
        begin()
        return [f"{error.message} It was made again."]
    return []


def _frames(
    run: ChunkRun, reader: CrashSafeReader, resize: Resize, numbers: Sequence[int]
) -> list[Frame]:
    """Borders and anchors, ascending; most of them were read for an earlier chunk."""

    def read(missing: Sequence[int]) -> list[Frame]:
        return [_resized(frame, resize) for frame in reader.frames_at(missing)]

    source = run.job.source
    # From when a frame is known to be deadly, a neighbour of its shot stands in for it.
    shots = run.folder.plan().shots if run.poisoned else ()
    clip = (source.path, source.stamp, resize, run.poisoned, shots)
    return run.frame_cache.get(clip, numbers, read)


def _resized(frame: Frame, resize: Resize) -> Frame:
    return frame.with_image(resize.apply(frame.image))
