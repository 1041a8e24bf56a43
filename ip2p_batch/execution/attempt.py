"""Attempts at a chunk or at the assembly: how often, after which errors, and the end of them.

Local runs and Celery workers share this loop. It covers errors that Python raises. What kills the
process is counted in the job folder, by :mod:`ip2p_batch.jobs.attempts`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from ..errors import ChunkTaken, IncompatibleWorker, IncompleteJob, Ip2pError, JobCancelled
from ..jobs.folder import JobFolder
from ..jobs.records import Failure, WorkerInfo
from ..storage.atomic import retry_transient

#: A chunk that fails this often is given up.
MAX_ATTEMPTS = 3
#: Seconds between attempts.
_DELAYS = tuple(0.2 * number for number in range(1, MAX_ATTEMPTS))

#: Called with an error and the number of the attempt that raised it, from 1.
OnError = Callable[[Exception, int], None]


def run_attempts(
    work: Callable[[], object],
    *,
    on_failure: OnError,
    on_error: OnError = lambda _error, _attempt: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Do ``work``, up to ``MAX_ATTEMPTS`` times.

    Unforeseen exceptions are retried, too: they may be gone the next time.

    Args:
        work: one attempt.
        on_failure: called once no attempt is left or none can help; records the failure.
        on_error: called while each error is handled, for the log.
        sleep: called with the seconds between two attempts.

    Returns:
        False where the job was cancelled meanwhile; True after success and after ``on_failure``.

    Raises:
        ChunkTaken, IncompleteJob, IncompatibleWorker: for the caller to act on; never retried.
    """
    attempt = 0

    def try_once() -> None:
        nonlocal attempt
        attempt += 1
        if attempt > 1:
            gc.collect()  # what the failed attempt held, above all a device's memory
        work()

    try:
        retry_transient(
            try_once,
            transient=_is_retryable,
            delays=_DELAYS,
            before_retry=lambda error: on_error(error, attempt),
            sleep=sleep,
        )
    except JobCancelled:
        return False
    except (ChunkTaken, IncompleteJob, IncompatibleWorker):
        raise
    except Exception as error:
        on_error(error, attempt)
        on_failure(error, attempt)
    return True


def _is_retryable(error: Exception) -> bool:
    return error.retryable if isinstance(error, Ip2pError) else True


def give_up(
    job_dir: JobFolder, chunk_id: str, error: Exception, *, attempts: int, worker: WorkerInfo
) -> None:
    """Record that a chunk could not be done, so that the job can end and say why.

    Raises:
        OutputError: the job folder cannot be written.
        OutsideRoots: this worker may not use it.
    """
    if job_dir.receipt(chunk_id) is not None:
        return  # another worker had it, too, and has finished it
    known = _in_one_line(error)
    job_dir.remove_heartbeat(chunk_id)
    job_dir.write_failure(
        Failure(
            chunk=chunk_id,
            error=type(error).__name__,
            message=known.message,
            hint=known.hint,
            attempts=attempts,
            worker=worker,
        )
    )


def _in_one_line(error: Exception) -> Ip2pError:
    """``error``, or where nobody foresaw it, its class and the first line of its text."""
    if isinstance(error, Ip2pError):
        return error
    lines = str(error).strip().splitlines()
    return Ip2pError(
        f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}",
        hint="The worker's log has more.",
    )
