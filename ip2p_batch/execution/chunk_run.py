"""One attempt at a chunk: what to edit, and the parts that its stages share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from ..jobs import attempts
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import Chunk
from ..jobs.records import ItemResult, WorkerInfo
from ..jobs.spec import Job
from ..threads import Background, CpuPool, prefetched
from .cancellation import CancellationCheck
from .crash_isolation import CrashIsolation
from .lease import LeaseKeeper
from .timeout import Watchdog
from .timer import StageTimer
from .worker_cache import FrameCache, ReaderCache, ScaleCache, WorkerCache

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChunkOutput:
    """What editing a chunk returns, once its files are written.

    Attributes:
        digest: SHA-256 of the segment, or over the digests of all files.
        warnings: one line each.
        items: of a chunk of images, the result of each.
    """

    digest: str
    warnings: tuple[str, ...] = ()
    items: tuple[ItemResult, ...] = ()


@dataclass(frozen=True, eq=False)
class ChunkRun:
    """One attempt at a chunk, for the length of the ``with`` block of :meth:`begin`.

    After a crash the chunk is run with crash isolation: each batch is finished before the next one
    is read, without helper threads and without the caches of the process.

    Attributes:
        poisoned: numbers of the frames or images that crash, or hang, the process that edits
            them.
        lease: to be checked before a file gets its name.
        cpu_pool: threads for small pieces of work.
        frame_cache: borders and anchors that were read before.
        scales: of depth, that were found before.
        readers: open videos; None: each reader is closed after its use.
    """

    folder: JobFolder
    job: Job
    chunk: Chunk
    poisoned: frozenset[int]
    lease: LeaseKeeper
    timer: StageTimer
    watchdog: Watchdog
    isolation: CrashIsolation
    cpu_pool: CpuPool
    frame_cache: FrameCache
    scales: ScaleCache
    readers: ReaderCache | None

    @classmethod
    @contextmanager
    def begin(
        cls, folder: JobFolder, job: Job, chunk: Chunk, worker: WorkerInfo, cache: WorkerCache
    ) -> Iterator[Self]:
        """Acquire the chunk's lease and keep it alive until the block ends.

        Raises:
            ChunkTaken: another worker holds the lease.
            JobCancelled: while waiting for the lease.
            JobError: the chunk crashed too many attempts.
        """
        timer, watchdog = StageTimer(), Watchdog()
        cancellation = CancellationCheck(folder, job.id)
        with attempts.acquire(folder, chunk.id, worker, checkpoint=cancellation.check_now) as lease:
            chunk_log(log, folder, chunk.id, "leased", attempt=lease.number)
            isolation = CrashIsolation(lease.earlier.crashed, len(chunk))
            for number in isolation.poisoned():
                if folder.poisoned.add(number):
                    chunk_log(log, folder, chunk.id, "poisoned", frame=number)
            isolation.check_crash_budget(chunk)
            with LeaseKeeper(
                folder, chunk.id, lease, worker, cancellation, on_heartbeat=watchdog.poll
            ) as keeper:
                yield cls(
                    folder=folder,
                    job=job,
                    chunk=chunk,
                    poisoned=folder.poisoned.numbers(),
                    lease=keeper,
                    timer=timer,
                    watchdog=watchdog,
                    isolation=isolation,
                    cpu_pool=CpuPool() if isolation.isolating else cache.cpu_pool,
                    frame_cache=FrameCache() if isolation.isolating else cache.frames,
                    scales=ScaleCache() if isolation.isolating else cache.scales,
                    readers=None if isolation.isolating else cache.readers,
                )

    def batches(self, items: Iterator[T], numbers: Sequence[int], size: int) -> Iterator[list[T]]:
        """Yield the items, one for each of ``numbers``, in batches of at most ``size``."""

        def record(batch: Sequence[int]) -> None:
            self.watchdog.restart()
            self.lease.record_progress(batch)

        return self.isolation.batches(items, numbers, size, record)

    def ahead(self, items: Iterator[T], depth: int) -> AbstractContextManager[Iterator[T]]:
        """Read items ahead in a thread, up to ``depth``; not with crash isolation."""
        return nullcontext(items) if self.isolation.isolating else prefetched(items, depth)

    def behind(self, work: Callable[[T], None], depth: int) -> Background[T] | Inline[T]:
        """Do ``work`` on each item in a thread, up to ``depth`` late; not with crash isolation."""
        return Inline(work) if self.isolation.isolating else Background(work, depth)


class Inline(Generic[T]):
    """As :class:`Background`, but works in the caller's own thread."""

    def __init__(self, work: Callable[[T], None]) -> None:
        self.put = work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        pass
