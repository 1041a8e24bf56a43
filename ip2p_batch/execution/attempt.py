"""Retry a chunk or the assembly, and record the failure after the last attempt.

Local runs and Celery workers share this loop. It covers errors that Python raises;
:mod:`ip2p_batch.jobs.attempts` counts crashes of the process in the job folder.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

from ..errors import ChunkTaken, IncompatibleWorker, IncompleteJob, Ip2pError, JobCancelled
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.records import Failure, WorkerInfo
from ..storage.atomic import retry_transient

log = logging.getLogger(__name__)

#: Attempts at a chunk before it fails.
MAX_ATTEMPTS = 3
#: Seconds between attempts.
_DELAYS = tuple(0.2 * number for number in range(1, MAX_ATTEMPTS))

#: Called with an error and the number of the attempt that raised it, from 1.
OnError = Callable[[Exception, int], None]


def run_attempts(
    work: Callable[[], object],
    *,
    on_failure: OnError,
    on_retry: OnError = lambda _error, _attempt: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Call ``work`` until it succeeds, up to ``MAX_ATTEMPTS`` times.

    Unforeseen exceptions are retried, too, since they may be transient.

    Args:
        work: one attempt.
        on_failure: called while the last error is handled, once no attempt is left or none can
            help; records the failure.
        on_retry: called while each earlier error is handled.
        sleep: called with the seconds between two attempts.

    Returns:
        False where the job was cancelled meanwhile; True after success or after ``on_failure``.

    Raises:
        ChunkTaken, IncompleteJob, IncompatibleWorker: for the caller to handle; never retried.
    """
    attempt = 0

    def try_once() -> None:
        nonlocal attempt
        attempt += 1
        if attempt > 1:
            gc.collect()  # frees what the failed attempt held, above all device memory
        work()

    try:
        retry_transient(
            try_once,
            transient=_is_retryable,
            delays=_DELAYS,
            before_retry=lambda error: on_retry(error, attempt),
            sleep=sleep,
        )
    except JobCancelled:
        return False
    except (ChunkTaken, IncompleteJob, IncompatibleWorker):
        raise
    except Exception as error:
        on_failure(error, attempt)
    return True


def _is_retryable(error: Exception) -> bool:
    return error.retryable if isinstance(error, Ip2pError) else True


def give_up(
    folder: JobFolder, chunk_id: str, error: Exception, *, attempts: int, worker: WorkerInfo
) -> None:
    """Record that a chunk failed, so that the job can end and report the reason.

    Raises:
        OutputError: the job folder cannot be written.
        OutsideRoots: this worker may not use it.
    """
    if folder.receipts.get(chunk_id) is not None:
        return  # another worker had it, too, and has finished it
    summary = _in_one_line(error)
    folder.heartbeats.remove(chunk_id)
    folder.failures.write(
        Failure(
            chunk=chunk_id,
            error=type(error).__name__,
            message=summary.message,
            hint=summary.hint,
            attempts=attempts,
            worker=worker,
        )
    )
    facts = {"attempts": attempts, "error": type(error).__name__, "message": summary.message}
    chunk_log(log, folder, chunk_id, "failed", **facts)


def _in_one_line(error: Exception) -> Ip2pError:
    """Return ``error``; of an unforeseen one its class and the first line of its text."""
    if isinstance(error, Ip2pError):
        return error
    lines = str(error).strip().splitlines()
    return Ip2pError(
        f"{type(error).__name__}: {lines[0] if lines else 'no message'}",
        hint="See the worker's log.",
    )
