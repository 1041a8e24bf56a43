"""An executor for tests: keeps messages as a broker does, and runs nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..errors import BrokerError
from ..jobs.folder import JobFolder
from ..jobs.plan import ASSEMBLY, Chunk
from .executor import QueuedChunks


class StubMessage(NamedTuple):
    """One message of a :class:`StubExecutor`: a chunk of a job, or its assembly."""

    folder: JobFolder
    chunk_id: str


class StubExecutor:
    """Executor whose queue is a list that tests can read and change.

    Args:
        max_inflight: what :meth:`max_inflight` returns.
        work: called by :meth:`poll` with the oldest message; None leaves messages in the queue.

    Attributes:
        sent: ids of all chunks ever enqueued, in order; ``ASSEMBLY`` for an assembly.
        waiting: messages that no worker has taken, oldest first.
        unacked: messages that :meth:`take` has removed from ``waiting``.
        is_offline: while true, every method that a broker answers raises ``BrokerError``.
    """

    def __init__(
        self, max_inflight: int = 4, work: Callable[[JobFolder, str], None] | None = None
    ) -> None:
        self.sent: list[str] = []
        self.waiting: list[StubMessage] = []
        self.unacked: list[StubMessage] = []
        self.is_offline = False
        self.limit = max_inflight
        self._work = work

    def enqueue(self, folder: JobFolder, chunks: Sequence[Chunk]) -> None:
        self._check_online()
        for chunk in chunks:
            self._append(folder, chunk.id)

    def enqueue_assembly(self, folder: JobFolder) -> None:
        self._check_online()
        self._append(folder, ASSEMBLY)

    def poll(self, seconds: float) -> None:
        """Pass the oldest message to ``work``, if there is one; never sleeps."""
        if self._work is not None and self.waiting:
            message = self.take()
            self._work(*message)
            self.unacked.remove(message)

    def queue_length(self) -> int:
        self._check_online()
        return len(self.waiting) + len(self.unacked)

    def queued_chunks(self, folder: JobFolder) -> QueuedChunks:
        self._check_online()
        return QueuedChunks(
            frozenset(m.chunk_id for m in self.waiting if m.folder.path == folder.path),
            frozenset(m.chunk_id for m in self.unacked if m.folder.path == folder.path),
        )

    def is_idle(self) -> bool:
        self._check_online()
        return not self.waiting

    def max_inflight(self) -> int:
        self._check_online()
        return self.limit

    def take(self) -> StubMessage:
        """Move the oldest waiting message to ``unacked``, as a worker does, and return it."""
        message = self.waiting.pop(0)
        self.unacked.append(message)
        return message

    def wipe(self) -> None:
        """Forget all messages, as a Redis that lost its data does; ``sent`` stays."""
        self.waiting.clear()
        self.unacked.clear()

    def _append(self, folder: JobFolder, chunk_id: str) -> None:
        self.sent.append(chunk_id)
        self.waiting.append(StubMessage(folder, chunk_id))

    def _check_online(self) -> None:
        if self.is_offline:
            raise BrokerError("The stub broker is offline.")
