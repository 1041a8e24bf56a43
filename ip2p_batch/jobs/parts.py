"""Parts of a job folder: receipts, heartbeats, failures, poisoned frames, dispatch, hardware.

Each part owns its file names. :class:`~ip2p_batch.jobs.folder.JobFolder` has one of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from ..storage.atomic import atomic_path
from .codec import encode
from .files import JobFiles
from .records import ComputeProfile, Failure, Heartbeat, Receipt, Refusal

#: Times that missing segments are edited again before the disk counts as faulty.
_MAX_REDISPATCHES = 3


class Receipts:
    """``receipts/ID.json``: proof that chunk ID is finished."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files

    def write(self, receipt: Receipt, check: Callable[[], None] = lambda: None) -> None:
        """Record that a chunk is finished. Its files must be on disk before.

        Args:
            check: called last before the receipt appears; raises to withdraw it. See
                :func:`~ip2p_batch.storage.atomic.atomic_path`.
        """
        if any(item.error for item in receipt.items):
            self._files.mark_once(f"failed-items/{receipt.chunk}.json")
        path = self._files.at(f"receipts/{receipt.chunk}.json")
        with atomic_path(path, check=check) as temporary:
            temporary.write_bytes(encode(receipt))
        for stale in ("heartbeats", "failures"):
            self._files.delete(f"{stale}/{receipt.chunk}.json")

    def get(self, chunk_id: str) -> Receipt | None:
        """The receipt of a chunk; None where it is missing or was cut short by a failing disk."""
        return self._files.read_if_complete(f"receipts/{chunk_id}.json", Receipt)

    def exists(self, chunk_id: str) -> bool:
        return self._files.marked(f"receipts/{chunk_id}.json")

    def all(self) -> Iterator[Receipt]:
        for chunk_id in sorted(self.ids()):
            if (receipt := self.get(chunk_id)) is not None:
                yield receipt

    def ids(self) -> set[str]:
        """Ids of the finished chunks."""
        return self._files.names("receipts")

    def with_failed_items(self) -> set[str]:
        """Ids of the chunks whose receipts may list failed images."""
        return self._files.names("failed-items")

    def remove(self, chunk_id: str) -> None:
        """Remove a receipt, so that its chunk is edited again."""
        self._files.delete(f"receipts/{chunk_id}.json")


class Heartbeats:
    """``heartbeats/ID.json``: sign of life of the worker that edits chunk ID."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files

    def write(self, heartbeat: Heartbeat) -> None:
        # Not flushed to disk: after a power cut no worker edits the chunk anyway.
        self._files.write(f"heartbeats/{heartbeat.chunk}.json", heartbeat, durable=False)

    def get(self, chunk_id: str) -> Heartbeat | None:
        return self._files.read_if_complete(f"heartbeats/{chunk_id}.json", Heartbeat)

    def all(self) -> Iterator[Heartbeat]:
        for chunk_id in sorted(self._files.names("heartbeats")):
            if (heartbeat := self.get(chunk_id)) is not None:
                yield heartbeat

    def remove(self, chunk_id: str) -> None:
        self._files.delete(f"heartbeats/{chunk_id}.json")


class Failures:
    """``failures/ID.json``: why chunk ID failed at its last attempt."""

    def __init__(self, files: JobFiles, receipts: Receipts) -> None:
        self._files = files
        self._receipts = receipts

    def write(self, failure: Failure) -> None:
        self._files.write(f"failures/{failure.chunk}.json", failure)

    def exists(self, chunk_id: str) -> bool:
        return self._files.marked(f"failures/{chunk_id}.json")

    def all(self) -> Iterator[Failure]:
        for chunk_id in sorted(self.chunk_ids()):
            failure = self._files.read_if_complete(f"failures/{chunk_id}.json", Failure)
            if failure is not None:
                yield failure

    def chunk_ids(self) -> set[str]:
        """Ids of the chunks that have a failure and no receipt.

        A chunk that two workers had may fail for one and be finished by the other. A receipt wins.
        """
        failed = self._files.names("failures")
        return failed and failed - self._receipts.ids()

    def clear(self) -> None:
        """Remove all failures, so that a resume tries those chunks again."""
        for chunk_id in self._files.names("failures"):
            self._files.delete(f"failures/{chunk_id}.json")


class PoisonedFrames:
    """``poisoned/N``: frame or image N crashes its worker."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files

    def numbers(self) -> frozenset[int]:
        """Numbers of the frames or images that crash their worker."""
        return frozenset(int(name) for name in self._files.list("poisoned") if name.isdecimal())

    def add(self, number: int) -> bool:
        """Record a poisoned frame; True only for the caller that recorded it."""
        return self._files.mark_once(f"poisoned/{number}")

    def clear(self) -> None:
        for number in self.numbers():
            self._files.unmark(f"poisoned/{number}")


class DispatchState:
    """``inflight/``: what was dispatched since the job was last started or resumed."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files

    @property
    def path(self) -> Path:
        """Record of the wave in flight; see ``scheduler/inflight.py``."""
        return self._files.at("inflight/wave.json")

    @property
    def started(self) -> bool:
        """Whether anything was dispatched."""
        return self._files.marked("inflight")

    def clear(self) -> None:
        """Forget what was dispatched, so that all unfinished chunks are dispatched again."""
        self._files.delete_tree("inflight")

    def locked(self) -> AbstractContextManager[bool]:
        """Block until no other process dispatches chunks of this job."""
        return self._files.locked("dispatch.lock", wait=True)

    @property
    def assembling(self) -> bool:
        """Whether the assembly was dispatched."""
        return self._files.marked("inflight/assembly")

    def dispatch_assembly(self, enqueue: Callable[[], None], *, redelivered: bool = False) -> None:
        """Call ``enqueue`` once, even if several processes call this.

        If ``enqueue`` raises, the next caller tries again.

        Args:
            redelivered: the caller replaces one that died: enqueue again if that one stopped
                before its message was sent.
        """
        marker, sent = "inflight/assembly", "inflight/assembly.sent"
        first = self._files.mark_once(marker)
        if not first and not (redelivered and not self._files.marked(sent)):
            return
        try:
            enqueue()
            self._files.mark_once(sent)
        except BaseException:
            self._files.unmark(marker)
            raise

    def redispatch(self) -> bool:
        """Dispatch chunks again whose finished files are missing.

        Returns:
            False after several times in a row: then the disk must be at fault.
        """
        if not any(self._files.mark_once(f"redispatched/{n}") for n in range(_MAX_REDISPATCHES)):
            return False
        self.clear()
        return True

    def clear_redispatches(self) -> None:
        self._files.delete_tree("redispatched")


class Hardware:
    """``compute-profile.json`` and ``refusals/``: which workers may edit the job."""

    def __init__(self, files: JobFiles, receipts: Receipts) -> None:
        self._files = files
        self._receipts = receipts

    def profile(self) -> ComputeProfile | None:
        """Compute profile of the job; None before the first chunk was started."""
        return self._files.read("compute-profile.json", ComputeProfile)

    def fix_profile(self, ours: ComputeProfile) -> ComputeProfile:
        """Return the job's compute profile; it becomes ``ours`` if the job has none yet."""
        profile = self.profile()
        if profile is None:
            self._files.write_first("compute-profile.json", ours)
            profile = self.profile() or ours
        return profile

    def add_refusal(self, refusal: Refusal) -> None:
        """Record that a worker refuses this job, and why."""
        name = hashlib.sha256(refusal.node.encode()).hexdigest()[:16]
        self._files.write(f"refusals/{name}.json", refusal, durable=False)

    def refusals(self) -> Iterator[Refusal]:
        for name in sorted(self._files.names("refusals")):
            if (refusal := self._files.read(f"refusals/{name}.json", Refusal)) is not None:
                yield refusal

    def clear(self) -> None:
        """Forget refusals. With no finished chunk, the next worker fixes the profile anew."""
        for name in self._files.names("refusals"):
            self._files.delete(f"refusals/{name}.json")
        if not self._receipts.ids():
            self._files.delete("compute-profile.json")
