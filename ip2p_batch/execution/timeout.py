"""How long a chunk may take before it counts as hung.

Many times as long as chunks of its job took on the same kind of device for their size, as this
process saw or their receipts tell; before there are any, what the slowest of machines would need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from ..errors import Ip2pError
from ..jobs.plan import Chunk
from ..jobs.records import Receipt
from ..planning.cost import LEAST_SECONDS, cost, planned_seconds
from .chunk_run import Work

#: Times as long as measured.
_FACTOR = 20.0
#: Receipts to measure by, and to look at for them, at the most.
_RECEIPTS, _LOOKS = 8, 64


class HangDetector:
    """How long the chunks of one process may take, and what becomes of one that hangs.

    Args:
        hung: called with one line when a chunk does not come on, in another thread than its own.
        device: ``cpu`` or ``cuda``.
        least: seconds that any chunk may take.
    """

    def __init__(
        self, hung: Callable[[str], None], *, device: str, least: float = LEAST_SECONDS
    ) -> None:
        self._hung = hung
        self._device = device
        self._least = least
        #: Seconds for each TFLOP, the slowest chunk's so far, by recipe and kind of chunk.
        self._pace: dict[tuple[str, type[Chunk]], float] = {}

    def seconds(self, work: Work) -> float:
        """How long a chunk may take, or a part of one that is done with care."""
        job, plan, chunk = work.job, work.job_dir.plan(), work.chunk
        key = _key(work)
        if key not in self._pace:
            for receipt in _others(work):
                self._learn(key, cost(job, plan, work.job_dir.chunk(receipt.chunk)), receipt)
        if key not in self._pace:
            return self._least + planned_seconds(job, plan, chunk, self._device)
        return max(self._least, _FACTOR * self._pace[key] * cost(job, plan, chunk))

    def watch(self, work: Work) -> None:
        """Call ``hung`` when this chunk takes too long from now on."""
        limit = self.seconds(work)
        line = f"chunk {work.chunk.id} of {work.job.id} has not come on for {limit:.0f} s"
        work.expect(limit, lambda: self._hung(line))

    def learn(self, work: Work, receipt: Receipt) -> None:
        """Take the time of a finished chunk for the measure of those to come."""
        self._learn(_key(work), cost(work.job, work.job_dir.plan(), work.chunk), receipt)

    def _learn(self, key: tuple[str, type[Chunk]], tflop: float, receipt: Receipt) -> None:
        took = receipt.seconds.get("total", 0.0) - receipt.seconds.get("load", 0.0)
        self._pace[key] = max(took / tflop, self._pace.get(key, 0.0))


def _key(work: Work) -> tuple[str, type[Chunk]]:
    return work.job.recipe.fingerprint(), type(work.chunk)


def _others(work: Work) -> Iterator[Receipt]:
    """Receipts of chunks of this kind, done on such a device as this one."""
    found = 0
    for chunk_id in islice(work.job_dir.finished(), _LOOKS):  # in no order, so a sample
        if found >= _RECEIPTS:
            return
        try:
            receipt = work.job_dir.receipt(chunk_id)
            same = receipt and type(work.job_dir.chunk(chunk_id)) is type(work.chunk)
        except Ip2pError:
            continue  # a damaged receipt is somebody else's to find
        if receipt and same and receipt.worker.device == work.worker.device:
            found += 1
            yield receipt
