"""Celery's tasks: read the message, call ``ip2p_batch``, say nothing of how.

Transient errors are retried here, three times. Celery retries the task of a process that crashed
or was killed because it hung, and redelivers the message of a lost machine.
``ip2p_batch.execution.chunk`` counts these in the job folder and finds the frame at fault.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import Task, signals
from celery.exceptions import Reject, WorkerLostError

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import Editor
from ip2p_batch.errors import (
    BrokerError,
    ChunkTaken,
    IncompatibleWorker,
    IncompleteJob,
    Ip2pError,
    JobError,
    OutputError,
    OutsideRoots,
)
from ip2p_batch.execution.assemble import assemble
from ip2p_batch.execution.attempt import MAX_ATTEMPTS, give_up, run_attempts
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.timeout import HangDetector
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs import attempts
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import Chunk
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.planning.cost import LEAST_SECONDS
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.executor import ASSEMBLY
from ip2p_batch.queue.messages import MAX_RETRIES, TASK_ASSEMBLE, TASK_CHUNK, Message, read_message
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings
from ip2p_batch.storage.atomic import retry_transient

from . import compatibility
from .app import app
from .editor_cache import kept_editor_for
from .task_request import ChunkRequest

log = logging.getLogger(__name__)

#: Seconds for a job folder to appear: on a network share it may come after its message.
_APPEAR_SECONDS = 5.0
#: How often a message is handed on, a second apart, to find a worker that sees its job folder.
_MOST_SEEN = 10
_HAND_ON_SECONDS = 1.0
_DISK_SECONDS = 5.0
_BROKER_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)

_executors: dict[str, CeleryExecutor] = {}
_patient: HangDetector | None = None
#: Job folders that did not appear, and when: their other messages are not waited for.
_missing: dict[str, float] = {}


@app.task(
    bind=True,
    name=TASK_CHUNK,
    max_retries=MAX_RETRIES,
    default_retry_delay=0,
    Request=ChunkRequest,
)
def chunk(self: Task[Any, Any], /, **fields: object) -> None:
    """Do one chunk of a job, and hand over what comes next."""
    try:
        told = read_message(fields)
        folder = _folder(self, told)
        if folder is None or folder.cancelled or folder.paused:
            return
        planned = folder.chunk(told.chunk or "")
    except Ip2pError as error:
        _drop(error)
        return
    _feed(folder)

    def work() -> None:
        compatibility.check(folder, told.fingerprint)
        process_chunk(
            folder,
            planned,
            editor_for=editor_for,
            worker=who(),
            hang_detector=_patience(),
            worker_cache=_workshop(),
        )

    request = self.request
    again = request.retries > 0 or (request.delivery_info or {}).get("redelivered", False)
    try:
        if _attempt(folder, planned.id, work):
            _advance(folder, (planned.id,), again=bool(again))
    except IncompatibleWorker as error:
        _leave_to_others(self, folder, told, planned, error)
    except ChunkTaken as error:
        # Whoever has it may die yet, and of the two messages ours may be the only one left.
        times = int((self.request.headers or {}).get("ip2p_again", 0))
        log.log(logging.DEBUG if times else logging.WARNING, "%s", error)
        time.sleep(_HAND_ON_SECONDS)
        _again(self, told, {"ip2p_again": str(min(times + 1, 999))})


@app.task(
    bind=True,
    name=TASK_ASSEMBLE,
    max_retries=MAX_RETRIES,
    default_retry_delay=0,
    Request=ChunkRequest,
)
def assemble_job(self: Task[Any, Any], /, **fields: object) -> None:
    """Join a job's segments into its output."""
    try:
        folder = _folder(self, read_message(fields))
        if folder is None or folder.cancelled or folder.paused:
            return
    except Ip2pError as error:
        _drop(error)
        return
    try:
        _attempt(folder, ASSEMBLY, lambda: _assemble(folder))
    except ChunkTaken as error:
        log.warning("%s", error)
    except IncompleteJob as error:
        # Without chunks, another worker is at it, and need not be disturbed. With chunks, their
        # files are gone or damaged: they are made again.
        if error.chunks and not _reopened(folder):
            _give_up(folder, ASSEMBLY, error, 1)


def _assemble(folder: JobFolder) -> None:
    """Join the segments; not for ever, where that kills its process."""
    with attempts.begin(folder, ASSEMBLY, who()) as holding:
        deaths = holding.earlier.deaths
        if deaths >= MAX_ATTEMPTS:
            raise JobError(
                f"The worker process died or hung {deaths} times while it joined the segments.",
                hint="The worker's log has more. `ip2p-batch resume` tries again.",
                survives="Finished chunks are kept.",
            )
        assemble(folder)


def _drop(error: Ip2pError) -> None:
    """A message that nothing can be done with; where a share only stumbled, it comes again."""
    if error.retryable:
        log.warning("message put back: %s", error)
        time.sleep(_DISK_SECONDS)
        raise Reject(str(error), requeue=True)
    log.error("message dropped: %s", error)


def _reopened(folder: JobFolder) -> bool:
    try:
        reopened = folder.redispatch()
    except Ip2pError as error:
        log.warning("%s", error)
        return False
    if reopened:
        _advance(folder, None)
    return reopened


def _attempt(folder: JobFolder, name: str, work: Callable[[], object]) -> bool:
    """Do ``work``, again where that may help; False where the job was cancelled meanwhile.

    After the last attempt the failure stands in the job folder under ``name``. Tracebacks go to
    the worker's log only.
    """

    def on_error(_: Exception, attempt: int) -> None:
        log.warning("%s of %s, attempt %d", name, folder.path, attempt, exc_info=True)

    return run_attempts(
        work,
        on_failure=lambda error, attempt: _give_up(folder, name, error, attempt),
        on_error=on_error,
    )


def _give_up(folder: JobFolder, name: str, error: Exception, attempts: int) -> None:
    try:
        give_up(folder, name, error, attempts=attempts, worker=who())
    except OutsideRoots as refusal:
        log.error("%s of %s is given up: %s; %s", name, folder.path, error, refusal)
    except OutputError as full:
        # A detached job has nobody to be told: its chunk waits in the queue for the disk.
        log.error("%s of %s: %s; %s", name, folder.path, error, full)
        time.sleep(_DISK_SECONDS)
        raise Reject(str(full), requeue=True) from None


def _feed(folder: JobFolder) -> None:
    """Where other workers have nothing to do, hand over more: there are more of them by now."""
    try:
        executor = _executor()
        if executor.starving():
            scheduler.dispatch_next(folder, executor, ())
    except Ip2pError as error:
        log.info("%s", error)  # nothing hangs on it


def _advance(folder: JobFolder, is_settled: Collection[str] | None, *, again: bool = False) -> None:
    """Hand over what comes next; waits for Redis and for the disk, since a detached job has
    nobody else.
    """
    try:
        retry_transient(
            lambda: scheduler.dispatch_next(folder, _executor(), is_settled, again=again),
            transient=lambda error: isinstance(error, (BrokerError, OutputError)),
            delays=_BROKER_PAUSES,
            before_retry=lambda error: log.warning("%s", error),
        )
    except (BrokerError, OutputError) as error:
        log.warning("%s", error)
        # Comes back when Redis does, finds its receipt, and hands over then.
        raise Reject(str(error), requeue=True) from None


@signals.task_failure.connect(weak=False)
def _process_lost(
    exception: BaseException | None = None, kwargs: dict[str, Any] | None = None, **_: Any
) -> None:
    """Give up a chunk whose process died too often to be told why; runs in the parent."""
    if not isinstance(exception, WorkerLostError) or not kwargs:
        return
    try:
        told = read_message(kwargs)
        folder = open_job(told.job, told.fingerprint)
        if folder is None:
            return
        error = JobError(
            f"The worker process died {MAX_RETRIES + 1} times at this chunk.",
            hint="The worker's log has more; a smaller --size needs less memory.",
        )
        name = folder.chunk(told.chunk).id if told.chunk else ASSEMBLY
        give_up(folder, name, error, attempts=MAX_RETRIES + 1, worker=who())
        scheduler.dispatch_next(
            folder, _executor(), (name,)
        )  # others wait for its place in the queue
    except Ip2pError as error:
        log.error("%s", error)


def _folder(task: Task[Any, Any], told: Message) -> JobFolder | None:
    """The job that a message means; None where its folder is not on this machine.

    Raises:
        Ip2pError: as :func:`open_job`.
    """
    folder = open_job(told.job, told.fingerprint)
    if folder is not None:
        return folder
    place = Path(told.job)
    seen = int((task.request.headers or {}).get("ip2p_seen", 0)) + 1
    if place.parent.is_dir() or seen > _MOST_SEEN:
        log.error("message dropped: there is no job folder %s", place)
        return None
    # Perhaps only this machine lacks the shared folder.
    log.error("%s is not on this machine; workers must share the job folders", place.parent)
    time.sleep(_HAND_ON_SECONDS)
    _again(task, told, {"ip2p_seen": str(seen)})
    return None


def _leave_to_others(
    task: Task[Any, Any],
    folder: JobFolder,
    told: Message,
    planned: Chunk,
    error: IncompatibleWorker,
) -> None:
    node = task.request.hostname or ""
    try:
        if compatibility.pass_on(
            folder,
            told.fingerprint,
            planned,
            error,
            node=node,
            worker=who(),
            executor=_executor(),
        ):
            _again(task, told, {})
    except Ip2pError as trouble:  # whoever follows the job hands the chunk over again
        log.error("message dropped: %s", trouble)


def _again(task: Task[Any, Any], told: Message, headers: dict[str, str]) -> None:
    """Send a message once more, behind the others, before this one is acknowledged."""
    limit, _ = task.request.timelimit or (None, None)
    priority = int((task.request.delivery_info or {}).get("priority") or 0)
    try:
        _executor().again(told, limit=limit, priority=priority, headers=headers)
    except BrokerError as error:
        raise Reject(str(error), requeue=True) from None


def open_job(path: str, fingerprint: str) -> JobFolder | None:
    """The job folder at ``path``; None where there is none on this machine.

    Raises:
        JobError: the folder is damaged, or the job in it is another by now.
        OutsideRoots: this worker may not use it.
    """
    folder = JobFolder(path, Settings.from_env().allowed_roots)
    folder.roots.allow(folder.path)  # before it is looked for
    if not _appears(folder):
        return None
    if folder.job().fingerprint() != fingerprint:
        raise JobError(f"{path} holds another job by now")
    return folder


def _appears(folder: JobFolder) -> bool:
    """Whether the job folder is there, or comes within a few seconds."""
    key, now = str(folder.path), time.monotonic()
    # A minute later it is worth another look.
    hang_detector = 0.0 if now - _missing.get(key, -60.0) < 60.0 else _APPEAR_SECONDS
    while not folder.exists():
        if time.monotonic() - now >= hang_detector:
            if hang_detector:
                _missing[key] = time.monotonic()
            return False
        time.sleep(0.25)
        with suppress(OSError):
            # A network share forgets that there was nothing only when the folder above is read.
            next(folder.path.parent.iterdir(), None)
    _missing.pop(key, None)
    return True


def editor_for(recipe: Recipe) -> Editor:
    """The editor of a recipe; weights are loaded once and kept."""
    return kept_editor_for(recipe, Settings.from_env())


@cache
def _workshop() -> WorkerCache:
    """What this process keeps; made after the fork, since threads do not outlive one."""
    return WorkerCache(Settings.from_env().cpu_threads)


def _patience() -> HangDetector:
    """How long this process lets a chunk take."""
    global _patient
    if _patient is None:
        settings = Settings.from_env()
        device = "cuda" if settings.device.startswith("cuda") else "cpu"
        _patient = HangDetector(
            _hung, device=device, minimum=settings.chunk_timeout or LEAST_SECONDS
        )
    return _patient


def _hung(line: str) -> None:
    """End this process, which hangs; the worker starts another, and the chunk comes again."""
    log.error("%s: its process is killed", line)
    os.kill(os.getpid(), signal.SIGKILL)


def who() -> WorkerInfo:
    """Name this process, for claims and receipts."""
    return WorkerInfo(host=platform.node(), pid=os.getpid(), torch=version("torch"))


def _executor() -> CeleryExecutor:
    url = app.conf.broker_url
    if url not in _executors:
        _executors[url] = CeleryExecutor(url)
    return _executors[url]
