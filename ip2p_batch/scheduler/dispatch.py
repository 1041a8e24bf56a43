"""What is handed over next: chunks of a wave, the assembly, or nothing any more."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from ..errors import ResumeMismatch
from ..jobs.attempts import forget
from ..jobs.folder import JobFolder
from ..jobs.spec import Job
from ..media.video import probe
from ..queue.executor import Executor
from . import inflight


def submit_job(folder: JobFolder, executor: Executor) -> None:
    """Hand over what is to be done next: for a new job, a resumed one, or one that stands still.

    Raises:
        ResumeMismatch: the source changed since the plan was made.
        OutputError: the output appeared meanwhile.
    """
    job = folder.job()
    check_source(job)
    with inflight.held(folder):
        folder.resume()
        forget(folder, folder.failures.chunk_ids())
        folder.failures.clear()
        folder.hardware.clear()
        inflight.forget(folder)
        folder.dispatch.clear_redispatches()
    dispatch_next(folder, executor)


def check_source(job: Job) -> None:
    """Refuse to go on with a source that is not the one that was planned.

    Raises:
        ResumeMismatch: it changed or is gone; names it.
    """
    source = job.source
    if not source.is_video:
        return  # a changed picture is edited as it is now; a vanished one is reported
    path = Path(source.path)
    if not path.exists() or probe.stamp(path) != source.stamp:
        what = "has changed" if path.exists() else "is gone"
        raise ResumeMismatch(
            f"{path} {what} since job {job.id} was planned.",
            hint="Put the file back, or start a new job with `ip2p-batch edit`.",
            survives="The job folder stays as it is.",
        )


def dispatch_next(
    folder: JobFolder,
    executor: Executor,
    is_settled: Collection[str] | None = None,
    *,
    again: bool = False,
) -> None:
    """Hand over what is due: the next chunks of a wave, the next wave, or the assembly.

    Called by whoever settles a chunk, one at a time. While a wave is under way, receipts are not
    counted: else a job would cost the square of its chunks.

    Args:
        is_settled: ids of chunks known to be settled; None to look at all that are under way.
        again: the caller comes in the place of one that died, perhaps in the midst of handing
            over the assembly: what did not get as far as its message is handed over once more.
    """
    if folder.ended or folder.cancelled or folder.paused:
        return
    with inflight.held(folder):
        if inflight.move_on(folder, executor, is_settled):
            return
        folder.refresh()  # planned again, perhaps
        plan = folder.plan()
        done = folder.receipts.ids()
        failed_chunks = folder.failures.chunk_ids()
        for number in range(1, plan.waves + 1):
            wave = plan.wave(number)
            pending = [c for c in wave if c.id not in done and c.id not in failed_chunks]
            if pending:
                inflight.begin(folder, executor, plan, number, pending)
                return
            if any(c.id in failed_chunks for c in wave):
                return  # later waves stand on this one
        if not failed_chunks:
            enqueue = partial(executor.enqueue_assembly, folder)
            folder.dispatch.dispatch_assembly(enqueue, again=again)


def unpause(folder: JobFolder, executor: Executor | None) -> None:
    """Have a paused job go on.

    Args:
        executor: what hands it over; None leaves that to whoever follows the job.

    Raises:
        BrokerError: Redis cannot be reached; the job is not paused any more.
    """
    with inflight.held(folder):
        # What the queue had of it may have ended by now; what it still has is found there.
        inflight.forget(folder)
        folder.resume()
    if executor is not None:
        dispatch_next(folder, executor)
