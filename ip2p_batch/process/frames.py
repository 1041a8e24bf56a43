"""Chunks of a video: borders of wave 1, and frames that become a segment.

Decoding runs ahead in one thread and encoding behind in another, with the editor between them
in the caller's thread; the queues are bounded, so memory depends on the frames' size only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..edit.editor import EditSession
from ..errors import EditError
from ..frame import Frame
from ..jobdir import atomic_path
from ..media.fit import Fit
from ..media.segment import SegmentWriter, segment_suffix
from ..media.video import VideoReader
from ..overlap import Background, prefetched
from .work import Work, batches, clocked, sha256

_READ_AHEAD = 2  # batches decoded before the editor asks for them


def edit_frames(work: Work, session: EditSession) -> str:
    """A segment of video: decode, fit, edit, unfit, encode once. Returns its SHA-256."""
    job, chunk = work.job, work.chunk
    facts = job.source.video
    assert facts is not None
    fit = Fit.for_size(*facts.upright, job.recipe.size, facts.upright_sar)
    target = work.job_dir.segment_path(chunk, segment_suffix(job.encoding))
    source = Path(job.source.path)
    table = work.job_dir.frame_table()
    with VideoReader(source, facts, table) as reader:
        if chunk.borders:
            with work.timed("decode"):
                left, right = (_fitted(reader.frame(n), fit) for n in chunk.borders)
            _tie(work, session, left, right)
        frames = (_fitted(f, fit) for f in reader.frames(chunk.start, chunk.stop))
        with (
            atomic_path(target) as temporary,
            prefetched(batches(frames, session.batch_size), _READ_AHEAD) as ready,
        ):
            with SegmentWriter(temporary, facts, job.encoding) as writer:

                def finish(edited: Sequence[Frame]) -> None:
                    for frame in edited:
                        writer.write(frame.with_image(fit.unfit(frame.image)))
                    work.advance(len(edited))

                with Background(finish, depth=_READ_AHEAD) as encoder:
                    for batch in clocked(work, ready, "decode"):
                        with work.timed("edit"):
                            edited = session.edit(batch)
                        with work.timed("encode"):  # waiting only, where encoding keeps up
                            encoder.put(edited)
            digest = sha256(temporary)
        work.warnings += reader.warnings
    return digest


def edit_borders(work: Work, session: EditSession) -> str:
    """Border frames of wave 1, up to the step at which they are handed over."""
    job, chunk = work.job, work.chunk
    facts = job.source.video
    assert facts is not None
    fit = Fit.for_size(*facts.upright, job.recipe.size, facts.upright_sar)
    digests = hashlib.sha256()
    with VideoReader(Path(job.source.path), facts, work.job_dir.frame_table()) as reader:
        for number in chunk.borders:
            with work.timed("decode"):
                frame = _fitted(reader.frame(number), fit)
            digests.update(_save_border(work, session, frame).encode())
            work.advance(1)
        work.warnings += reader.warnings
    return digests.hexdigest()


def _save_border(work: Work, session: EditSession, frame: Frame) -> str:
    path = work.job_dir.border_path(frame.index)
    with work.timed("edit"), atomic_path(path) as temporary:
        session.save_border(frame, temporary)
        return sha256(temporary)


def _tie(work: Work, session: EditSession, left: Frame, right: Frame) -> None:
    """Tie the session to its borders; a latents file that is damaged or gone is made again.

    Where and when a border is edited does not change it, so mending it here is the same as
    doing wave 1 again.
    """
    ends = [(frame, work.job_dir.border_path(frame.index)) for frame in (left, right)]
    try:
        session.tie(*ends)
    except EditError as error:
        work.warnings.append(f"{error.message} It was made again.")
        for frame, _ in ends:
            _save_border(work, session, frame)
        session.tie(*ends)


def _fitted(frame: Frame, fit: Fit) -> Frame:
    return frame.with_image(fit.fit(frame.image))
