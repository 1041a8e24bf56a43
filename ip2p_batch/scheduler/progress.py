"""What a follower sees of a job folder, and what it makes up for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from ..errors import BrokerError, JobError
from ..jobs.compatibility import mismatch_message
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..jobs.plan import ASSEMBLY, Plan
from ..jobs.records import Failure, Receipt, Refusal
from ..queue.executor import Executor
from ..settings import Settings
from . import inflight
from .dispatch import dispatch_next

#: Looking at the job folder may take this share of a follower's time: thousands of receipts on a
#: slow share are looked at less often than ten on a disk, up to so many seconds apart.
_LOOKING = 0.05
_MAX_PAUSE_SECONDS = 2.0
_RECONCILE_SECONDS = 3.0
#: Everything handed over again this often, and not one frame more: something is wrong.
_MAX_FRUITLESS = 5
#: Seconds for which Redis may be away with nothing getting done.
_MAX_SILENCE_SECONDS = 120.0


class JobMonitor:
    """What a follower has seen of a job folder, so that each thing is told once."""

    def __init__(self, folder: JobFolder, plan: Plan) -> None:
        self.done = 0
        #: Whether the last look at the folder found receipts that the one before it did not.
        self.grew = False
        self._folder = folder
        self._plan = plan
        self._weights = plan.frames_by_chunk
        self._finished: set[str] = set()
        self._frames = 0  # in finished chunks
        self._next_look = 0.0
        self._seen: set[str] = set()
        self._told: set[str] = set()
        self._refusals: list[Refusal] = []
        self._beats: dict[str, tuple[float, float]] = {}
        self._idle_since: float | None = None
        self._fruitless = 0
        self._reached = (0, 0)
        self._broker_lost: tuple[float, int] | None = None
        self._stale = Settings.from_env().heartbeat_timeout

    def look(self, *, must: bool = False) -> None:
        """Look at the folder again, if the last look is long enough ago for what it took."""
        if must or time.monotonic() >= self._next_look:
            self.scan()
        else:
            self.grew = False

    def scan(self) -> int:
        """Look at the folder again; the number of frames done, parts of chunks included."""
        now = time.monotonic()
        before, self._finished = self._finished, self._folder.receipts.ids()
        new, dropped = self._finished - before, before - self._finished
        self.grew = bool(new or dropped)
        self._frames += sum(self._weights.get(c, 0) for c in new)
        self._frames -= sum(self._weights.get(c, 0) for c in dropped)
        done = self._frames
        held = {}
        for heartbeat in self._folder.heartbeats.all():
            if heartbeat.chunk in self._finished:
                continue
            last, since = self._beats.get(heartbeat.chunk, (0.0, now))
            held[heartbeat.chunk] = (heartbeat.at, since if heartbeat.at == last else now)
            done += min(heartbeat.done, self._weights.get(heartbeat.chunk, 0))
        self._beats = held
        self._refusals = list(self._folder.hardware.refusals())
        looked = time.monotonic()
        self._next_look = looked + min((looked - now) / _LOOKING, _MAX_PAUSE_SECONDS)
        # A redelivered chunk begins anew: the bar does not run backwards.
        self.done = max(self.done, done)
        return self.done

    def news(self) -> Iterator[Event]:
        """Events for receipts not told of yet, and for workers that take no part."""
        for refusal in self._refusals:
            yield from self._warn(mismatch_message(refusal))
        for chunk_id in sorted(self._finished - self._seen):
            self._seen.add(chunk_id)
            receipt = self._folder.receipts.get(chunk_id)
            if receipt is not None:
                yield from self._tell(receipt)

    def _tell(self, receipt: Receipt) -> Iterator[Event]:
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
            yield from self._warn(warning)

    def _warn(self, message: str) -> Iterator[Event]:
        if message not in self._told:
            self._told.add(message)
            yield Event(kind="warning", message=message)

    @property
    def is_settled(self) -> set[str]:
        """Chunks with a receipt at the last look, and those given up."""
        return self._finished | self._folder.failures.chunk_ids()

    def forsaken(self, now: float) -> bool:
        """True once: no worker has been at the job for as long as a dead one is waited for."""
        if self._beats or self.grew or self._folder.paused:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > self._stale:
            self._idle_since = math.inf
            return True
        return False

    def settled_with_failures(self) -> list[Failure]:
        """Failures, once nothing of their wave is left to do; empty before that."""
        failures = [f for f in self._folder.failures.all() if f.chunk not in self._finished]
        if not failures:
            return []
        failed_chunks = {f.chunk for f in failures}
        if ASSEMBLY in failed_chunks:
            return failures
        waves = [c.wave for c in self._plan.chunks if c.id in failed_chunks]
        current = min(waves, default=1)
        open_ = [
            c
            for c in self._plan.wave(current)
            if c.id not in self._finished and c.id not in failed_chunks
        ]
        return [] if open_ else failures

    def reconcile(self, executor: Executor) -> None:
        """Hand over again what was lost: a dead worker's chunk, a message that Redis forgot.

        A chunk whose claim stopped beating belonged to a worker that is gone; what that worker's
        message does later is harmless, since the receipt will be there. Where nothing beats at
        all and the queue has nothing of this job, its window is handed over again.

        Raises:
            OutputError: nothing gets done, and the job folder cannot be written.
            JobError: all was handed over several times, and nothing came of it.
            BrokerError: nothing gets done, and Redis has not answered for minutes.
        """
        if self._folder.paused:
            self._idle_since = None
            return
        now = time.monotonic()
        dead = {c for c, (_, since) in self._beats.items() if now - since > self._stale}
        if dead:
            chunks = [c for c in self._plan.chunks if c.id in dead]
            for chunk in chunks:
                self._folder.heartbeats.remove(chunk.id)
            try:
                executor.enqueue(self._folder, chunks)
            except BrokerError as error:
                self._no_broker(error)  # with no claim left, all that is pending goes out again
            return
        if self._beats:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > _RECONCILE_SECONDS:
            self._idle_since = now
            self._folder.check_writable()  # workers that cannot write cannot say so, either
            try:
                queued = executor.queued_chunks(self._folder)
                self._broker_lost = None
                if queued.waiting or queued.unacked:
                    return
                self._count_fruitless()
                with inflight.held(self._folder):
                    inflight.forget(self._folder)
                dispatch_next(self._folder, executor)
            except BrokerError as error:
                self._no_broker(error)

    def _no_broker(self, error: BrokerError) -> None:
        """Redis may be restarting; but not for ever.

        Raises:
            BrokerError: it has not answered for minutes, and nothing was done meanwhile.
        """
        now = time.monotonic()
        if self._broker_lost is None or self._broker_lost[1] != len(self._finished):
            self._broker_lost = (now, len(self._finished))
        if now - self._broker_lost[0] > _MAX_SILENCE_SECONDS:
            raise error

    def _count_fruitless(self) -> None:
        """Before handing over again.

        Raises:
            JobError: it came to nothing several times in a row.
        """
        reached = (len(self._finished), self.done)
        self._fruitless = 0 if reached != self._reached else self._fruitless + 1
        self._reached = reached
        if self._fruitless >= _MAX_FRUITLESS:
            raise JobError(
                f"Workers take the chunks of {self._folder.path.name} and nothing comes of it.",
                hint=f"Their log says why; can they write {self._folder.path}?",
                survives="Finished chunks are kept.",
            )
