"""What an executor is, and the one that works in this process.

An executor takes chunks and sees that they get done; it never says so itself. Receipts do.
"""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Sequence

from ..errors import ChunkTaken, IncompleteJob, Ip2pError, JobCancelled
from ..execution.assemble import assemble
from ..execution.chunk import MAX_ATTEMPTS, EditorFor, give_up, process_chunk
from ..execution.worker_cache import WorkerCache
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Held, WorkerInfo
from ..queue.executor import ASSEMBLY

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
            job, chunk = self._chunks.popleft()
            self._attempt(job, chunk)
        elif self._assemblies:
            job = self._assemblies.popleft()
            try:
                assemble(job)
            except IncompleteJob as error:
                if not (error.chunks and job.redispatch()):
                    give_up(job, ASSEMBLY, error, attempts=1, worker=self._worker)
            except Ip2pError as error:
                give_up(job, ASSEMBLY, error, attempts=1, worker=self._worker)
        else:
            time.sleep(seconds)

    def _attempt(self, job: JobFolder, chunk: Chunk) -> None:
        if job.paused:
            return  # as workers do: whoever lifts the pause hands it over again
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                process_chunk(
                    job,
                    chunk,
                    editor_for=self._editor_for,
                    worker=self._worker,
                    worker_cache=self._workshop,
                )
            except (JobCancelled, ChunkTaken):
                return
            except Ip2pError as error:
                if attempt == MAX_ATTEMPTS or not error.retryable:
                    give_up(job, chunk.id, error, attempts=attempt, worker=self._worker)
                    return
            else:
                return
