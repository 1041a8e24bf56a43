"""Watch a job folder and report what is new in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Set
from typing import NamedTuple

from ..jobs.compatibility import mismatch_message
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import ASSEMBLY, Plan
from ..jobs.records import Failure, Receipt, Refusal

log = logging.getLogger(__name__)

#: Scans may take this share of a follower's time: thousands of receipts on a slow network share
#: are read less often than ten receipts on a local disk.
SCAN_SHARE = 0.05
#: Longest pause between two scans, in seconds.
MAX_SCAN_INTERVAL = 2.0


class ObservedHeartbeat(NamedTuple):
    """A heartbeat as this process sees it, so that clocks of other hosts do not matter.

    Attributes:
        at: the time that the worker wrote, by its own clock.
        unchanged_since: the monitor's clock when ``at`` was first seen.
    """

    at: float
    unchanged_since: float


class JobMonitor:
    """Scans a job folder and reports each new thing once. Only reads.

    Args:
        folder: the job folder.
        plan: its plan.
        scan_share: fraction of time that scans may take, above 0.
        clock: monotonic time in seconds.

    Attributes:
        done: frames or images finished, including those of chunks in flight; never decreases.
        finished: ids of chunks that had a receipt at the last scan.
        heartbeats: by chunk id, of chunks without a receipt at the last scan.
        changed: whether the last :meth:`poll` found receipts added or removed.
    """

    def __init__(
        self,
        folder: JobFolder,
        plan: Plan,
        *,
        scan_share: float = SCAN_SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = 0
        self.finished: Set[str] = frozenset()
        self.heartbeats: Mapping[str, ObservedHeartbeat] = {}
        self.changed = False
        self._folder = folder
        self._plan = plan
        self._frames_by_chunk = plan.frames_by_chunk
        self._scan_share = scan_share
        self._clock = clock
        self._next_scan = 0.0
        self._last_activity = clock()
        self._finished_frames = 0
        self._refusals: list[Refusal] = []
        self._reported_chunks: set[str] = set()
        self._reported_warnings: set[str] = set()

    def poll(self, *, force: bool = False) -> None:
        """Scan the folder, unless the last scan is too recent for the time that it took.

        Args:
            force: scan in any case.
        """
        self.changed = False
        if not force and self._clock() < self._next_scan:
            return
        begun = self._clock()
        self._scan_receipts()
        self._scan_heartbeats(begun)
        self._refusals = list(self._folder.hardware.refusals())
        if self.heartbeats or self.changed or self._folder.paused:
            self._last_activity = begun
        ended = self._clock()
        self._next_scan = ended + min((ended - begun) / self._scan_share, MAX_SCAN_INTERVAL)

    def new_events(self) -> Iterator[Event]:
        """Events for receipts and refusals that were not reported yet."""
        for refusal in self._refusals:
            yield from self._warn_once(mismatch_message(refusal))
        for chunk_id in sorted(self.finished - self._reported_chunks):
            self._reported_chunks.add(chunk_id)
            receipt = self._folder.receipts.get(chunk_id)
            if receipt is not None:
                chunk_log(log, self._folder, chunk_id, "receipt-seen")
                yield from self._receipt_events(receipt)

    @property
    def settled(self) -> Set[str]:
        """Ids of chunks that had a receipt at the last scan, and of those that failed."""
        return self.finished | self._folder.failures.chunk_ids()

    @property
    def idle_seconds(self) -> float:
        """Seconds since a scan last found a heartbeat, a change of receipts or a pause."""
        return self._clock() - self._last_activity

    def final_failures(self) -> list[Failure]:
        """The failures of the current wave once none of its chunks is open; empty before that."""
        failures = [f for f in self._folder.failures.all() if f.chunk not in self.finished]
        if not failures:
            return []
        failed = {f.chunk for f in failures}
        if ASSEMBLY in failed:
            return failures
        wave = min((c.wave for c in self._plan.chunks if c.id in failed), default=1)
        settled = failed | self.finished
        is_open = any(c.id not in settled for c in self._plan.wave(wave))
        return [] if is_open else failures

    def _scan_receipts(self) -> None:
        before, self.finished = self.finished, self._folder.receipts.ids()
        added, removed = self.finished - before, before - self.finished
        self.changed = bool(added or removed)
        self._finished_frames += sum(self._frames_by_chunk.get(c, 0) for c in added)
        self._finished_frames -= sum(self._frames_by_chunk.get(c, 0) for c in removed)

    def _scan_heartbeats(self, now: float) -> None:
        done = self._finished_frames
        heartbeats = {}
        for heartbeat in self._folder.heartbeats.all():
            chunk_id = heartbeat.chunk
            if chunk_id in self.finished:
                continue
            seen = self.heartbeats.get(chunk_id)
            if seen is None or seen.at != heartbeat.at:
                seen = ObservedHeartbeat(heartbeat.at, now)
            heartbeats[chunk_id] = seen
            done += min(heartbeat.done, self._frames_by_chunk.get(chunk_id, 0))
        self.heartbeats = heartbeats
        # A redelivered chunk starts again; the progress bar does not go back.
        self.done = max(self.done, done)

    def _receipt_events(self, receipt: Receipt) -> Iterator[Event]:
        yield Event(
            kind="chunk",
            done=self.done,
            total=self._plan.frames,
            data={
                "chunk": receipt.chunk,
                "frames": receipt.frames,
                "seconds": receipt.seconds,
                "worker": f"{receipt.worker.host}:{receipt.worker.pid}",
            },
        )
        for item in self._plan.valid_items(receipt):
            if item.error:
                source = next(self._folder.items(item.index, item.index + 1)).source
                yield Event(kind="failed_item", message=item.error, data={"path": source})
        for warning in receipt.warnings:
            yield from self._warn_once(warning)

    def _warn_once(self, message: str) -> Iterator[Event]:
        if message not in self._reported_warnings:
            self._reported_warnings.add(message)
            yield Event(kind="warning", message=message)
