"""Dispatch what is due: the next chunks of a wave, the next wave, or the assembly."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from ..errors import ResumeMismatch, SourceError
from ..jobs.attempts import forget_crashes
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import ASSEMBLY
from ..jobs.spec import Job
from ..media.companion.reader import check_unchanged
from ..media.source import source_stamp
from ..queue.executor import Executor
from ..storage.sequence import is_sequence
from . import inflight
from .outputs import require_current

log = logging.getLogger(__name__)


def submit_job(folder: JobFolder, executor: Executor) -> None:
    """Dispatch a job that is new, paused, cancelled, failed or stalled.

    Lifts a pause and a cancellation, and forgets failures and crashes, so that failed chunks are
    tried again. Finished chunks are kept.

    Raises:
        ResumeMismatch: the source changed since the plan was made.
        JobError: another job writes the same results since.
        OutputError: the job folder cannot be written.
        BrokerError: the queue cannot be reached. The job is not paused or cancelled any more.
    """
    require_current(folder)
    check_source(folder.job())
    with inflight.dispatch_lock(folder):
        folder.resume()
        forget_crashes(folder, folder.failures.chunk_ids())
        folder.failures.clear()
        folder.hardware.clear()
        folder.dispatch.clear()
        folder.dispatch.clear_redispatches()
    dispatch_next(folder, executor)


def lift_pause(folder: JobFolder) -> None:
    """Lift a pause. The process that leads the job dispatches it; see
    :func:`~ip2p_batch.scheduler.follow.continue_paused`.
    """
    with inflight.dispatch_lock(folder):
        # Workers drop messages of a paused job, so the record of what is in flight is void.
        folder.dispatch.clear()
        folder.resume()


def check_source(job: Job) -> None:
    """Refuse a video, or a companion of the job, that is not the one that was planned.

    Images are not compared: a changed image is edited as it is now, a missing one is reported.

    Raises:
        ResumeMismatch: the file changed or is missing; names it.
    """
    for companion in job.companions:
        try:
            check_unchanged(companion)
        except SourceError as error:
            raise ResumeMismatch(error.message, hint=error.hint, survives=error.survives) from None
    source = job.source
    if not source.is_video:
        return
    path = Path(source.path)
    is_there = path.exists() or is_sequence(path)
    if not is_there or source_stamp(path) != source.stamp:
        change = "has changed" if is_there else "is missing"
        raise ResumeMismatch(
            f"{path} {change} since job {job.id} was planned.",
            hint="Restore the file, or start a new job with `ip2p-batch edit`.",
            survives="The job folder is unchanged.",
        )


def dispatch_next(
    folder: JobFolder,
    executor: Executor,
    settled: Collection[str] | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """Enqueue what is due: the next chunks of a wave, the next wave, or the assembly.

    Workers call it after each chunk that they settle, and the process that follows a job calls it
    for them when they cannot; one call runs at a time. While a wave is in flight, receipts are
    not counted, since that would make the cost of a job quadratic in its chunks.

    Args:
        settled: ids of chunks known to be settled; None checks all chunks in flight on disk.
        redelivered: the caller repeats a task whose process died, perhaps after it marked the
            assembly as sent and before it sent it. Such an assembly is enqueued again.

    Raises:
        BrokerError: the queue cannot be reached.
        OutputError: the job folder cannot be written.
    """
    if folder.ended or folder.cancelled or folder.paused:
        return
    with inflight.dispatch_lock(folder):
        if inflight.refill(folder, executor, settled):
            return
        folder.refresh()  # a retry may have replaced the plan
        plan = folder.plan()
        finished = folder.receipts.ids()
        failed = folder.failures.chunk_ids()
        for number in range(1, plan.waves + 1):
            wave = plan.wave(number)
            pending = [c for c in wave if c.id not in finished and c.id not in failed]
            if pending:
                inflight.start_wave(folder, executor, plan, number, pending)
                return
            if any(c.id in failed for c in wave):
                return  # later waves depend on this one
        if not failed:

            def enqueue_assembly() -> None:
                executor.enqueue_assembly(folder)
                chunk_log(log, folder, ASSEMBLY, "dispatched")

            folder.dispatch.dispatch_assembly(enqueue_assembly, redelivered=redelivered)
