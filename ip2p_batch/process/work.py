"""A chunk in hand, and the small parts that its kinds share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from ..errors import Ip2pError, JobCancelled
from ..job import Chunk, Claim, Job, WorkerInfo
from ..jobdir import JobDir

T = TypeVar("T")

_HEARTBEAT_SECONDS = 1.0


class Work:
    """One chunk in hand: its claim with a heartbeat, its clock, its warnings."""

    def __init__(self, job_dir: JobDir, job: Job, chunk: Chunk, worker: WorkerInfo) -> None:
        self.job_dir = job_dir
        self.job = job
        self.chunk = chunk
        self.worker = worker
        self.warnings: list[str] = []
        self._done = 0
        self._lock = threading.Lock()
        self._clock: dict[str, float] = {}
        self._started = time.perf_counter()
        self._stop = threading.Event()
        self._cancelled = False

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the chunk: a claim on disk, renewed while this process lives."""
        self._beat()
        thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.job_dir.drop_claim(self.chunk.id)

    def checkpoint(self) -> None:
        """Raise where the job was cancelled or has ended; cheap, the heartbeat looks."""
        if self._cancelled:
            raise JobCancelled(f"{self.job.id} was cancelled, or has ended.")

    def advance(self, frames: int) -> None:
        """Count finished frames or pictures; called from the encoding thread too."""
        with self._lock:
            self._done += frames

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._clock[stage] = self._clock.get(stage, 0.0) + spent

    def seconds(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {k: round(v, 4) for k, v in {**self._clock, "total": total}.items()}

    def _keep_beating(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        claim = Claim(chunk=self.chunk.id, worker=self.worker, done=self._done, at=time.time())
        try:
            if self.job_dir.ended:  # another worker had this chunk, too: nobody needs it any more
                self._cancelled = True
                return
            self._cancelled = self._cancelled or self.job_dir.cancelled
            self.job_dir.write_claim(claim)
        except Ip2pError:
            # A full disk must not end the chunk here: the segment's own write says it better.
            return


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while batch := list(islice(items, size)):
        yield batch


def clocked(work: Work, items: Iterator[T], stage: str) -> Iterator[T]:
    """Count the time spent waiting for the next item to ``stage``."""
    while True:
        with work.timed(stage):
            item = next(items, None)
        if item is None:
            return
        yield item
