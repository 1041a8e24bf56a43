"""Chunks of a video: borders of wave 1, and frames that become a segment.

Decoding runs ahead in one thread and encoding behind in another, with the editor between them
in the caller's thread; the queues are bounded, so memory depends on the frames' size only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing

from ..editing.editor import EditSession
from ..errors import EditError
from ..frame import Frame
from ..jobs.plan import BorderChunk, VideoChunk
from ..media.resize import Resize
from ..media.video.reader import VideoReader
from ..media.video.segment import SegmentWriter, segment_suffix
from ..storage.atomic import atomic_path
from ..storage.atomic import digest as sha256
from .chunk_run import Work, clocked
from .crash_safe_reader import CrashSafeReader
from .frame_fallback import FrameFallback, told

_READ_AHEAD = 2  # batches decoded before the editor asks for them


def edit_frames(work: Work, chunk: VideoChunk, session: EditSession) -> str:
    """Decode, resize, edit, restore the size and encode a segment. Returns its SHA-256."""
    job = work.job
    facts = job.source.video
    assert facts is not None
    resize = Resize.of_video(facts, job.recipe.size)
    target = work.job_dir.segment_path(chunk, segment_suffix(job.encoding))
    source = work.job_dir.roots.allow(job.source.path)
    table = work.job_dir.frame_table()
    with VideoReader(source, facts, table) as opened:
        reader = CrashSafeReader(opened, table, work.poisoned, work.job_dir.plan().shots)
        _take_over(work, chunk, session, reader, resize)
        frames = work.cpu_pool.map(
            lambda frame: session.prepare(_resized(frame, resize)), reader.frames(*chunk.reach)
        )
        parts = work.parts(frames, range(*chunk.reach), session.batch_size)
        with (
            closing(frames),
            atomic_path(target, parents=False, check=work.check) as temporary,
            work.ahead(parts, _READ_AHEAD) as ready,
        ):
            with SegmentWriter(temporary, facts, job.encoding) as writer:

                def restored(frame: Frame) -> Frame:
                    return frame.with_image(resize.restore(frame.image))

                def write(steady: Sequence[Frame]) -> None:
                    mine = [f for f in steady if chunk.start <= f.index < chunk.stop]
                    for frame in work.cpu_pool.map(restored, mine):
                        writer.write(frame)
                    work.advance(len(mine))

                def finish(pairs: Sequence[tuple[Frame, Frame]]) -> None:
                    for source, edited in pairs:
                        write(session.steady(source, edited))

                stand_ins = FrameFallback(session)
                with work.behind(finish, _READ_AHEAD) as encoder:
                    for batch in clocked(work, ready, "decode"):
                        with work.timed("edit"):
                            edited = stand_ins.edit(batch)
                        with work.timed("encode"):  # waiting only, where encoding keeps up
                            encoder.put(edited)
                    stand_ins.finish()
                write(session.rest())
            digest = sha256(temporary)
        work.warnings += reader.warnings
        # What lies beyond its ends is the chunk's beside it to tell of.
        notes = {**session.notes, **stand_ins.notes}
        work.warnings += told(notes, range(chunk.start, chunk.stop))
    return digest


def edit_borders(work: Work, chunk: BorderChunk, session: EditSession) -> str:
    """Border frames of wave 1, up to the step at which they are handed over."""
    job = work.job
    facts = job.source.video
    assert facts is not None
    resize = Resize.of_video(facts, job.recipe.size)
    digests = hashlib.sha256()
    source = work.job_dir.roots.allow(job.source.path)
    table = work.job_dir.frame_table()
    with VideoReader(source, facts, table) as opened:
        reader = CrashSafeReader(opened, table, work.poisoned, work.job_dir.plan().shots)
        with work.timed("decode"):
            anchors = _frames(work, reader, resize, chunk.anchors)
        session.anchor([(frame, None) for frame in anchors])
        for numbers in work.parts(iter(chunk.frames), chunk.frames, session.border_batch_size):
            with work.timed("decode"):
                frames = [_resized(frame, resize) for frame in reader.frames_at(numbers)]
            for digest in _save_borders(work, session, frames):
                digests.update(digest.encode())
            work.advance(len(frames))
        work.warnings += reader.warnings
        work.warnings += told(session.notes, chunk.frames, "Border frame")
    return digests.hexdigest()


def _save_borders(work: Work, session: EditSession, frames: Sequence[Frame]) -> list[str]:
    """Write the latents of these border frames; returns their SHA-256."""
    paths = [work.job_dir.border_path(frame.index) for frame in frames]
    with work.timed("edit"), ExitStack() as stack:
        temporary = [
            stack.enter_context(atomic_path(path, parents=False, check=work.check))
            for path in paths
        ]
        session.save_borders(list(zip(frames, temporary, strict=True)))
        return [sha256(path) for path in temporary]


def _take_over(
    work: Work, chunk: VideoChunk, session: EditSession, reader: CrashSafeReader, resize: Resize
) -> None:
    """Tie the session to the chunk's borders, and let it look at its anchors.

    A latents file that is damaged or gone is made again. Where and when a border is edited does
    not change it, so mending it here is the same as doing wave 1 again.
    """
    with work.timed("decode"):
        numbers = sorted({*chunk.borders, *chunk.anchors})
        read = dict(zip(numbers, _frames(work, reader, resize, numbers), strict=True))
    anchors = [read[number] for number in chunk.anchors]
    if not chunk.borders:
        session.anchor([(frame, None) for frame in anchors])
        return
    paths = {number: work.job_dir.border_path(number) for number in read}

    def begin() -> None:
        session.tie([(read[number], paths[number]) for number in chunk.borders])
        session.anchor([(frame, paths[frame.index]) for frame in anchors])

    try:
        begin()
    except EditError as error:
        work.warnings.append(f"{error.message} It was made again.")
        session.anchor([(frame, None) for frame in anchors])
        _save_borders(work, session, list(read.values()))
        begin()


def _frames(
    work: Work, reader: CrashSafeReader, resize: Resize, numbers: Sequence[int]
) -> list[Frame]:
    """Borders and anchors, ascending; most of them were read for an earlier chunk."""

    def read(missing: Sequence[int]) -> list[Frame]:
        return [_resized(frame, resize) for frame in reader.frames_at(missing)]

    source = work.job.source
    # From when a frame is known to be deadly, a neighbour of its shot stands in for it.
    shots = work.job_dir.plan().shots if work.poisoned else ()
    clip = (source.path, source.stamp, resize, work.poisoned, shots)
    return work.frame_cache.get(clip, numbers, read)


def _resized(frame: Frame, resize: Resize) -> Frame:
    return frame.with_image(resize.apply(frame.image))
