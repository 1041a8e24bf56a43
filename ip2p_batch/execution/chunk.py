"""One chunk, from its message to its receipt. Local and distributed runs share this package."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..editing.editor import Editor
from ..errors import JobCancelled
from ..jobs.folder import JobFolder
from ..jobs.plan import BorderChunk, Chunk, ImageChunk, VideoChunk
from ..jobs.records import InferenceConfig, ItemResult, Receipt, WorkerInfo
from ..media.reference_image import load_reference_image
from ..recipe import Recipe
from .admission import require_compatible
from .chunk_run import Work
from .images import edit_stills
from .timeout import HangDetector
from .video import edit_borders, edit_frames
from .worker_cache import WorkerCache

#: Gives the loaded editor of a recipe; keeps it between chunks.
EditorFor = Callable[[Recipe], Editor]


def process_chunk(
    job_dir: JobFolder,
    chunk: Chunk,
    *,
    editor_for: EditorFor,
    worker: WorkerInfo,
    hang_detector: HangDetector | None = None,
    worker_cache: WorkerCache | None = None,
) -> Receipt:
    """Do one chunk and write its receipt; a chunk that has a valid receipt is left alone.

    Args:
        hang_detector: what to do about a chunk that hangs; None waits for ever.
        worker_cache: what the process keeps from chunk to chunk; None keeps nothing.

    Raises:
        ChunkTaken: another worker is at it; there is nothing to do about that.
        JobCancelled: the job's folder says so, or that the job has ended without this worker;
            checked between denoising steps.
        IncompatibleWorker: this worker would give other bits than the chunks before.
        Ip2pError: what went wrong; ``retryable`` says whether another try makes sense.
    """
    while True:
        # The claim is of this attempt; what else is in hand belongs to the process.
        work = Work(job_dir, job_dir.job(), chunk, worker, worker_cache)
        try:
            return _process(work, editor_for, hang_detector)
        except JobCancelled:
            if job_dir.cancelled or job_dir.ended:
                raise
            # Taken up again this moment, by somebody who counts on what is in hand here.


def _process(work: Work, editor_for: EditorFor, hang_detector: HangDetector | None) -> Receipt:
    job_dir, job, chunk = work.job_dir, work.job, work.chunk
    fingerprint = job.fingerprint()
    done = job_dir.receipt(chunk.id)
    if done is not None and done.fingerprint == fingerprint:
        return done
    with work.claimed():
        work.checkpoint()
        with work.timed("load"):
            editor = editor_for(job.recipe)
        mine = editor.compute_profile
        work.worker = msgspec.structs.replace(
            work.worker,
            device=editor.device,
            model=mine.model if mine is not None else "",
            compute_profile=mine,
        )
        require_compatible(job_dir, job, mine)
        with work.timed("tune"):
            inference_config = _tuning(work, editor)
        if hang_detector is not None:  # once the model is there: a download has its own pace
            hang_detector.watch(work)
        session = editor.session(
            job.recipe,
            inference_config=inference_config,
            cpu_pool=work.cpu_pool,
            checkpoint=work.checkpoint,
        )
        if job.look:
            session.look(load_reference_image(job_dir.reference_image_path, job.look))
        items: tuple[ItemResult, ...] = ()
        match chunk:
            case ImageChunk():
                digest, items = edit_stills(work, chunk, session)
            case BorderChunk():
                digest = edit_borders(work, chunk, session)
            case VideoChunk():
                digest = edit_frames(work, chunk, session)
        work.checkpoint()
        # Once more: a resume may have given the job to workers of another kind meanwhile.
        mismatches = require_compatible(job_dir, job_dir.job(), mine)
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
            mismatches=mismatches,
        )
        job_dir.write_receipt(receipt, work.check)
    if hang_detector is not None:
        hang_detector.learn(work, receipt)
    if job_dir.ended:  # another worker had this chunk, too, and was faster
        job_dir.drop_media()
    return receipt


def _tuning(work: Work, editor: Editor) -> InferenceConfig:
    """How the job's model is called; the first worker that comes here finds out for all."""
    known = work.job_dir.inference_config()
    if known is not None:
        return known
    recipe, plan = work.job.recipe, work.job_dir.plan()
    return work.job_dir.propose_inference_config(
        editor.autotune(recipe, plan.max_edit_size(recipe), plan.batch_histogram())
    )
