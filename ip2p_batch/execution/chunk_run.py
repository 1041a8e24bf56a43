"""A chunk in hand, and the small parts that its kinds share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Generic, Self, TypeVar

from ..errors import ChunkTaken, Ip2pError, JobCancelled
from ..jobs import attempts
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Heartbeat, WorkerInfo
from ..jobs.spec import Job
from ..threads import Background, CpuPool, prefetched
from .crash_isolation import CrashIsolation
from .worker_cache import FrameCache, WorkerCache

T = TypeVar("T")

_HEARTBEAT_SECONDS = 1.0
#: Between two looks for the order to stop, in seconds; more where a look takes long, as on a slow
#: share, so that looking takes at most this share of the time.
_LOOK_SECONDS = 0.05
_LOOKING = 0.02


class Work:
    """One chunk in hand: its claim with a heartbeat, its clock, its warnings.

    Where an earlier attempt broke off, work is *careful*: one part after the other, nothing runs
    ahead or behind, and each part is noted on disk before it is touched. If this attempt breaks
    off, too, the next one knows where.

    Attributes:
        poisoned: numbers of the frames or pictures that kill, or hang, whoever edits them.
    """

    def __init__(
        self,
        job_dir: JobFolder,
        job: Job,
        chunk: Chunk,
        worker: WorkerInfo,
        worker_cache: WorkerCache | None = None,
    ) -> None:
        self.job_dir = job_dir
        self.job = job
        self.chunk = chunk
        self.worker = worker
        self._workshop = worker_cache or WorkerCache()
        self.warnings: list[str] = []
        self._done = 0
        self._lock = threading.Lock()
        self._clock: dict[str, float] = {}
        self._started = time.perf_counter()
        self._stop = threading.Event()
        self._cancelled = False
        self._taken = False
        self._holding: attempts.ChunkLease | None = None
        self._suspects = CrashIsolation()
        self._limit = 0.0
        self._since = self._started
        self._hung: Callable[[], None] = lambda: None
        self.poisoned: frozenset[int] = frozenset()
        self._next_look = 0.0

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the chunk: an attempt and a claim on disk, renewed while this process lives.

        Raises:
            ChunkTaken: another worker is at it.
            JobError: its earlier attempts leave no hope for this one.
        """
        with attempts.begin(
            self.job_dir, self.chunk.id, self.worker, checkpoint=self._see_if_cancelled
        ) as holding:
            self._holding = holding
            self._suspects = CrashIsolation(holding.earlier.broken, len(self.chunk))
            for number in self._suspects.poisoned():
                self.job_dir.mark_once(f"poisoned/{number}")
            self.poisoned = self.job_dir.poisoned()
            self._suspects.see_if_there_is_hope(self.chunk)
            self._beat()
            thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                if not self._taken:
                    self.job_dir.remove_heartbeat(self.chunk.id)

    def checkpoint(self) -> None:
        """Raise where the job was cancelled, or the chunk is no longer ours.

        Cheap enough for every denoising step.

        Raises:
            JobCancelled, ChunkTaken
        """
        if not self._cancelled and (before := time.monotonic()) >= self._next_look:
            self._cancelled = self.job_dir.cancelled
            after = time.monotonic()
            self._next_look = after + max(_LOOK_SECONDS, (after - before) / _LOOKING)
        if self._cancelled:
            raise JobCancelled(f"{self.job.id} was cancelled, or has ended.")
        if self._taken:
            raise ChunkTaken(f"Another worker has chunk {self.chunk.id} by now.")

    def check(self) -> None:
        """See on disk that the chunk is still ours; before anything of it gets its name.

        Raises:
            ChunkTaken: it is not.
        """
        if self._holding is None:
            return
        try:
            self._holding.check()
        except ChunkTaken:
            self._taken = True  # so that the newer one's claim is left alone
            raise

    def expect(self, seconds: float, hung: Callable[[], None]) -> None:
        """Call ``hung`` should the chunk take longer than that from now on.

        Where work is careful, each part may take as long. Called in the heartbeat's thread.
        """
        self._limit, self._hung, self._since = seconds, hung, time.perf_counter()

    # -- careful work -----------------------------------------------------------------

    @property
    def careful(self) -> bool:
        return self._suspects.careful

    @property
    def cpu_pool(self) -> CpuPool:
        """Threads for small work; where work is careful, there are none."""
        return CpuPool() if self.careful else self._workshop.cpu_pool

    @property
    def frame_cache(self) -> FrameCache:
        """Borders and anchors; where work is careful, none but its own."""
        return FrameCache() if self.careful else self._workshop.frames

    def parts(self, items: Iterator[T], numbers: Sequence[int], size: int) -> Iterator[list[T]]:
        """Batches of ``size``; careful work notes each before it reads it.

        Args:
            items: one for each of ``numbers``.
        """
        if not self.careful:
            yield from batches(items, size)
            return
        for batch in batches(iter(numbers), size):
            for part in self._suspects.split(batch):
                self._note(part)
                yield list(islice(items, len(part)))
        self._note(())

    def ahead(self, items: Iterator[T], depth: int) -> AbstractContextManager[Iterator[T]]:
        """Items read ahead in a thread; not where work is careful."""
        return nullcontext(items) if self.careful else prefetched(items, depth)

    def behind(self, work: Callable[[T], None], depth: int) -> Background[T] | Inline[T]:
        """Whose ``put`` has ``work`` done in a thread; at once where work is careful."""
        return Inline(work) if self.careful else Background(work, depth)

    def _note(self, part: Iterable[int]) -> None:
        self._since = time.perf_counter()
        if self._holding is not None:
            self._holding.note(part)

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
        """Wall time by stage, in all, and ``idle``: while the editor had nothing to do.

        Idle is what decoding, encoding and files cost beyond what they do beside the editor. The
        editor gives pictures back, so its time ends when its device is done.
        """
        total = time.perf_counter() - self._started
        busy = sum(self._clock.get(stage, 0.0) for stage in ("load", "tune", "edit"))
        found = {**self._clock, "idle": max(0.0, total - busy), "total": total}
        return {k: round(v, 4) for k, v in found.items()}

    def _keep_beating(self) -> None:
        while not self._stop.wait(_HEARTBEAT_SECONDS):
            self._beat()
            if self._limit and time.perf_counter() - self._since > self._limit:
                self._hung()

    def _see_if_cancelled(self) -> None:
        self._cancelled = self._cancelled or self.job_dir.cancelled
        self.checkpoint()

    def _beat(self) -> None:
        self._taken = self._taken or (self._holding is not None and self._holding.superseded())
        if self._taken:
            return  # the claim is another's by now
        heartbeat = Heartbeat(
            chunk=self.chunk.id, worker=self.worker, done=self._done, at=time.time()
        )
        try:
            if self.job_dir.ended:  # another worker had this chunk, too: nobody needs it any more
                self._cancelled = True
                return
            self._cancelled = self._cancelled or self.job_dir.cancelled
            self.job_dir.write_heartbeat(heartbeat)
        except Ip2pError:
            # A full disk must not end the chunk here: the segment's own write says it better.
            return


class Inline(Generic[T]):
    """As :class:`Background`, but in the caller's own thread."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self.put = work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        pass


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
