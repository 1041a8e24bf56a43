"""Celery tasks: read the message and call ``ip2p_batch``.

A task retries transient errors itself, up to three attempts. Celery retries the task of a process
that crashed, or that was killed because it hung, and redelivers the message of a lost machine.
:mod:`ip2p_batch.execution.chunk` counts those crashes in the job folder and finds the frame at
fault.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from celery import Task, signals
from celery.exceptions import Reject, WorkerLostError

from ip2p_batch import scheduler
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
from ip2p_batch.jobs import attempts
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.log import chunk_log
from ip2p_batch.jobs.plan import ASSEMBLY, Chunk
from ip2p_batch.queue.messages import MAX_RETRIES, TASK_ASSEMBLE, TASK_CHUNK, Message, read_message
from ip2p_batch.storage.atomic import retry_transient

from .app import app
from .state import WorkerState, process_state
from .task_request import ChunkRequest

log = logging.getLogger(__name__)

#: How often a message is requeued to find a worker that sees its job folder.
_MAX_FOLDER_MISSING = 10
_REQUEUE_DELAY_SECONDS = 1.0
_DISK_DELAY_SECONDS = 5.0
_BROKER_DELAYS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)


@app.task(
    bind=True,
    name=TASK_CHUNK,
    max_retries=MAX_RETRIES,
    default_retry_delay=0,
    Request=ChunkRequest,
)
def chunk(self: Task[Any, Any], /, **fields: object) -> None:
    """Edit one chunk of a job, and dispatch what comes next."""
    state = process_state()
    try:
        message = read_message(fields)
        folder = _open_folder(self, state, message)
        if folder is None or _is_dropped(folder, message.chunk):
            return
        planned = folder.chunk(message.chunk)
    except Ip2pError as error:
        _drop(error)
        return
    request = self.request
    is_repeated = request.retries > 0 or bool(
        (request.delivery_info or {}).get("redelivered", False)
    )
    chunk_log(log, folder, planned.id, "received", node=request.hostname, redelivered=is_repeated)
    _dispatch_if_idle(state, folder)

    def work() -> None:
        state.refused_jobs.check(folder, message.fingerprint)
        process_chunk(
            folder,
            planned,
            editor_for=state.editors.get,
            worker=state.worker_info(),
            hang_detector=state.hang_detector,
            worker_cache=state.worker_cache,
        )

    try:
        if _attempt(state, folder, planned.id, work):
            _dispatch_next(state, folder, (planned.id,), redelivered=is_repeated)
    except IncompatibleWorker as error:
        _pass_on(self, state, folder, message, planned, error)
    except ChunkTaken as error:
        # The holder may still die, and this message may be the only one left of the two.
        times = int((request.headers or {}).get("ip2p_chunk_taken", 0))
        log.log(logging.DEBUG if times else logging.WARNING, "%s", error)
        time.sleep(_REQUEUE_DELAY_SECONDS)
        _requeue(self, state, folder, message, {"ip2p_chunk_taken": str(min(times + 1, 999))})


@app.task(
    bind=True,
    name=TASK_ASSEMBLE,
    max_retries=MAX_RETRIES,
    default_retry_delay=0,
    Request=ChunkRequest,
)
def assemble_job(self: Task[Any, Any], /, **fields: object) -> None:
    """Join a job's segments into its output."""
    state = process_state()
    try:
        folder = _open_folder(self, state, read_message(fields))
        if folder is None or _is_dropped(folder, ASSEMBLY):
            return
    except Ip2pError as error:
        _drop(error)
        return
    chunk_log(log, folder, ASSEMBLY, "received", node=self.request.hostname)
    try:
        _attempt(state, folder, ASSEMBLY, lambda: _assemble(state, folder))
    except ChunkTaken as error:
        log.warning("%s", error)
    except IncompleteJob as error:
        # Without chunks, another worker is assembling the job. With chunks, their files are
        # missing or damaged, and they are dispatched again.
        if error.chunks and not _redispatch(state, folder):
            _give_up(state, folder, ASSEMBLY, error, 1)


def _assemble(state: WorkerState, folder: JobFolder) -> None:
    """Join the segments, unless that crashed its process too often."""
    with attempts.acquire(folder, ASSEMBLY, state.worker_info()) as lease:
        chunk_log(log, folder, ASSEMBLY, "leased", attempt=lease.number)
        crashes = lease.earlier.crashes
        if crashes >= MAX_ATTEMPTS:
            raise JobError(
                f"The worker process died or hung {crashes} times while it joined the segments.",
                hint="See the worker's log. `ip2p-batch resume` tries again.",
                survives="Finished chunks are kept.",
            )
        assemble(folder)


def _drop(error: Ip2pError) -> None:
    """Drop a message that cannot be used; return it to the queue after a transient error."""
    if error.retryable:
        log.warning("message returned to the queue: %s", error)
        time.sleep(_DISK_DELAY_SECONDS)
        raise Reject(str(error), requeue=True)
    log.error("message dropped: %s", error)


def _redispatch(state: WorkerState, folder: JobFolder) -> bool:
    """Dispatch chunks again whose files are missing; False where that was tried too often."""
    try:
        redispatched = folder.dispatch.redispatch()
    except Ip2pError as error:
        log.warning("%s", error)
        return False
    if redispatched:
        _dispatch_next(state, folder, None)
    return redispatched


def _attempt(state: WorkerState, folder: JobFolder, name: str, work: Callable[[], object]) -> bool:
    """Do ``work``, with retries; False where the job was cancelled meanwhile.

    After the last attempt the failure is in the job folder under ``name``. Tracebacks are in the
    worker's log only.
    """

    def on_retry(error: Exception, attempt: int) -> None:
        log.warning("%s of %s, attempt %d", name, folder.path, attempt, exc_info=True)
        chunk_log(log, folder, name, "retrying", attempt=attempt, error=type(error).__name__)

    def on_failure(error: Exception, attempt: int) -> None:
        log.warning("%s of %s, attempt %d", name, folder.path, attempt, exc_info=True)
        _give_up(state, folder, name, error, attempt)

    return run_attempts(work, on_failure=on_failure, on_retry=on_retry)


def _give_up(
    state: WorkerState, folder: JobFolder, name: str, error: Exception, attempts: int
) -> None:
    try:
        give_up(folder, name, error, attempts=attempts, worker=state.worker_info())
    except OutsideRoots as refusal:
        log.error("%s of %s failed: %s; %s", name, folder.path, error, refusal)
    except OutputError as disk_error:
        # No command may be following the job, so the chunk waits in the queue for the disk.
        log.error("%s of %s: %s; %s", name, folder.path, error, disk_error)
        chunk_log(log, folder, name, "requeued", reason=str(disk_error))
        time.sleep(_DISK_DELAY_SECONDS)
        raise Reject(str(disk_error), requeue=True) from None


def _dispatch_if_idle(state: WorkerState, folder: JobFolder) -> None:
    """Dispatch more chunks where other workers have nothing to do, since workers have joined."""
    try:
        if state.executor.is_idle():
            scheduler.dispatch_next(folder, state.executor, ())
    except Ip2pError as error:
        log.info("%s", error)  # only throughput depends on it


def _dispatch_next(
    state: WorkerState,
    folder: JobFolder,
    settled: Collection[str] | None,
    *,
    redelivered: bool = False,
) -> None:
    """Dispatch what comes next; wait for Redis and the disk, as no command may follow the job."""
    try:
        retry_transient(
            lambda: scheduler.dispatch_next(
                folder, state.executor, settled, redelivered=redelivered
            ),
            transient=lambda error: isinstance(error, (BrokerError, OutputError)),
            delays=_BROKER_DELAYS,
            before_retry=lambda error: log.warning("%s", error),
        )
    except (BrokerError, OutputError) as error:
        log.warning("%s", error)
        # Redis delivers the message again; its chunk has a receipt then, so only this is repeated.
        raise Reject(str(error), requeue=True) from None


@signals.task_failure.connect(weak=False)
def _on_process_lost(
    exception: BaseException | None = None, kwargs: dict[str, Any] | None = None, **_: Any
) -> None:
    """Fail a chunk whose process died before its crashes could be counted; in the main process."""
    if not isinstance(exception, WorkerLostError) or not kwargs:
        return
    state = process_state()
    try:
        message = read_message(kwargs)
        folder = state.job_folders.open(message.job, message.fingerprint)
        if folder is None:
            return
        error = JobError(
            f"The worker process died {MAX_RETRIES + 1} times at this chunk.",
            hint="See the worker's log; a smaller --size needs less memory.",
        )
        name = ASSEMBLY if message.chunk == ASSEMBLY else folder.chunk(message.chunk).id
        give_up(folder, name, error, attempts=MAX_RETRIES + 1, worker=state.worker_info())
        # Another chunk takes its place in the queue.
        scheduler.dispatch_next(folder, state.executor, (name,))
    except Ip2pError as error:
        log.error("%s", error)


def _open_folder(task: Task[Any, Any], state: WorkerState, message: Message) -> JobFolder | None:
    """Open the job folder of a message; requeue the message where this machine lacks the folder.

    Raises:
        Ip2pError: as :meth:`JobFolders.open`.
    """
    folder = state.job_folders.open(message.job, message.fingerprint)
    if folder is not None:
        return folder
    path = Path(message.job)
    seen = int((task.request.headers or {}).get("ip2p_folder_missing", 0)) + 1
    if path.parent.is_dir() or seen > _MAX_FOLDER_MISSING:
        log.error("message dropped: there is no job folder %s", path)
        return None
    # Perhaps only this machine lacks the shared folder.
    log.error("%s is not on this machine; workers must share the job folders", path.parent)
    time.sleep(_REQUEUE_DELAY_SECONDS)
    _requeue(task, state, JobFolder(path), message, {"ip2p_folder_missing": str(seen)})
    return None


def _is_dropped(folder: JobFolder, chunk_id: str) -> bool:
    """Whether a message needs no work, since its job is paused or cancelled."""
    reason = "cancelled" if folder.cancelled else "paused" if folder.paused else ""
    if reason:
        chunk_log(log, folder, chunk_id, "dropped", reason=reason)
    return bool(reason)


def _pass_on(
    task: Task[Any, Any],
    state: WorkerState,
    folder: JobFolder,
    message: Message,
    planned: Chunk,
    error: IncompatibleWorker,
) -> None:
    """Leave a chunk to other workers, since this one is incompatible."""
    try:
        if state.refused_jobs.pass_on(
            folder,
            message.fingerprint,
            planned,
            error,
            node=task.request.hostname or "",
            worker=state.worker_info(),
            executor=state.executor,
        ):
            _requeue(task, state, folder, message, {})
    except Ip2pError as failure:  # the command that follows the job dispatches the chunk again
        log.error("message dropped: %s", failure)


def _requeue(
    task: Task[Any, Any],
    state: WorkerState,
    folder: JobFolder,
    message: Message,
    headers: dict[str, str],
) -> None:
    """Send a message again, behind the others, before this delivery is acknowledged."""
    limit, _ = task.request.timelimit or (None, None)
    priority = int((task.request.delivery_info or {}).get("priority") or 0)
    try:
        state.executor.requeue(message, limit=limit, priority=priority, headers=headers)
    except BrokerError as error:
        raise Reject(str(error), requeue=True) from None
    finally:
        chunk_log(log, folder, message.chunk, "requeued", **headers)
