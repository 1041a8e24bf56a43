"""Events of a job for whoever watches it, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack

from ..errors import BrokerError, JobError
from ..jobs.events import Event, EventKind
from ..jobs.folder import JobFolder
from ..jobs.records import Failure, Result
from ..jobs.spec import Job
from ..queue.executor import Executor
from .dispatch import dispatch_next, submit_job
from .progress import JobMonitor

_POLL_SECONDS = 0.2


def follow_job(
    folder: JobFolder, executor: Executor, *, check: Callable[[], None] = lambda: None
) -> Generator[Event, None, None]:
    """Hand over what is pending and yield events until the job is done, failed or cancelled.

    Leaving early leaves the job as it is: workers go on with what they have, and a later call
    takes it up again.

    Args:
        check: called about every second; raises to stop following (a dead worker fleet).
    """
    submit_job(folder, executor)
    with _Lead(folder) as lead:
        lead.take()
        yield from _events(folder, executor, lambda: executor, check)


def watch_job(
    folder: JobFolder, executor: Executor | None, *, check: Callable[[], None] = lambda: None
) -> Generator[Event, None, None]:
    """Yield events of a job that was handed over, here or elsewhere, until it ends.

    Args:
        executor: what makes up for lost messages and dead workers, unless somebody follows the job
            who does; None only looks on, from the job folder alone.
        check: as for :func:`follow`.
    """
    with _Lead(folder) as lead:
        yield from _events(
            folder,
            executor,
            lambda: executor if executor is not None and lead.take() else None,
            check,
        )


def is_followed(folder: JobFolder) -> bool:
    """Whether a running command follows the job and dispatches its chunks."""
    with folder.locked("follower.lock") as acquired:
        return not acquired


def _events(
    folder: JobFolder,
    executor: Executor | None,
    leader: Callable[[], Executor | None],
    check: Callable[[], None],
) -> Generator[Event, None, None]:
    """What :func:`follow` and :func:`watch` yield.

    Args:
        leader: called about every second; the executor, if this follower is to hand over.
    """
    job, plan = folder.job(), folder.plan()
    total = plan.frames
    yield Event(kind="started", job=job.id, total=total, data={"folder": str(folder.path)})
    watch = JobMonitor(folder, plan)
    # A job that went on from an earlier session starts the bar where that one stopped.
    yield Event(kind="progress", job=job.id, done=watch.scan(), total=total)
    last_check = time.monotonic()
    assembling = paused = False
    hands = leader()
    while True:
        if executor is not None:
            executor.poll(_POLL_SECONDS)
        else:
            time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        before = watch.done
        ended = folder.ended
        watch.look(must=ended)
        yield from watch.news()
        if paused != folder.paused:
            paused = not paused
            kind: EventKind = "paused" if paused else "unpaused"
            yield Event(kind=kind, job=job.id, done=watch.done, total=total)
            if hands is not None and not paused:
                _try_to_advance(folder, hands, None)
        if hands is not None and watch.grew:
            _try_to_advance(folder, hands, watch.is_settled)
        if watch.done != before:
            yield Event(kind="progress", job=job.id, done=watch.done, total=total)
        if ended:
            folder.drop_media()  # whoever wrote the result may be at it, or have died before
            yield ending(folder)
            return
        if folder.cancelled:
            yield Event(kind="cancelled", job=job.id, done=watch.done, total=total)
            return
        if failures := watch.settled_with_failures():
            yield _failed(job, failures, watch.done, total)
            return
        if not assembling and folder.dispatch.assembling:
            assembling = True
            yield Event(kind="assembling", job=job.id, done=watch.done, total=total)
        if now - last_check >= 1.0:
            last_check = now
            check()
            hands = leader()
            if hands is not None:
                watch.reconcile(hands)
            elif watch.forsaken(now):
                yield Event(
                    kind="warning",
                    job=job.id,
                    message=f"no worker is at this job; `ip2p-batch resume {job.id}` goes on.",
                )


class _Lead:
    """A lock that tells those who only watch a job that somebody hands it over."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._held = ExitStack()
        self._mine = False

    def __enter__(self) -> _Lead:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def take(self) -> bool:
        """Whether it is here, now if not before: who had it may have gone."""
        if not self._mine:
            with ExitStack() as trial:
                self._mine = trial.enter_context(self._folder.locked("follower.lock"))
                if self._mine:
                    self._held = trial.pop_all()
        return self._mine


def _try_to_advance(
    folder: JobFolder, executor: Executor, is_settled: Collection[str] | None
) -> None:
    """Hand over what comes next, where no worker does."""
    try:
        dispatch_next(folder, executor, is_settled)
    except BrokerError:
        return  # Redis is restarting; the reconciler looks again


def _failed(job: Job, failures: list[Failure], done: int, total: int) -> Event:
    first = failures[0]
    more = f" ({len(failures)} chunks failed in all)" if len(failures) > 1 else ""
    return Event(
        kind="failed",
        job=job.id,
        done=done,
        total=total,
        message=f"{first.message}{more}",
        data={
            "error": first.error,
            "hint": first.hint or f"`ip2p-batch resume {job.id}` tries again.",
            "chunks": [f.chunk for f in failures],
        },
    )


def ending(folder: JobFolder) -> Event:
    """The ``done`` event of a finished job.

    Raises:
        JobError: it has not ended.
    """
    result, total = summary(folder), folder.plan().frames
    return Event(kind="done", job=folder.path.name, done=total, total=total, data=_summary(result))


def _summary(result: Result) -> dict[str, object]:
    return {
        "output": result.output,
        "frames": result.frames,
        "seconds": result.seconds,
        "fps": round(result.fps, 3),
        "failed": [list(pair) for pair in result.failed],
        "skipped": result.skipped,
        "warnings": list(result.warnings),
    }


def summary(folder: JobFolder) -> Result:
    """How a finished job ended.

    Raises:
        JobError: it has not ended.
    """
    result = folder.result()
    if result is None:
        raise JobError(
            f"{folder.path.name} has not ended.", hint="`ip2p-batch status` says how far it is."
        )
    return result
