"""Edit one chunk: from its lease to its receipt. Local and distributed runs share this."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from ..editing.editor import ChunkContext, Editor, EditSession
from ..errors import JobCancelled
from ..jobs.compatibility import require_compatible
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import BorderChunk, Chunk, ImageChunk, VideoChunk
from ..jobs.records import InferenceConfig, Receipt, WorkerInfo
from ..jobs.spec import Job
from ..media.reference_image import load_reference_image
from ..recipe import Recipe
from .chunk_run import ChunkOutput, ChunkRun
from .image_hints import reference_hints
from .images import edit_images
from .timeout import HangDetector
from .video import NewSession, edit_borders, edit_frames
from .worker_cache import WorkerCache

log = logging.getLogger(__name__)

#: Returns the loaded editor of a recipe; keeps it between chunks.
EditorFor = Callable[[Recipe], Editor]


def process_chunk(
    folder: JobFolder,
    chunk: Chunk,
    *,
    editor_for: EditorFor,
    worker: WorkerInfo,
    hang_detector: HangDetector | None = None,
    worker_cache: WorkerCache | None = None,
) -> Receipt:
    """Edit one chunk and write its receipt; do nothing where it has a valid receipt already.

    Args:
        hang_detector: limits the time of a chunk; None waits forever.
        worker_cache: what the process keeps from chunk to chunk; None keeps nothing.

    Raises:
        ChunkTaken: another worker holds the chunk. The caller has nothing to undo.
        JobCancelled: the job was cancelled, or it ended without this worker; checked between
            denoising steps.
        IncompatibleWorker: the results would not be bit-identical to the finished chunks.
        Ip2pError: the chunk failed; ``retryable`` says whether another attempt makes sense.
    """
    cache = worker_cache or WorkerCache()
    while True:
        try:
            return _process(folder, chunk, editor_for, worker, hang_detector, cache)
        except JobCancelled:
            if folder.cancelled or folder.ended:
                raise
            # The job was resumed meanwhile. The scheduler counts on this worker, so start again.


def _process(
    folder: JobFolder,
    chunk: Chunk,
    editor_for: EditorFor,
    worker: WorkerInfo,
    hang_detector: HangDetector | None,
    cache: WorkerCache,
) -> Receipt:
    job = folder.job()
    fingerprint = job.fingerprint()
    earlier = folder.receipts.get(chunk.id)
    if earlier is not None and earlier.fingerprint == fingerprint:
        return earlier
    with ChunkRun.begin(folder, job, chunk, worker, cache) as run:
        lease, timer = run.lease, run.timer
        lease.checkpoint()
        with timer.stage("load"):
            editor = editor_for(job.recipe)
        profile = editor.profile_for(job.recipe)
        lease.worker = msgspec.structs.replace(
            worker,
            device=editor.device,
            model=profile.model if profile is not None else "",
            compute_profile=profile,
        )
        require_compatible(folder, job, profile)
        with timer.stage("tune"):
            config = _inference_config(folder, job, editor)
        if hang_detector is not None:  # not before the model is loaded: that may be a download
            hang_detector.watch(run.watchdog, folder, job, chunk, device=editor.device)
        output = _edit(run, _session_factory(run, editor, config))
        chunk_log(log, folder, chunk.id, "files-written", digest=output.digest[:12])
        lease.checkpoint()
        # Check again: a resume may have fixed another compute profile meanwhile.
        mismatches = require_compatible(folder, folder.job(), profile)
        receipt = _write_receipt(run, fingerprint, output, mismatches)
    if hang_detector is not None:
        hang_detector.observe(folder, job, chunk, receipt)
    if folder.ended:  # another worker had this chunk, too, and was faster
        folder.drop_media()
    return receipt


def _session_factory(run: ChunkRun, editor: Editor, config: InferenceConfig) -> NewSession:
    """Return a function that creates the session of the run's chunk from its context."""
    job, reference = run.job, None
    if job.reference_digest:
        reference = load_reference_image(run.folder.reference_image_path, job.reference_digest)
    hints = reference_hints(job, reference, run.folder.roots.allow)

    def new_session(context: ChunkContext, recipe: Recipe | None = None) -> EditSession:
        return editor.session(
            recipe or job.recipe,
            replace(context, reference_image=reference, reference_hints=hints),
            inference_config=config,
            cpu_pool=run.cpu_pool,
            checkpoint=run.lease.checkpoint,
        )

    return new_session


def _write_receipt(
    run: ChunkRun, fingerprint: str, output: ChunkOutput, mismatches: tuple[str, ...]
) -> Receipt:
    receipt = Receipt(
        chunk=run.chunk.id,
        fingerprint=fingerprint,
        frames=len(run.chunk),
        digest=output.digest,
        seconds=run.timer.seconds(),
        worker=run.lease.worker,
        finished=time.time(),
        items=output.items,
        warnings=tuple(dict.fromkeys(output.warnings)),
        mismatches=mismatches,
    )
    run.folder.receipts.write(receipt, run.lease.check)
    facts = {"frames": receipt.frames, **receipt.seconds}
    chunk_log(log, run.folder, receipt.chunk, "receipt-written", **facts)
    return receipt


def _edit(run: ChunkRun, new_session: NewSession) -> ChunkOutput:
    match run.chunk:
        case ImageChunk():
            return edit_images(run, run.chunk, new_session)
        case BorderChunk():
            return edit_borders(run, run.chunk, new_session)
        case VideoChunk():
            return edit_frames(run, run.chunk, new_session)


def _inference_config(folder: JobFolder, job: Job, editor: Editor) -> InferenceConfig:
    """Return how the job's model is called; the first worker measures it for all."""
    known = folder.inference_config()
    if known is not None:
        return known
    plan = folder.plan()
    return folder.propose_inference_config(
        editor.autotune(job.recipe, plan.size, plan.batch_histogram())
    )
