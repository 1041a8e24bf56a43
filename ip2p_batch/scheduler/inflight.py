"""In-flight window: bounds the chunks of a job that are queued at once, so that jobs take turns.

Jobs share a queue that is served first come, first served. A job that queued all its chunks at
once would make every other job wait for its last one. So a job queues at most
``executor.max_inflight()`` chunks (two for each busy worker), and whichever process settles a
chunk enqueues the next one. All jobs of one priority have the same limit.

``inflight/wave.json`` records which chunks are in flight. It is read and written under
:func:`dispatch_lock`. Chunks are enqueued before it is written: a crash in between enqueues a
chunk twice, which is harmless, and never loses one. A lost or damaged record is made again from
receipts, queue and heartbeats.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from ..jobs.attempts import live_heartbeats
from ..jobs.folder import JobFolder
from ..jobs.log import chunk_log
from ..jobs.plan import Chunk, Plan
from ..queue.executor import Executor
from ..storage.atomic import overwrite_in_place, retry_transient, write_error

log = logging.getLogger(__name__)


class _Wave(msgspec.Struct, forbid_unknown_fields=True):
    """Progress of the dispatch of one wave.

    Attributes:
        wave: number of the wave, from 1.
        next_index: index in the plan's chunks of the first one that was not considered yet.
        inflight: ids of chunks that were enqueued and are not known to be settled, oldest first.
    """

    wave: int
    next_index: int
    inflight: list[str]


@contextmanager
def dispatch_lock(folder: JobFolder) -> Iterator[None]:
    """Exclude other processes that dispatch chunks of this job; waits for them."""
    with folder.dispatch.locked():
        yield


def start_wave(
    folder: JobFolder, executor: Executor, plan: Plan, wave: int, pending: Sequence[Chunk]
) -> None:
    """Enqueue the first chunks of a wave. The caller holds the :func:`dispatch_lock`.

    Chunks that are in the queue already, or that a live worker has, count as in flight.

    Args:
        pending: chunks of the wave that are not settled, in order.

    Raises:
        BrokerError: Redis cannot be reached.
        OutputError: the job folder cannot be written.
    """
    queued = executor.queued_chunks(folder)
    alive = {heartbeat.chunk for heartbeat in live_heartbeats(folder, ())}
    known = queued.waiting | (queued.unacked & alive)
    inflight = [chunk.id for chunk in pending if chunk.id in known]
    room = max(executor.max_inflight() - len(inflight), 0)
    due = [chunk for chunk in pending if chunk.id not in known][:room]
    _enqueue(folder, executor, due)
    last = due[-1].id if due else None
    next_index = next((n for n, chunk in enumerate(plan.chunks, 1) if chunk.id == last), 0)
    _write(folder, _Wave(wave, next_index, inflight + [chunk.id for chunk in due]))


def refill(folder: JobFolder, executor: Executor, settled: Collection[str] | None) -> bool:
    """Enqueue as many chunks as were settled. The caller holds the :func:`dispatch_lock`.

    Args:
        settled: ids of chunks known to be settled; None checks all chunks in flight on disk.

    Returns:
        Whether chunks of the wave are still in flight. False means that the wave is settled or
        not recorded, so the caller has to read the receipts.

    Raises:
        BrokerError: Redis cannot be reached.
        OutputError: the job folder cannot be written.
    """
    state = _read(folder)
    if state is None:
        return False
    plan = folder.plan()
    if state.next_index > len(plan.chunks):
        folder.refresh()
        plan = folder.plan()
    end = bisect_right(plan.chunks, state.wave, key=lambda chunk: chunk.wave)
    is_settled = folder.is_settled if settled is None else settled.__contains__
    inflight = [chunk_id for chunk_id in state.inflight if not is_settled(chunk_id)]
    index = state.next_index
    due: list[Chunk] = []
    if index < end:
        # The oldest may be settled unnoticed: their worker died, or Redis did not answer it.
        while inflight and folder.is_settled(inflight[0]):
            del inflight[0]
        room = executor.max_inflight() - len(inflight)
        while index < end and len(due) < room:
            chunk = plan.chunks[index]
            index += 1
            is_due = chunk.wave == state.wave and chunk.id not in state.inflight
            if is_due and not folder.is_settled(chunk.id):
                due.append(chunk)
        _enqueue(folder, executor, due)
        inflight += [chunk.id for chunk in due]
    if index == end and all(folder.is_settled(chunk_id) for chunk_id in inflight):
        return False
    if (index, inflight) != (state.next_index, state.inflight):
        _write(folder, _Wave(state.wave, index, inflight))
    return True


def _enqueue(folder: JobFolder, executor: Executor, chunks: Sequence[Chunk]) -> None:
    if chunks:
        executor.enqueue(folder, chunks)
        for chunk in chunks:
            chunk_log(log, folder, chunk.id, "dispatched")


def _read(folder: JobFolder) -> _Wave | None:
    try:
        return msgspec.json.decode(folder.dispatch.path.read_bytes(), type=_Wave)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(folder: JobFolder, state: _Wave) -> None:
    path, data = folder.dispatch.path, msgspec.json.encode(state)

    def write() -> None:
        path.parent.mkdir(exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            overwrite_in_place(file, data)
        finally:
            os.close(file)

    # In place, since the lock excludes readers, and a torn record counts as missing.
    try:
        retry_transient(write)
    except OSError as error:
        raise write_error(path, error) from error
