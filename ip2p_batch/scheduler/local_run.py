"""Run a job to its end, as a stream of events.

Three ways, one loop (:func:`~ip2p_batch.scheduler.follow.follow_job`): with worker processes on
this machine behind a private Redis, with the workers of a broker, or in this process with an
editor of the caller's own. Command line and Python API use the same functions.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from ..editing.editor import Editor
from ..errors import Ip2pError, NoWorkerError
from ..jobs.activity import mark_on_broker, unclaim
from ..jobs.attempts import release_all
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..planning import pace
from ..queue import redis_url
from ..queue.capacity import limited_workers
from ..queue.celery_executor import CeleryExecutor, connect_executor
from ..queue.executor import Executor
from ..queue.local_workers import LocalWorkers
from ..queue.private_redis import PrivateRedis
from ..settings import Settings
from .dispatch import submit_job
from .follow import done_event, follow_job
from .local_executor import LocalExecutor
from .outputs import DYING_SECONDS, remove_parts
from .sequence import JOBS_AHEAD, follow_jobs

#: Default seconds to wait for the first answer of a worker.
ANSWER_SECONDS = 5.0


class WorkerSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which workers run a job.

    Attributes:
        broker: URL of a Redis with workers; None starts a private Redis and local workers that
            live as long as the run.
        workers: local worker processes; None lets the launcher choose by GPUs and cores.
        devices: ``auto``, ``cpu`` or GPU numbers such as ``0,1``, for local workers; None is
            ``IP2P_DEVICE``.
        answer_seconds: seconds to wait for a worker of ``broker`` to answer.
    """

    broker: str | None = None
    workers: int | None = None
    devices: str | None = None
    answer_seconds: float = ANSWER_SECONDS


def workers_log(folder: JobFolder) -> Path:
    """Log file of the local workers of a job."""
    return folder.path / "workers.log"


def run_job(
    folder: JobFolder, selection: WorkerSelection, *, check: Callable[[], None] = lambda: None
) -> Generator[Event, None, None]:
    """Run what is left of a job and yield its events until it is done, failed or cancelled.

    Close the iterator (``contextlib.closing``) to stop early: local workers end, finished chunks
    stay, and a later call continues.

    Args:
        check: called about once a second; raises to stop.

    Raises:
        BrokerError: Redis cannot be started or reached.
        NoWorkerError: no worker answers, or the local workers ended.
        Ip2pError: the job cannot continue; its folder stays as it is.
    """
    selection, warning = _limited(selection)
    if warning:
        yield Event(kind="warning", job=folder.path.name, message=warning)
    with _executor([folder], selection, check) as (executor, check_workers):
        yield from follow_job(folder, executor, check=check_workers)


def run_jobs(
    folders: Sequence[JobFolder],
    selection: WorkerSelection,
    *,
    check: Callable[[], None] = lambda: None,
) -> Generator[Event, None, None]:
    """Run what is left of several jobs on the same workers; as :func:`run_job` otherwise.

    The jobs are followed in order. A job that fails does not stop the others. With a broker, all
    jobs are in its queue from the start.

    Raises:
        BrokerError: Redis cannot be started or reached.
        NoWorkerError: no worker answers, or the local workers ended.
    """
    if all(folder.ended for folder in folders):  # every output existed already
        yield from map(done_event, folders)
        return
    selection, warning = _limited(selection)
    if warning:
        yield Event(kind="warning", message=warning)
    ahead = JOBS_AHEAD if selection.broker is None else len(folders)
    with _executor(folders, selection, check) as (executor, check_workers):
        yield from follow_jobs(folders, executor, check=check_workers, ahead=ahead)


def run_in_process(
    folder: JobFolder, editor: Editor, *, check: Callable[[], None] = lambda: None
) -> Generator[Event, None, None]:
    """Run what is left of a job in this process with ``editor``, one chunk at a time.

    No Redis and no worker process. Events, retries and errors are those of :func:`run_job`.
    """
    with _owned([folder]):
        yield from follow_job(folder, LocalExecutor(lambda _: editor), check=check)


def run_all_in_process(
    folders: Sequence[JobFolder], editor: Editor, *, check: Callable[[], None] = lambda: None
) -> Generator[Event, None, None]:
    """Run several jobs as :func:`run_in_process` runs one; events are those of :func:`run_jobs`."""
    with _owned(folders):
        yield from follow_jobs(folders, LocalExecutor(lambda _: editor), check=check, ahead=0)


def submit_to_broker(folders: Iterable[JobFolder], selection: WorkerSelection) -> bool:
    """Enqueue jobs for the workers of a broker and return.

    Returns:
        Whether a worker answered within ``selection.answer_seconds``. The jobs stay in the queue
        either way.

    Raises:
        BrokerError: Redis cannot be reached.
    """
    assert selection.broker is not None
    with connect_executor(selection.broker) as executor:
        for folder in folders:
            send_to_broker(folder, executor)
        return _answers(executor, selection.answer_seconds)


def send_to_broker(folder: JobFolder, executor: Executor) -> None:
    """Dispatch a job to workers of a broker, which need no process that follows it.

    Raises:
        BrokerError, ResumeMismatch, JobError: see
            :func:`~ip2p_batch.scheduler.dispatch.submit_job`.
    """
    submit_job(folder, executor)
    mark_on_broker(folder, on_broker=True)
    unclaim(folder)


@contextmanager
def _owned(folders: Sequence[JobFolder]) -> Iterator[None]:
    """End this process's claims to the outputs of jobs after the block."""
    try:
        yield
    finally:
        for folder in folders:
            unclaim(folder)


def worker_command(url: str) -> str:
    """The command line that starts a worker for ``url``, without its password."""
    return f"ip2p-batch worker --broker {redis_url.redact_url(url)}"


def _limited(selection: WorkerSelection) -> tuple[WorkerSelection, str]:
    """The selection with as many local workers as fit this machine, and a warning or nothing."""
    if selection.broker is not None or selection.workers is None:
        return selection, ""
    count, warning = limited_workers(selection.workers)
    return msgspec.structs.replace(selection, workers=count), warning


@contextmanager
def _executor(
    folders: Sequence[JobFolder], selection: WorkerSelection, check: Callable[[], None]
) -> Iterator[tuple[CeleryExecutor, Callable[[], None]]]:
    """An executor with workers, and a function that checks both the caller and the workers."""
    if selection.broker is not None:
        with _owned(folders), _broker(folders, selection, selection.broker) as executor:
            yield executor, check
        return
    log = workers_log(folders[0])
    with (
        _owned(folders),
        _measured(folders[0]),
        PrivateRedis() as redis,
        _released_on_stop(folders),
        LocalWorkers(redis.url, selection.workers, selection.devices, log) as workers,
        closing(CeleryExecutor(redis.url)) as executor,
    ):

        def check_workers() -> None:
            check()
            workers.check()

        _mark(folders, on_broker=False)
        yield executor, check_workers


def _mark(folders: Sequence[JobFolder], *, on_broker: bool) -> None:
    """Record which workers run the jobs; of a superseded one nothing."""
    for folder in folders:
        if folder.superseded is None:
            mark_on_broker(folder, on_broker=on_broker)


@contextmanager
def _measured(folder: JobFolder) -> Iterator[None]:
    """Record the pace of a job that ended in this block, for the estimates of `plan`."""
    started = time.time()
    try:
        yield
    finally:
        if folder.ended:
            pace.record(folder, started, Settings.from_env().cache)


@contextmanager
def _broker(
    folders: Sequence[JobFolder], selection: WorkerSelection, url: str
) -> Iterator[CeleryExecutor]:
    with connect_executor(url) as executor:
        if not _answers(executor, selection.answer_seconds):
            names = [folder.path.name for folder in folders]
            again = f"`ip2p-batch resume {names[0]}`" if len(names) == 1 else "the same command"
            raise NoWorkerError(
                f"No worker answers at {redis_url.redact_url(url)}.",
                hint=f"Start one with `{worker_command(url)}`, then {again}."
                " Or add --detach to leave the job in the queue.",
                survives=f"The job is kept in {folders[0].path}."
                if len(names) == 1
                else f"{len(names)} jobs are kept.",
            )
        _mark(folders, on_broker=True)
        yield executor


@contextmanager
def _released_on_stop(folders: Sequence[JobFolder]) -> Iterator[None]:
    """When the run stops early, record that the local workers were stopped, not crashed.

    Attempts without an end count as crashes of the chunk; these were ended on purpose. Only
    workers that ended by themselves (NoWorkerError) crashed.
    """
    try:
        yield
    except NoWorkerError:
        raise
    except BaseException:
        deadline = time.monotonic() + DYING_SECONDS
        for folder in folders:
            with suppress(Ip2pError, OSError):
                _release(folder, deadline)
            remove_parts(folder)
        raise


def _release(folder: JobFolder, deadline: float) -> None:
    """Record that this host's workers were stopped, once they have ended; killed ones take time."""
    here = platform.node()
    while True:
        release_all(folder, here)
        at_work = any(heartbeat.worker.host == here for heartbeat in folder.heartbeats.all())
        if not at_work or time.monotonic() >= deadline:
            return
        time.sleep(0.05)


def _answers(executor: CeleryExecutor, seconds: float) -> bool:
    """Whether a worker answers within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not executor.workers(enough=1):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)
    return True
