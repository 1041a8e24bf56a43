"""The executor that runs chunks in the calling process."""

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
from ..jobs.log import chunk_log
from ..jobs.plan import ASSEMBLY, Chunk
from ..jobs.records import WorkerInfo
from ..queue.executor import QueuedChunks

log = logging.getLogger(__name__)
_MAX_INFLIGHT = 64


class LocalExecutor:
    """Runs one chunk or assembly per :meth:`poll`, in the calling process; for custom editors."""

    def __init__(self, editor_for: EditorFor, worker_cache: WorkerCache | None = None) -> None:
        self._editor_for = editor_for
        self._chunks: deque[tuple[JobFolder, Chunk]] = deque()
        self._assemblies: deque[JobFolder] = deque()
        self._worker = WorkerInfo(host=platform.node(), pid=os.getpid())
        self._worker_cache = worker_cache or WorkerCache()

    def enqueue(self, folder: JobFolder, chunks: Sequence[Chunk]) -> None:
        self._chunks.extend((folder, chunk) for chunk in chunks)

    def enqueue_assembly(self, folder: JobFolder) -> None:
        self._assemblies.append(folder)

    def poll(self, seconds: float) -> None:
        """Run the oldest chunk, else the oldest assembly; sleep when there is neither."""
        if self._chunks:
            self._run_chunk(*self._chunks.popleft())
            return
        self._worker_cache.readers.close()
        if self._assemblies:
            self._run_assembly(self._assemblies.popleft())
        else:
            time.sleep(seconds)

    def queue_length(self) -> int:
        return len(self._chunks) + len(self._assemblies)

    def queued_chunks(self, folder: JobFolder) -> QueuedChunks:
        waiting = {chunk.id for queued, chunk in self._chunks if queued.path == folder.path}
        if any(queued.path == folder.path for queued in self._assemblies):
            waiting.add(ASSEMBLY)
        return QueuedChunks(frozenset(waiting))

    def is_idle(self) -> bool:
        return self.queue_length() == 0

    def max_inflight(self) -> int:
        return _MAX_INFLIGHT

    def _run_chunk(self, folder: JobFolder, chunk: Chunk) -> None:
        if folder.paused:  # as workers do: the scheduler enqueues it again on resume
            chunk_log(log, folder, chunk.id, "dropped", reason="paused")
            return

        def work() -> None:
            process_chunk(
                folder,
                chunk,
                editor_for=self._editor_for,
                worker=self._worker,
                worker_cache=self._worker_cache,
            )

        try:
            self._attempt(folder, chunk.id, work)
        except IncompatibleWorker as error:
            self._give_up(folder, chunk.id, error, 1)  # there is no other worker
        except ChunkTaken as error:
            log.debug("%s", error)

    def _run_assembly(self, folder: JobFolder) -> None:
        try:
            self._attempt(folder, ASSEMBLY, lambda: assemble(folder))
        except IncompleteJob as error:
            if not (error.chunks and folder.dispatch.redispatch()):
                self._give_up(folder, ASSEMBLY, error, 1)

    def _attempt(self, folder: JobFolder, chunk_id: str, work: Callable[[], object]) -> None:
        def on_retry(error: Exception, attempt: int) -> None:
            log.debug("%s of %s, attempt %d", chunk_id, folder.path, attempt, exc_info=True)
            fault = type(error).__name__
            chunk_log(log, folder, chunk_id, "retrying", attempt=attempt, error=fault)

        def on_failure(error: Exception, attempt: int) -> None:
            log.debug("%s of %s, attempt %d", chunk_id, folder.path, attempt, exc_info=True)
            self._give_up(folder, chunk_id, error, attempt)

        run_attempts(work, on_failure=on_failure, on_retry=on_retry)

    def _give_up(self, folder: JobFolder, chunk_id: str, error: Exception, attempts: int) -> None:
        give_up(folder, chunk_id, error, attempts=attempts, worker=self._worker)
