"""Attempts at a chunk: the lease, its fencing token, and the crashes so far.

Every attempt has a file of its own, ``attempts/ID.N.json``, created exclusively. N is the fencing
token: a worker that starts an attempt takes the next number, so an earlier worker can see that it
is superseded. An attempt that ended, well or badly, has a marker ``ID.N.end``. One without it
crashed: its process or its machine died. Redis is not asked, because it may be what failed.

The file is locked while its process lives, and a heartbeat is renewed. A worker that finds
neither lock nor heartbeat takes the chunk; one that finds a heartbeat leaves the chunk alone.
Fencing tokens: M. Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from ..errors import ChunkTaken, Ip2pError, OutputError
from ..settings import Settings
from ..storage.atomic import overwrite_in_place, write_error
from ..storage.locks import Lock, lock_file
from .codec import decode, encode
from .folder import JobFolder
from .records import Attempt, Heartbeat, WorkerInfo


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long to wait for a worker that may be alive, in seconds.

    Attributes:
        heartbeat_timeout: age at which a heartbeat is no sign of life any more.
        min_watch: least time for which a heartbeat is watched: clocks of hosts differ.
        poll: time between two reads of the heartbeat.
    """

    heartbeat_timeout: float
    min_watch: float = 3.0
    poll: float = 0.25


@dataclass(frozen=True, slots=True)
class History:
    """The attempts at a chunk that did not end, in order; a running one is among them."""

    crashed: tuple[Attempt, ...] = ()

    @property
    def crashes(self) -> int:
        return len(self.crashed)


class ChunkLease:
    """The right to write a chunk, for the length of a ``with`` block. Made by :func:`acquire`.

    Attributes:
        number: of this attempt: the fencing token.
        earlier: the attempts before it.
    """

    def __init__(
        self, folder: JobFolder, attempt: Attempt, number: int, file: int, earlier: History
    ) -> None:
        self.number = number
        self.earlier = earlier
        self._folder = folder
        self._attempt = attempt
        self._file = file
        self._write(attempt, durable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Record that this attempt ended, well or badly, and release the chunk."""
        # Celery ends a hung task with SystemExit; its main process records a deliberate stop.
        if kind is None or not issubclass(kind, SystemExit):
            self._end()
        os.close(self._file)

    def record_progress(self, numbers: Iterable[int]) -> None:
        """Record which frames or images are edited from now on; on disk when this returns."""
        self._attempt = Attempt(
            chunk=self._attempt.chunk,
            worker=self._attempt.worker,
            numbers=tuple(numbers),
            at=self._attempt.at,
        )
        self._write(self._attempt, durable=True)

    def superseded(self) -> bool:
        """Whether another worker started this chunk later, or finished it."""
        chunk = self._attempt.chunk
        return (
            self._folder.attempt_path(chunk, self.number + 1).exists()
            or self._folder.receipts.exists(chunk)
            # The end of the job, or a new job in the same folder, deletes the attempts.
            or not self._folder.attempt_path(chunk, self.number).exists()
        )

    def check(self) -> None:
        """Check on disk that this worker still holds the chunk.

        Raises:
            ChunkTaken: it does not.
        """
        if self.superseded():
            raise ChunkTaken(f"Another worker holds chunk {self._attempt.chunk} now.")

    def _end(self) -> None:
        chunk = self._attempt.chunk
        with suppress(Ip2pError, OSError):  # an end that cannot be written counts as a crash
            if self._folder.attempt_path(chunk, self.number).exists():
                self._folder.mark_once(_end_marker(chunk, self.number))

    def _write(self, attempt: Attempt, *, durable: bool) -> None:
        # In place: the lock is on this very file.
        path = self._folder.attempt_path(attempt.chunk, self.number)
        try:
            overwrite_in_place(self._file, encode(attempt), durable=durable)
        except OSError as error:
            raise write_error(path, error) from error


def acquire(
    folder: JobFolder,
    chunk_id: str,
    worker: WorkerInfo,
    *,
    checkpoint: Callable[[], None] = lambda: None,
    timing: LeaseTiming | None = None,
) -> ChunkLease:
    """Take the lease of a chunk. Waits while the last holder may be alive.

    Args:
        checkpoint: called while waiting; raises to stop.
        timing: None uses ``IP2P_HEARTBEAT_TIMEOUT``.

    Raises:
        ChunkTaken: the holder is alive, or another worker took the lease just now.
        OutputError: the job folder cannot be written.
    """
    attempts = _read(folder, chunk_id)
    number = len(attempts)
    if not _is_gone(folder, chunk_id, attempts, worker.host):
        timing = timing or LeaseTiming(Settings.from_env().heartbeat_timeout)
        _wait_until_gone(folder, chunk_id, number, checkpoint, timing)
    path = folder.attempt_path(chunk_id, number + 1)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        # Exclusive: of two workers one is first. 0o666: another user's worker locks it too.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise ChunkTaken(f"Another worker took chunk {chunk_id} just now.") from None
    except OSError as error:
        raise write_error(path, error) from error
    with suppress(OSError):  # some file systems have no locks
        lock_file(file, wait=True)  # for those who probe it, see `jobs/activity.py`
    attempt = Attempt(chunk=chunk_id, worker=worker, at=time.time())
    try:
        return ChunkLease(folder, attempt, number + 1, file, _history(attempts))
    except OutputError:
        os.close(file)
        raise


def live_heartbeats(folder: JobFolder, finished: Collection[str]) -> list[Heartbeat]:
    """Recent heartbeats of chunks that are not finished."""
    oldest = time.time() - Settings.from_env().heartbeat_timeout
    return [h for h in folder.heartbeats.all() if h.chunk not in finished and h.at >= oldest]


def is_crashed(folder: JobFolder, chunk_id: str) -> bool:
    """Whether the process of the newest attempt is gone; asks its lock, so only on its host."""
    attempts = _read(folder, chunk_id)
    return bool(attempts) and _is_unlocked(folder, chunk_id, len(attempts))


def history(folder: JobFolder, chunk_id: str) -> History:
    """The attempts at a chunk that did not end so far, including a running one."""
    return _history(_read(folder, chunk_id))


def release(folder: JobFolder, chunk_id: str, *, host: str, pid: int) -> None:
    """Record that the newest attempt was stopped on purpose, if that process made it."""
    attempts = _read(folder, chunk_id)
    last = attempts[-1] if attempts else None
    if last is not None and (last.worker.host, last.worker.pid) == (host, pid):
        folder.mark_once(_end_marker(chunk_id, len(attempts)))


def release_all(folder: JobFolder, host: str) -> None:
    """Record for every ended process of this host that its attempt was stopped on purpose.

    For a command that has just stopped its own workers: their chunks crashed nothing.
    """
    for heartbeat in folder.heartbeats.all():
        attempts = _read(folder, heartbeat.chunk)
        last = attempts[-1] if attempts else None
        if last is None or last.worker.host != host:
            continue
        if _is_unlocked(folder, heartbeat.chunk, len(attempts)):
            folder.mark_once(_end_marker(heartbeat.chunk, len(attempts)))
            folder.heartbeats.remove(heartbeat.chunk)


def forget_crashes(folder: JobFolder, chunk_ids: Iterable[str]) -> None:
    """Forget the crashes of these chunks and all poisoned frames, for a new try."""
    chunk_ids = tuple(chunk_ids)
    for chunk_id in chunk_ids:
        for number, attempt in enumerate(_read(folder, chunk_id), 1):
            if attempt is not None:
                folder.mark_once(_end_marker(chunk_id, number))
    if chunk_ids:
        folder.poisoned.clear()


def _end_marker(chunk_id: str, number: int) -> str:
    return f"attempts/{chunk_id}.{number}.end"


def _history(attempts: Iterable[Attempt | None]) -> History:
    return History(tuple(a for a in attempts if a is not None))


def _read(folder: JobFolder, chunk_id: str) -> list[Attempt | None]:
    """All attempts at a chunk, in order; None for each that ended."""
    attempts: list[Attempt | None] = []
    while (path := folder.attempt_path(chunk_id, len(attempts) + 1)).exists():
        if folder.marked(_end_marker(chunk_id, len(attempts) + 1)):
            attempts.append(None)
            continue
        try:
            attempts.append(decode(path.read_bytes(), Attempt))
        except (Ip2pError, OSError):
            # Its machine died before the file was on disk: a crash at an unknown frame.
            unknown = WorkerInfo(host="", pid=0)
            attempts.append(Attempt(chunk=chunk_id, worker=unknown, at=0.0))
    return attempts


def _is_gone(folder: JobFolder, chunk_id: str, attempts: list[Attempt | None], host: str) -> bool:
    """Whether certainly no worker holds a chunk. Otherwise its heartbeat must be watched.

    No attempt was made, the last one ended, or its process died on this host. Of other hosts a
    lock proves nothing on every file system, and a hung process keeps its lock.
    """
    last = attempts[-1] if attempts else None
    return last is None or (
        last.worker.host == host and _is_unlocked(folder, chunk_id, len(attempts))
    )


def _wait_until_gone(
    folder: JobFolder,
    chunk_id: str,
    number: int,
    checkpoint: Callable[[], None],
    timing: LeaseTiming,
) -> None:
    """Watch the heartbeat of the last holder for as long as it may still be renewed.

    Raises:
        ChunkTaken: it was renewed: the holder is alive.
    """
    heartbeat = folder.heartbeats.get(chunk_id)
    timeout = timing.heartbeat_timeout
    age = timeout if heartbeat is None else max(0.0, time.time() - heartbeat.at)
    # Clocks of hosts may differ, so it is watched for a moment whatever its age.
    deadline = time.monotonic() + max(timing.min_watch, timeout - age)
    seen = None if heartbeat is None else heartbeat.at
    while time.monotonic() < deadline:
        checkpoint()
        time.sleep(timing.poll)
        if folder.marked(_end_marker(chunk_id, number)):
            return
        heartbeat = folder.heartbeats.get(chunk_id)
        if heartbeat is not None and heartbeat.at != seen:
            raise ChunkTaken(f"A live worker holds chunk {chunk_id}.")


def _is_unlocked(folder: JobFolder, chunk_id: str, number: int) -> bool:
    try:
        file = os.open(folder.attempt_path(chunk_id, number), os.O_RDWR)
    except OSError:
        return False
    try:
        return lock_file(file) is Lock.OURS
    except OSError:
        return False
    finally:
        os.close(file)
