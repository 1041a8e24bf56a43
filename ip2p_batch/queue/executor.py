"""The executor protocol: where the scheduler sends the chunks of a job.

An executor runs what it is given and reports nothing back. Receipts and failures in the job folder
say what is done. Implementations: ``CeleryExecutor`` (a Redis broker and its workers),
``LocalExecutor`` (the calling process) and ``StubExecutor`` (for tests; runs nothing by itself).
``tests/test_executor_contract.py`` checks all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk


class QueuedChunks(NamedTuple):
    """Messages of one job in the queue, as chunk ids; ``ASSEMBLY`` is the id of its assembly.

    Attributes:
        waiting: no worker has taken these yet.
        unacked: a worker has taken these and has not acknowledged them. It may have died since.
    """

    waiting: frozenset[str] = frozenset()
    unacked: frozenset[str] = frozenset()


class Executor(Protocol):
    """Runs chunks, in this process or through a queue.

    Every method raises :class:`~ip2p_batch.errors.BrokerError` when the queue cannot be reached.
    """

    def enqueue(self, folder: JobFolder, chunks: Sequence[Chunk]) -> None:
        """Queue chunks, in order. Enqueuing a chunk twice is harmless.

        Raises:
            BrokerError: the queue cannot be reached; some of the chunks may be queued.
        """
        ...

    def enqueue_assembly(self, folder: JobFolder) -> None:
        """Queue the assembly of a job whose chunks are finished. Doing so twice is harmless.

        Raises:
            BrokerError: the queue cannot be reached.
        """
        ...

    def poll(self, seconds: float) -> None:
        """Wait up to ``seconds`` for progress.

        An executor without workers of its own runs one queued chunk or assembly instead, which
        may take longer.
        """
        ...

    def queue_length(self) -> int:
        """Number of messages of all jobs that are waiting or not acknowledged.

        Raises:
            BrokerError: the queue cannot be reached.
        """
        ...

    def queued_chunks(self, folder: JobFolder) -> QueuedChunks:
        """The messages of this job that are in the queue. Reads the whole queue.

        Raises:
            BrokerError: the queue cannot be reached.
        """
        ...

    def is_idle(self) -> bool:
        """Whether no message is waiting, of any job: a worker that finishes now has to wait.

        Raises:
            BrokerError: the queue cannot be reached.
        """
        ...

    def max_inflight(self) -> int:
        """Number of chunks of one job that may be in flight at once, at least 1.

        All jobs of one priority get the same number, so that they take turns; see
        ``scheduler/inflight.py``.

        Raises:
            BrokerError: the queue cannot be reached.
        """
        ...
