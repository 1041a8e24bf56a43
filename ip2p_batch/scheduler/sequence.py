"""Run several jobs of one command, one after another, on the same workers.

Workers keep their model loaded between jobs. The chunks of the next job are in the queue while the
last ones of a job are edited, so no worker waits for the end of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from ..errors import BrokerError, Ip2pError
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..queue.executor import Executor
from .dispatch import submit_job
from .follow import done_event, lead_job
from .reconcile import ReconcileLimits

#: Jobs that are in the queue behind the one that is followed. More would make the first results
#: late, since jobs in the queue take turns.
JOBS_AHEAD = 1


def follow_jobs(
    folders: Sequence[JobFolder],
    executor: Executor,
    *,
    check: Callable[[], None] = lambda: None,
    limits: ReconcileLimits | None = None,
    ahead: int = JOBS_AHEAD,
) -> Generator[Event, None, None]:
    """Dispatch jobs and yield the events of one after another, until the last has ended.

    A job that fails, or that cannot be continued, ends with a ``failed`` event; the others are
    still edited.

    Args:
        check: called about once a second; raises to stop.
        limits: as for :func:`~ip2p_batch.scheduler.follow.follow_job`.
        ahead: jobs to submit in addition to the one that is followed.

    Raises:
        BrokerError: the queue cannot be reached, or no worker is left.
    """
    refused: dict[int, Ip2pError] = {}
    submitted = 0
    for number, folder in enumerate(folders):
        while submitted < min(len(folders), number + 1 + ahead):
            if (error := _submit(folders[submitted], executor)) is not None:
                refused[submitted] = error
            submitted += 1
        if number in refused:
            yield failed_event(folder.path.name, refused[number])
        elif folder.ended:
            yield done_event(folder)
        else:
            yield from _lead(folder, executor, check, limits)


def failed_event(job: str, error: Ip2pError) -> Event:
    """The ``failed`` event of a job, or of a source, that cannot be edited."""
    data = {"error": type(error).__name__, "hint": error.hint}
    return Event(kind="failed", job=job, message=error.message, data=data)


def _submit(folder: JobFolder, executor: Executor) -> Ip2pError | None:
    """Submit a job that has not ended; the error, if its source changed or its folder is lost."""
    try:
        if not folder.ended:
            submit_job(folder, executor)
    except BrokerError:
        raise
    except Ip2pError as error:
        return error
    return None


def _lead(
    folder: JobFolder,
    executor: Executor,
    check: Callable[[], None],
    limits: ReconcileLimits | None,
) -> Generator[Event, None, None]:
    try:
        yield from lead_job(folder, executor, check=check, limits=limits)
    except BrokerError:
        raise
    except Ip2pError as error:
        yield failed_event(folder.path.name, error)
