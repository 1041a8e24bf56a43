"""Celery's tasks: read the message, call ``ip2p_batch``, say nothing of how.

Errors that another try may mend are tried again here; a process that dies is Celery's to retry.
Either way a chunk is given up after three attempts, and the job can end and say why.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from celery import Task, signals
from celery.exceptions import Reject, TimeLimitExceeded, WorkerLostError

from ip2p_batch import run
from ip2p_batch.assemble import assemble
from ip2p_batch.edit.editor import Editor
from ip2p_batch.errors import (
    BrokerError,
    IncompleteJob,
    Ip2pError,
    JobCancelled,
    JobError,
    OutputError,
    OutsideRoots,
)
from ip2p_batch.executor import ASSEMBLY
from ip2p_batch.job import WorkerInfo
from ip2p_batch.jobdir import JobDir
from ip2p_batch.process import MAX_ATTEMPTS, give_up, process_chunk
from ip2p_batch.recipe import Recipe
from ip2p_batch.remote import (
    MAX_RETRIES,
    TASK_ASSEMBLE,
    TASK_CHUNK,
    CeleryExecutor,
    Message,
    read_message,
)
from ip2p_batch.settings import Settings

from .app import app
from .editors import editor_for as new_editor

log = logging.getLogger(__name__)

#: Seconds for a job folder to appear: on a network share it may come after its message.
_APPEAR_SECONDS = 5.0
#: How often a message is handed on, a second apart, to find a worker that sees its job folder.
_HAND_ON = 10
_HAND_ON_SECONDS = 1.0
_DISK_SECONDS = 5.0
_BROKER_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)

_editors: dict[tuple[str, str | None, str], Editor] = {}
_executors: dict[str, CeleryExecutor] = {}
#: Job folders that did not appear, and when: their other messages are not waited for.
_missing: dict[str, float] = {}


@app.task(bind=True, name=TASK_CHUNK, max_retries=MAX_RETRIES, default_retry_delay=0)
def chunk(self: Task[Any, Any], /, **fields: object) -> None:
    """Do one chunk of a job, and hand over what comes next."""
    try:
        told = read_message(fields)
        folder = _folder(self, told)
        if folder is None or folder.cancelled:
            return
        planned = folder.chunk(told.chunk or "")
    except Ip2pError as error:
        _drop(error)
        return
    if _attempt(
        folder,
        planned.id,
        lambda: process_chunk(folder, planned, editor_for=editor_for, worker=who()),
    ):
        request = self.request
        again = request.retries > 0 or (request.delivery_info or {}).get("redelivered", False)
        _advance(folder, again=bool(again))


@app.task(bind=True, name=TASK_ASSEMBLE, max_retries=MAX_RETRIES, default_retry_delay=0)
def assemble_job(self: Task[Any, Any], /, **fields: object) -> None:
    """Join a job's segments into its output."""
    try:
        folder = _folder(self, read_message(fields))
        if folder is None or folder.cancelled:
            return
    except Ip2pError as error:
        _drop(error)
        return
    try:
        _attempt(folder, ASSEMBLY, lambda: assemble(folder))
    except IncompleteJob as error:
        # Without chunks, another worker is at it, and need not be disturbed. With chunks, their
        # files are gone or damaged: they are made again.
        if error.chunks and not _reopened(folder):
            _give_up(folder, ASSEMBLY, error, 1)


def _drop(error: Ip2pError) -> None:
    """A message that nothing can be done with; where a share only stumbled, it comes again."""
    if error.retryable:
        log.warning("message put back: %s", error)
        time.sleep(_DISK_SECONDS)
        raise Reject(str(error), requeue=True)
    log.error("message dropped: %s", error)


def _reopened(folder: JobDir) -> bool:
    try:
        reopened = folder.reopen()
    except Ip2pError as error:
        log.warning("%s", error)
        return False
    if reopened:
        _advance(folder)
    return reopened


def _attempt(folder: JobDir, name: str, work: Callable[[], object]) -> bool:
    """Do ``work``, again where that may help; False where the job was cancelled meanwhile.

    After the last attempt the failure stands in the job folder under ``name``. Tracebacks go to
    the worker's log only.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            work()
            return True
        except JobCancelled:
            return False
        except IncompleteJob:
            raise
        except Exception as error:
            log.warning("%s of %s, attempt %d", name, folder.path, attempt, exc_info=True)
            # What nobody foresaw may be gone the next time.
            retryable = error.retryable if isinstance(error, Ip2pError) else True
            if attempt == MAX_ATTEMPTS or not retryable:
                _give_up(folder, name, _in_one_line(error), attempt)
                return True
        gc.collect()  # what the failed attempt held, above all a device's memory
        time.sleep(0.2 * attempt)
    raise AssertionError("the last attempt returns")


def _give_up(folder: JobDir, name: str, error: Exception, attempts: int) -> None:
    try:
        give_up(folder, name, error, attempts=attempts, worker=who())
    except OutsideRoots as refusal:
        log.error("%s of %s is given up: %s; %s", name, folder.path, error, refusal)
    except OutputError as full:
        # A detached job has nobody to be told: its chunk waits in the queue for the disk.
        log.error("%s of %s: %s; %s", name, folder.path, error, full)
        time.sleep(_DISK_SECONDS)
        raise Reject(str(full), requeue=True) from None


def _in_one_line(error: Exception) -> Exception:
    if isinstance(error, Ip2pError):
        return error
    lines = str(error).strip().splitlines()
    return Ip2pError(
        f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}",
        hint="The worker's log has more.",
    )


def _advance(folder: JobDir, *, again: bool = False) -> None:
    """Hand over what comes next; waits for Redis and for the disk, since a detached job has
    nobody else.
    """
    for pause in (*_BROKER_PAUSES, None):
        try:
            run.advance(folder, _executor(), again=again)
            return
        except (BrokerError, OutputError) as error:
            log.warning("%s", error)
            if pause is None:
                # Comes back when Redis does, finds its receipt, and hands over then.
                raise Reject(str(error), requeue=True) from None
            time.sleep(pause)


@signals.task_failure.connect(weak=False)
def _process_lost(
    exception: BaseException | None = None, kwargs: dict[str, Any] | None = None, **_: Any
) -> None:
    """Give up a chunk whose process died or hung for the last time; runs in the parent."""
    if not isinstance(exception, WorkerLostError | TimeLimitExceeded) or not kwargs:
        return
    try:
        told = read_message(kwargs)
        folder = open_job(told.job, told.fingerprint)
        if folder is None:
            return
        hung = isinstance(exception, TimeLimitExceeded)
        what = "did not end in time" if hung else f"died {MAX_ATTEMPTS} times"
        error = JobError(
            f"The worker process {what} at this chunk.",
            hint="The worker's log has more; a smaller --size needs less memory.",
        )
        name = folder.chunk(told.chunk).id if told.chunk else ASSEMBLY
        give_up(folder, name, error, attempts=1 if hung else MAX_ATTEMPTS, worker=who())
    except Ip2pError as error:
        log.error("%s", error)


def _folder(task: Task[Any, Any], told: Message) -> JobDir | None:
    """The job that a message means; None where its folder is not on this machine.

    Raises:
        Ip2pError: as :func:`open_job`.
    """
    folder = open_job(told.job, told.fingerprint)
    if folder is not None:
        return folder
    place = Path(told.job)
    seen = int((task.request.headers or {}).get("ip2p_seen", 0)) + 1
    if place.parent.is_dir() or seen > _HAND_ON:
        log.error("message dropped: there is no job folder %s", place)
        return None
    # Perhaps only this machine lacks the shared folder.
    log.error("%s is not on this machine; workers must share the job folders", place.parent)
    time.sleep(_HAND_ON_SECONDS)
    values = {k: v for k, v in msgspec.to_builtins(told).items() if v is not None}
    task.apply_async(kwargs=values, headers={"ip2p_seen": str(seen)}, ignore_result=True)
    return None


def open_job(path: str, fingerprint: str) -> JobDir | None:
    """The job folder at ``path``; None where there is none on this machine.

    Raises:
        JobError: the folder is damaged, or the job in it is another by now.
        OutsideRoots: this worker may not use it.
    """
    folder = JobDir(path, Settings.from_env().roots)
    folder.roots.allow(folder.path)  # before it is looked for
    if not _appears(folder):
        return None
    if folder.job().fingerprint() != fingerprint:
        raise JobError(f"{path} holds another job by now")
    return folder


def _appears(folder: JobDir) -> bool:
    """Whether the job folder is there, or comes within a few seconds."""
    key, now = str(folder.path), time.monotonic()
    # A minute later it is worth another look.
    patience = 0.0 if now - _missing.get(key, -60.0) < 60.0 else _APPEAR_SECONDS
    while not folder.exists():
        if time.monotonic() - now >= patience:
            if patience:
                _missing[key] = time.monotonic()
            return False
        time.sleep(0.25)
        with suppress(OSError):
            # A network share forgets that there was nothing only when the folder above is read.
            next(folder.path.parent.iterdir(), None)
    _missing.pop(key, None)
    return True


def editor_for(recipe: Recipe) -> Editor:
    """The editor of a recipe; weights are loaded once and kept, those of one model at a time."""
    key = (recipe.model, recipe.revision, recipe.dtype)
    if key not in _editors:
        _editors.clear()
        gc.collect()  # two models at a time may not fit
        _editors[key] = new_editor(recipe, Settings.from_env())
    return _editors[key]


def who() -> WorkerInfo:
    """Name this process, for claims and receipts."""
    return WorkerInfo(host=platform.node(), pid=os.getpid(), torch=version("torch"))


def _executor() -> CeleryExecutor:
    url = app.conf.broker_url
    if url not in _executors:
        _executors[url] = CeleryExecutor(url)
    return _executors[url]
