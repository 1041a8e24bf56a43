"""One chunk, from its message to its receipt. Local and distributed runs share this package."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..editing.editor import Editor
from ..errors import Ip2pError, JobCancelled
from ..jobs.folder import JobDir
from ..jobs.plan import Chunk
from ..jobs.records import Failure, ItemResult, Receipt, Tuning, WorkerInfo
from ..media.reference_image import load_look
from ..recipe import Recipe
from .admission import admit
from .chunk_run import Work
from .images import edit_stills
from .timeout import Patience
from .video import edit_borders, edit_frames
from .worker_cache import Workshop

#: Gives the loaded editor of a recipe; keeps it between chunks.
EditorFor = Callable[[Recipe], Editor]

#: A chunk that fails this often is given up.
MAX_ATTEMPTS = 3


def process_chunk(
    job_dir: JobDir,
    chunk: Chunk,
    *,
    editor_for: EditorFor,
    worker: WorkerInfo,
    patience: Patience | None = None,
    workshop: Workshop | None = None,
) -> Receipt:
    """Do one chunk and write its receipt; a chunk that has a valid receipt is left alone.

    Args:
        patience: what to do about a chunk that hangs; None waits for ever.
        workshop: what the process keeps from chunk to chunk; None keeps nothing.

    Raises:
        ChunkTaken: another worker is at it; there is nothing to do about that.
        JobCancelled: the job's folder says so, or that the job has ended without this worker;
            checked between denoising steps.
        UnlikeWorker: this worker would give other bits than the chunks before.
        Ip2pError: what went wrong; ``retryable`` says whether another try makes sense.
    """
    while True:
        # The claim is of this attempt; what else is in hand belongs to the process.
        work = Work(job_dir, job_dir.job(), chunk, worker, workshop)
        try:
            return _process(work, editor_for, patience)
        except JobCancelled:
            if job_dir.cancelled or job_dir.ended:
                raise
            # Taken up again this moment, by somebody who counts on what is in hand here.


def _process(work: Work, editor_for: EditorFor, patience: Patience | None) -> Receipt:
    job_dir, job, chunk = work.job_dir, work.job, work.chunk
    fingerprint = job.fingerprint()
    done = job_dir.receipt(chunk.id)
    if done is not None and done.fingerprint == fingerprint:
        return done
    with work.claimed():
        work.checkpoint()
        with work.timed("load"):
            editor = editor_for(job.recipe)
        mine = editor.identity
        work.worker = msgspec.structs.replace(
            work.worker,
            device=editor.device,
            model=mine.model if mine is not None else "",
            identity=mine,
        )
        admit(job_dir, job, mine)
        with work.timed("tune"):
            tuning = _tuning(work, editor)
        if patience is not None:  # once the model is there: a download has its own pace
            patience.watch(work)
        session = editor.session(
            job.recipe, tuning=tuning, helpers=work.helpers, checkpoint=work.checkpoint
        )
        if job.look:
            session.look(load_look(job_dir.look_path, job.look))
        items: tuple[ItemResult, ...] = ()
        if chunk.kind == "stills":
            digest, items = edit_stills(work, session)
        elif chunk.kind == "borders":
            digest = edit_borders(work, session)
        else:
            digest = edit_frames(work, session)
        work.checkpoint()
        # Once more: a resume may have given the job to workers of another kind meanwhile.
        unlike = admit(job_dir, job_dir.job(), mine)
        receipt = Receipt(
            chunk=chunk.id,
            fingerprint=fingerprint,
            frames=len(chunk),
            digest=digest,
            seconds=work.seconds(),
            worker=work.worker,
            finished=time.time(),
            items=items,
            warnings=tuple(dict.fromkeys([*work.warnings, *session.warnings])),
            unlike=unlike,
        )
        job_dir.write_receipt(receipt, work.check)
    if patience is not None:
        patience.learn(work, receipt)
    if job_dir.ended:  # another worker had this chunk, too, and was faster
        job_dir.drop_media()
    return receipt


def _tuning(work: Work, editor: Editor) -> Tuning:
    """How the job's model is called; the first worker that comes here finds out for all."""
    known = work.job_dir.tuning()
    if known is not None:
        return known
    recipe, plan = work.job.recipe, work.job_dir.plan()
    return work.job_dir.agree(editor.tune(recipe, plan.largest(recipe), plan.groups()))


def give_up(
    job_dir: JobDir, chunk_id: str, error: BaseException, *, attempts: int, worker: WorkerInfo
) -> None:
    """Record that a chunk could not be done, so that the job can end and say why."""
    if job_dir.receipt(chunk_id) is not None:
        return  # another worker had it, too, and has finished it
    message = error.message if isinstance(error, Ip2pError) else f"{type(error).__name__}: {error}"
    job_dir.drop_claim(chunk_id)
    job_dir.write_failure(
        Failure(
            chunk=chunk_id,
            error=type(error).__name__,
            message=message,
            hint=error.hint if isinstance(error, Ip2pError) else "",
            attempts=attempts,
            worker=worker,
        )
    )
