"""Chunk timeout: how long a chunk may take before it counts as hung.

The limit is a multiple of what chunks of the same job took on the same kind of device, relative to
their size: as this process measured it, or as receipts report it. Before there is any such
measurement, the limit is what the slowest machine would need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice

from ..errors import Ip2pError
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk
from ..jobs.records import Receipt
from ..jobs.spec import Job
from ..planning.cost import MIN_CHUNK_SECONDS, cost, planned_seconds

#: The limit, as a multiple of the measured time.
_FACTOR = 20.0
#: How many receipts to measure by, and how many to read in search of them.
_MAX_RECEIPTS, _MAX_READ = 8, 64


class Watchdog:
    """Calls a function when a chunk makes no progress for too long.

    Args:
        clock: seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._limit = math.inf
        self._since = clock()
        self._on_hang: Callable[[], None] = lambda: None

    def start(self, limit: float, on_hang: Callable[[], None]) -> None:
        """Allow ``limit`` seconds from now on."""
        self._limit, self._on_hang, self._since = limit, on_hang, self._clock()

    def restart(self) -> None:
        """Allow the whole limit again, since the chunk made progress."""
        self._since = self._clock()

    def poll(self) -> None:
        """Call ``on_hang`` where the limit has passed; the heartbeat's thread calls this."""
        if self._clock() - self._since > self._limit:
            self._on_hang()


class HangDetector:
    """The chunk timeouts of one process.

    Args:
        on_hang: called with one line when a chunk exceeds its limit, in another thread than the
            chunk's own.
        device: ``cpu`` or ``cuda``.
        minimum: seconds that every chunk is allowed.
    """

    def __init__(
        self, on_hang: Callable[[str], None], *, device: str, minimum: float = MIN_CHUNK_SECONDS
    ) -> None:
        self._on_hang = on_hang
        self._device = device
        self._minimum = minimum
        #: Seconds per TFLOP of the slowest chunk so far, by recipe and kind of chunk.
        self._pace: dict[tuple[str, type[Chunk]], float] = {}

    def watch(
        self, watchdog: Watchdog, folder: JobFolder, job: Job, chunk: Chunk, *, device: str
    ) -> None:
        """Start a chunk's watchdog with the limit of :meth:`limit`."""
        limit = self.limit(folder, job, chunk, device=device)
        line = f"chunk {chunk.id} of {job.id} has made no progress for {limit:.0f} s"
        watchdog.start(limit, lambda: self._on_hang(line))

    def limit(self, folder: JobFolder, job: Job, chunk: Chunk, *, device: str) -> float:
        """Seconds that a chunk may take, or each batch of one that is run with crash isolation.

        Args:
            device: receipts of this device count, as :class:`WorkerInfo` names it.
        """
        plan, key = folder.plan(), _key(job, chunk)
        if key not in self._pace:
            for receipt in _similar(folder, chunk, device):
                self._measure(key, cost(job, plan, folder.chunk(receipt.chunk)), receipt)
        if key not in self._pace:
            return self._minimum + planned_seconds(job, plan, chunk, self._device)
        return max(self._minimum, _FACTOR * self._pace[key] * cost(job, plan, chunk))

    def observe(self, folder: JobFolder, job: Job, chunk: Chunk, receipt: Receipt) -> None:
        """Measure later chunks by the time of a finished one."""
        self._measure(_key(job, chunk), cost(job, folder.plan(), chunk), receipt)

    def _measure(self, key: tuple[str, type[Chunk]], tflop: float, receipt: Receipt) -> None:
        if tflop <= 0:
            return  # all of its images were planned again in other chunks
        seconds = receipt.seconds.get("total", 0.0) - receipt.seconds.get("load", 0.0)
        self._pace[key] = max(seconds / tflop, self._pace.get(key, 0.0))


def _key(job: Job, chunk: Chunk) -> tuple[str, type[Chunk]]:
    return job.recipe.fingerprint(), type(chunk)


def _similar(folder: JobFolder, chunk: Chunk, device: str) -> Iterator[Receipt]:
    """Receipts of chunks of the same kind that were edited on the same device."""
    count = 0
    for chunk_id in islice(folder.receipts.ids(), _MAX_READ):  # a set, so this is a sample
        if count >= _MAX_RECEIPTS:
            return
        try:
            receipt = folder.receipts.get(chunk_id)
            same_kind = receipt and type(folder.chunk(chunk_id)) is type(chunk)
        except Ip2pError:
            continue  # assembly finds a damaged receipt
        if receipt and same_kind and receipt.worker.device == device:
            count += 1
            yield receipt
