"""What an executor is, and the one that works in this process.

An executor takes chunks and sees that they get done; it never says so itself. Receipts do.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence

from ..errors import ChunkTaken, IncompatibleWorker, IncompleteJob
from ..execution.assemble import assemble
from ..execution.attempt import give_up, run_attempts
from ..execution.chunk import EditorFor, process_chunk
from ..execution.worker_cache import WorkerCache
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Held, WorkerInfo
from ..queue.executor import ASSEMBLY

log = logging.getLogger(__name__)
_LOCAL_WIDTH = 64


class LocalExecutor:
    """Works in the calling process, one chunk per :meth:`poll`: for tests and debugging."""

    def __init__(self, editor_for: EditorFor, worker_cache: WorkerCache | None = None) -> None:
        self._editor_for = editor_for
        self._chunks: deque[tuple[JobFolder, Chunk]] = deque()
        self._assemblies: deque[JobFolder] = deque()
        self._worker = WorkerInfo(host=platform.node(), pid=os.getpid())
        self._workshop = worker_cache or WorkerCache()

    def submit(self, job: JobFolder, chunks: Sequence[Chunk]) -> None:
        self._chunks.extend((job, c) for c in chunks)

    def assemble(self, job: JobFolder) -> None:
        self._assemblies.append(job)

    def queued(self) -> int:
        return len(self._chunks) + len(self._assemblies)

    def held(self, job: JobFolder) -> Held:
        waiting = [c.id for j, c in self._chunks if j.path == job.path]
        assembly = [None for j in self._assemblies if j.path == job.path]
        return Held(frozenset([*waiting, *assembly]), frozenset())

    def width(self) -> int:
        return _LOCAL_WIDTH

    def poll(self, seconds: float) -> None:
        if self._chunks:
            self._edit(*self._chunks.popleft())
        elif self._assemblies:
            self._assemble(self._assemblies.popleft())
        else:
            time.sleep(seconds)

    def _edit(self, job: JobFolder, chunk: Chunk) -> None:
        if job.paused:
            return  # as workers do: whoever lifts the pause hands it over again

        def work() -> None:
            process_chunk(
                job,
                chunk,
                editor_for=self._editor_for,
                worker=self._worker,
                worker_cache=self._workshop,
            )

        try:
            self._attempt(job, chunk.id, work)
        except IncompatibleWorker as error:
            self._give_up(job, chunk.id, error, 1)  # no other worker would do it
        except ChunkTaken as error:
            log.debug("%s", error)

    def _assemble(self, job: JobFolder) -> None:
        try:
            self._attempt(job, ASSEMBLY, lambda: assemble(job))
        except IncompleteJob as error:
            if not (error.chunks and job.redispatch()):
                self._give_up(job, ASSEMBLY, error, 1)

    def _attempt(self, job: JobFolder, name: str, work: Callable[[], object]) -> None:
        run_attempts(
            work,
            on_failure=lambda error, attempt: self._give_up(job, name, error, attempt),
            on_error=lambda _, attempt: log.debug(
                "%s of %s, attempt %d", name, job.path, attempt, exc_info=True
            ),
        )

    def _give_up(self, job: JobFolder, name: str, error: Exception, attempts: int) -> None:
        give_up(job, name, error, attempts=attempts, worker=self._worker)
