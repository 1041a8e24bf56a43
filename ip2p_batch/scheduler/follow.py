"""Follow a job: yield its events until it ends, and repair what its workers cannot."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec

from ..errors import BrokerError, JobError
from ..jobs.activity import LEADER_LOCK
from ..jobs.events import Event, EventKind
from ..jobs.folder import JobFolder
from ..jobs.records import Failure, Result
from ..queue.executor import Executor
from ..settings import Settings
from ..storage.locks import Lock
from .dispatch import dispatch_next, lift_pause, submit_job
from .progress import JobMonitor
from .reconcile import ReconcileLimits, Reconciler

_POLL_SECONDS = 0.2
_CHECK_SECONDS = 1.0


def follow_job(
    folder: JobFolder,
    executor: Executor,
    *,
    check: Callable[[], None] = lambda: None,
    limits: ReconcileLimits | None = None,
) -> Generator[Event, None, None]:
    """Dispatch a job and yield its events until it is done, failed or cancelled.

    Closing the generator early leaves the job as it is: workers continue with the chunks that
    they have, and a later call resumes the job.

    Args:
        check: called about once a second; raises to stop (the workers died, say).
        limits: when lost chunks are enqueued again; None takes those of the environment.

    Raises:
        ResumeMismatch: the source changed since the plan was made.
        OutputError, JobError, BrokerError: the job cannot continue; see
            :meth:`Reconciler.reconcile`.
    """
    submit_job(folder, executor)
    yield from lead_job(folder, executor, check=check, limits=limits)


def lead_job(
    folder: JobFolder,
    executor: Executor,
    *,
    check: Callable[[], None] = lambda: None,
    limits: ReconcileLimits | None = None,
) -> Generator[Event, None, None]:
    """Follow a job that this process has just submitted; as :func:`follow_job` otherwise."""
    with LeaderLock(folder) as lock:
        lock.acquire()
        follower = _Follower(folder, executor, lambda: executor, check, limits)
        yield from follower.events()


def watch_job(
    folder: JobFolder,
    executor: Executor | None,
    *,
    check: Callable[[], None] = lambda: None,
    limits: ReconcileLimits | None = None,
) -> Generator[Event, None, None]:
    """Yield the events of a job that was dispatched, here or elsewhere, until it ends.

    Args:
        executor: repairs the job while no other process leads it; None only reads the job folder.
        check: called about once a second; raises to stop.
        limits: as for :func:`follow_job`.
    """
    with LeaderLock(folder) as lock:

        def leader() -> Executor | None:
            return executor if executor is not None and lock.acquire() else None

        yield from _Follower(folder, executor, leader, check, limits).events()


def continue_paused(folder: JobFolder, *, wait_seconds: float = 5.0) -> bool:
    """Lift the pause of a job that another process leads, so that it continues there.

    Args:
        wait_seconds: on a share without file locks, time for a leader to dispatch the job.

    Returns:
        False if no process leads the job: the caller has to run it.
    """
    state = folder.lock_state(LEADER_LOCK)
    if state is Lock.OURS:
        return False
    lift_pause(folder)
    deadline = time.monotonic() + (wait_seconds if state is Lock.UNSUPPORTED else 0.0)
    while state is Lock.UNSUPPORTED and not folder.dispatch.started and not folder.ended:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


class LeaderLock:
    """Lock of the one process that dispatches and repairs a job while others only watch it.

    Released at the end of the ``with`` block, and by the kernel when the process dies.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._is_held = False

    def __enter__(self) -> LeaderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def acquire(self) -> bool:
        """Try to take the lock; whether this process holds it. Call again after a failure."""
        if not self._is_held:
            with ExitStack() as stack:
                self._is_held = stack.enter_context(self._folder.locked(LEADER_LOCK))
                if self._is_held:
                    self._stack = stack.pop_all()
        return self._is_held


class _Follower:
    """One run of :func:`follow_job` or :func:`watch_job`.

    Args:
        executor: polled while waiting; None sleeps.
        leader: called about once a second; returns the executor while this process leads the job.
    """

    def __init__(
        self,
        folder: JobFolder,
        executor: Executor | None,
        leader: Callable[[], Executor | None],
        check: Callable[[], None],
        limits: ReconcileLimits | None,
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._leader = leader
        self._check = check
        self._limits = limits or ReconcileLimits.from_settings(Settings.from_env())
        self._job_id = folder.job().id
        self._plan = folder.plan()
        self._monitor = JobMonitor(folder, self._plan)
        self._reconciler = Reconciler(folder, self._plan, self._monitor, self._limits)
        self._leading: Executor | None = None
        self._is_paused = self._is_assembling = self._is_stalled = False

    def events(self) -> Iterator[Event]:
        """Yield events until the job ends."""
        folder, monitor = self._folder, self._monitor
        yield self._event("started", data={"folder": str(folder.path)})
        # A resumed job starts its progress bar where the last run stopped.
        monitor.poll(force=True)
        yield self._event("progress")
        last_check = time.monotonic()
        self._leading = self._leader()
        while True:
            self._wait()
            done = monitor.done
            has_ended = folder.ended
            monitor.poll(force=has_ended)
            yield from monitor.new_events()
            yield from self._pause_events()
            if monitor.changed:
                self._dispatch_next(monitor.settled)
            if monitor.done != done:
                yield self._event("progress")
            if has_ended:
                folder.drop_media()  # the worker that wrote the result may have died before
                yield done_event(folder)
                return
            if folder.cancelled:
                yield self._event("cancelled")
                return
            if failures := monitor.final_failures():
                yield _failed_event(self._job_id, failures, monitor.done, self._plan.frames)
                return
            if not self._is_assembling and folder.dispatch.assembling:
                self._is_assembling = True
                yield self._event("assembling")
            if time.monotonic() - last_check >= _CHECK_SECONDS:
                last_check = time.monotonic()
                self._check()
                yield from self._repair()

    def _wait(self) -> None:
        if self._executor is not None:
            self._executor.poll(_POLL_SECONDS)
        else:
            time.sleep(_POLL_SECONDS)

    def _pause_events(self) -> Iterator[Event]:
        if self._is_paused == self._folder.paused:
            return
        self._is_paused = not self._is_paused
        yield self._event("paused" if self._is_paused else "resumed")
        if not self._is_paused:
            self._dispatch_next(None)

    def _dispatch_next(self, settled: Collection[str] | None) -> None:
        """Dispatch what is due where no worker does, if this process leads the job."""
        if self._leading is None:
            return
        try:
            dispatch_next(self._folder, self._leading, settled)
        except BrokerError:
            return  # Redis is restarting; the reconciler tries again

    def _repair(self) -> Iterator[Event]:
        self._leading = self._leader()
        if self._leading is not None:
            self._reconciler.reconcile(self._leading)
            return
        was_stalled = self._is_stalled
        self._is_stalled = self._monitor.idle_seconds > self._limits.heartbeat_timeout
        if self._is_stalled and not was_stalled:
            hint = f"continue with `ip2p-batch resume {self._job_id}`."
            message = f"no worker is processing this job; {hint}"
            yield Event(kind="warning", job=self._job_id, message=message)

    def _event(self, kind: EventKind, **values: Any) -> Event:
        done, total = self._monitor.done, self._plan.frames
        return Event(kind=kind, job=self._job_id, done=done, total=total, **values)


def _failed_event(job_id: str, failures: list[Failure], done: int, total: int) -> Event:
    first = failures[0]
    more = f" ({len(failures)} chunks failed)" if len(failures) > 1 else ""
    return Event(
        kind="failed",
        job=job_id,
        done=done,
        total=total,
        message=f"{first.message}{more}",
        data={
            "error": first.error,
            "hint": first.hint or f"Try again with `ip2p-batch resume {job_id}`.",
            "chunks": [f.chunk for f in failures],
        },
    )


def done_event(folder: JobFolder) -> Event:
    """The ``done`` event of a job that has ended.

    Raises:
        JobError: it has not ended.
    """
    result, total = read_result(folder), folder.plan().frames
    return Event(
        kind="done",
        job=folder.path.name,
        done=total,
        total=total,
        data={
            "output": result.output,
            "frames": result.frames,
            "seconds": result.seconds,
            "fps": round(result.fps, 3),
            "edit": msgspec.to_builtins(result.edit),
            "failed": [list(pair) for pair in result.failed],
            "skipped": result.skipped,
            "warnings": list(result.warnings),
        },
    )


def read_result(folder: JobFolder) -> Result:
    """The result of a job that has ended.

    Raises:
        JobError: it has not ended.
    """
    result = folder.result()
    if result is None:
        name = folder.path.name
        raise JobError(
            f"Job {name} has not ended.", hint=f"`ip2p-batch status {name}` shows its progress."
        )
    return result
