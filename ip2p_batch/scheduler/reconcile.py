"""Reconcile a job with its queue: requeue what dead workers and a restarted Redis lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BrokerError, JobError
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import Plan
from ..queue.executor import Executor
from ..settings import Settings
from . import inflight
from .dispatch import dispatch_next
from .progress import JobMonitor

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReconcileLimits:
    """When a :class:`Reconciler` repairs and when it gives up.

    Attributes:
        heartbeat_timeout: seconds without a change after which the worker of a heartbeat counts
            as dead; ``IP2P_HEARTBEAT_TIMEOUT``.
        idle_seconds: seconds without any heartbeat before each check of the queue.
        max_fruitless: dispatches in a row without a single new frame before the job fails.
        max_broker_silence: seconds without an answer from Redis and without a new receipt before
            the error is raised.
    """

    heartbeat_timeout: float
    idle_seconds: float = 3.0
    max_fruitless: int = 5
    max_broker_silence: float = 120.0

    @classmethod
    def from_settings(cls, settings: Settings) -> ReconcileLimits:
        """The default limits with the heartbeat timeout of ``settings``."""
        return cls(heartbeat_timeout=settings.heartbeat_timeout)


class Reconciler:
    """Repairs one job while its leader follows it.

    Args:
        folder: the job folder.
        plan: its plan.
        monitor: a monitor of the same folder, which the caller polls.
        limits: when to repair and when to give up.
        clock: monotonic time in seconds, the same as the monitor's.
    """

    def __init__(
        self,
        folder: JobFolder,
        plan: Plan,
        monitor: JobMonitor,
        limits: ReconcileLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._monitor = monitor
        self._limits = limits
        self._clock = clock
        self._idle_since: float | None = None
        self._fruitless = 0
        self._progress_at_dispatch = (0, 0)
        self._silent_since: float | None = None
        self._finished_when_silent = 0

    def reconcile(self, executor: Executor) -> None:
        """Enqueue again what was lost: chunks of dead workers, messages that Redis lost.

        A chunk whose heartbeat stopped belonged to a worker that is gone. If that worker's message
        is delivered later, it does no harm, since the receipt exists by then. When no chunk has a
        heartbeat and the queue has no message of the job, everything due is dispatched again.

        Raises:
            OutputError: nothing progresses, and the job folder cannot be written.
            JobError: ``max_fruitless`` dispatches led to nothing.
            BrokerError: nothing progresses, and Redis has not answered for ``max_broker_silence``.
        """
        if self._folder.paused:
            self._idle_since = None
            return
        now = self._clock()
        timeout = self._limits.heartbeat_timeout
        heartbeats = self._monitor.heartbeats
        dead = {c for c, seen in heartbeats.items() if now - seen.unchanged_since > timeout}
        if dead:
            self._requeue(executor, dead)
        elif heartbeats:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > self._limits.idle_seconds:
            self._idle_since = now
            self._dispatch_lost(executor)

    def _requeue(self, executor: Executor, chunk_ids: set[str]) -> None:
        """Enqueue the chunks of dead workers again."""
        chunks = [c for c in self._plan.chunks if c.id in chunk_ids]
        for chunk in chunks:
            chunk_log(log, self._folder, chunk.id, "stalled")
            self._folder.heartbeats.remove(chunk.id)
        try:
            executor.enqueue(self._folder, chunks)
        except BrokerError as error:
            # Without their heartbeats these chunks are dispatched as lost ones later.
            self._check_silence(error)
            return
        for chunk in chunks:
            chunk_log(log, self._folder, chunk.id, "requeued", reason="worker is dead")

    def _dispatch_lost(self, executor: Executor) -> None:
        """Dispatch everything due again if the queue has nothing of this job."""
        self._folder.check_writable()  # workers that cannot write cannot report it, either
        try:
            queued = executor.queued_chunks(self._folder)
            self._silent_since = None
            if queued.waiting or queued.unacked:
                return
            self._count_fruitless()
            with inflight.dispatch_lock(self._folder):
                self._folder.dispatch.clear()
            dispatch_next(self._folder, executor)
        except BrokerError as error:
            self._check_silence(error)

    def _check_silence(self, error: BrokerError) -> None:
        """Tolerate a Redis that restarts, for a while.

        Raises:
            BrokerError: Redis has been silent for too long, and no chunk was finished meanwhile.
        """
        now, finished = self._clock(), len(self._monitor.finished)
        if self._silent_since is None or self._finished_when_silent != finished:
            self._silent_since, self._finished_when_silent = now, finished
        if now - self._silent_since > self._limits.max_broker_silence:
            raise error

    def _count_fruitless(self) -> None:
        """Count a dispatch of lost chunks.

        Raises:
            JobError: several in a row led to nothing.
        """
        progress = (len(self._monitor.finished), self._monitor.done)
        self._fruitless = 0 if progress != self._progress_at_dispatch else self._fruitless + 1
        self._progress_at_dispatch = progress
        if self._fruitless >= self._limits.max_fruitless:
            raise JobError(
                f"Workers take chunks of job {self._folder.path.name} and finish none.",
                hint=f"See the workers' log, and check that they can write {self._folder.path}.",
                survives="Finished chunks are kept.",
            )
