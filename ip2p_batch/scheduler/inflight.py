"""The window: how much of a job stands in the queue at a time, and how it moves on.

Jobs share a queue, first come, first served. A job that put all its chunks there at once would
have everybody else wait for its last one. So a job hands over no more than its executor's width
(two messages for each worker there is), and whoever settles a chunk hands over the next. All jobs
of one priority have the same width, so that they take turns.

Which chunks are under way stands in ``inflight/window.json``, under a lock. Messages are sent
before that is written, so a crash in between sends a chunk twice, which does no harm, and never
none. Nothing is lost with the file, either: without it, the receipts are counted again.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from ..jobs.attempts import live_heartbeats
from ..jobs.folder import JobFolder
from ..jobs.plan import Chunk, Plan
from ..queue.executor import Executor
from ..storage.atomic import overwrite_in_place, retry_transient, write_error


class _Window(msgspec.Struct, forbid_unknown_fields=True):
    """What of a wave is under way.

    Attributes:
        next: number in the plan of the first chunk that was not looked at yet.
        under_way: ids of chunks that were handed over and are not known to be settled.
    """

    wave: int
    next: int
    under_way: list[str]


@contextmanager
def held(folder: JobFolder) -> Iterator[None]:
    """Hand over alone: others that would stand in line meanwhile."""
    with folder.dispatch.locked():
        yield


def forget(folder: JobFolder) -> None:
    """Take it that nothing was handed over; to be called with the window :func:`held`."""
    folder.dispatch.clear()


def begin(
    folder: JobFolder, executor: Executor, plan: Plan, wave: int, pending: Sequence[Chunk]
) -> None:
    """Hand over the first ``pending`` chunks of a wave; to be called with the window held.

    Chunks that the queue has from earlier, or that a worker has in hand, count as handed over.

    Raises:
        BrokerError: Redis cannot be reached.
        OutputError: the job folder cannot be written.
    """
    known = executor.queued_chunks(folder)
    at_work = {heartbeat.chunk for heartbeat in live_heartbeats(folder, ())}
    there = known.waiting | (known.unacked & at_work)
    under_way = [chunk.id for chunk in pending if chunk.id in there]
    room = executor.max_inflight() - len(under_way)
    first = [chunk for chunk in pending if chunk.id not in there][: max(room, 0)]
    if first:
        executor.enqueue(folder, first)
    last = first[-1].id if first else None
    at = next((n for n, c in enumerate(plan.chunks, 1) if c.id == last), 0)
    _write(folder, _Window(wave, at, under_way + [chunk.id for chunk in first]))


def move_on(folder: JobFolder, executor: Executor, is_settled: Collection[str] | None) -> bool:
    """Hand over as many chunks as were settled; to be called with the window held.

    Args:
        is_settled: ids of chunks known to be settled; None to look at all that are under way.

    Returns:
        Whether a wave is under way still. False only means that it takes a closer look.
    """
    window = _read(folder)
    if window is None:
        return False
    plan = folder.plan()
    if window.next > len(plan.chunks):
        folder.refresh()
        plan = folder.plan()
    end = bisect_right(plan.chunks, window.wave, key=lambda chunk: chunk.wave)
    known = folder.is_settled if is_settled is None else is_settled.__contains__
    under_way = [chunk for chunk in window.under_way if not known(chunk)]
    at = window.next
    first: list[Chunk] = []
    if at < end:
        # The oldest may have been settled without a word: its worker died, or Redis was away.
        while under_way and folder.is_settled(under_way[0]):
            del under_way[0]
        room = executor.max_inflight() - len(under_way)
        while at < end and len(first) < room:
            chunk = plan.chunks[at]
            at += 1
            due = chunk.wave == window.wave and chunk.id not in window.under_way
            if due and not folder.is_settled(chunk.id):
                first.append(chunk)
        if first:
            executor.enqueue(folder, first)
            under_way += [chunk.id for chunk in first]
    if at == end and all(folder.is_settled(chunk) for chunk in under_way):
        return False
    if (at, under_way) != (window.next, window.under_way):
        _write(folder, _Window(window.wave, at, under_way))
    return True


def _read(folder: JobFolder) -> _Window | None:
    try:
        return msgspec.json.decode(folder.dispatch.path.read_bytes(), type=_Window)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(folder: JobFolder, window: _Window) -> None:
    path, data = folder.dispatch.path, msgspec.json.encode(window)

    def write() -> None:
        path.parent.mkdir(exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            overwrite_in_place(file, data)
        finally:
            os.close(file)

    # Nobody else reads it now: the window is held.
    try:
        retry_transient(write)
    except OSError as error:
        raise write_error(path, error) from error
