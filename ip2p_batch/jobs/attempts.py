"""Attempts at a chunk: how many broke off, where, and whose the chunk is now.

Every attempt has a file of its own, ``attempts/ID.N.json``, which it alone creates: N is the
fencing token. Whoever begins an attempt takes the next number, so an earlier one can see that it
has been overtaken. What ended, well or badly, has ``ID.N.end`` beside it; what has not, broke off:
the process or its machine died. No Redis is asked, for it may be what failed.

The file is locked while its process lives, and the claim beside it beats. A newcomer who finds
neither lock nor beat takes the chunk; one who finds a beat leaves it alone.
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

#: A claim is watched this long at the least.
_GLANCE_SECONDS = 3.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class History:
    """The attempts at a chunk that broke off, in their order."""

    broken: tuple[Attempt, ...] = ()

    @property
    def deaths(self) -> int:
        return len(self.broken)


class ChunkLease:
    """A chunk in hand, for the length of a ``with`` block. Made by :func:`begin`.

    Attributes:
        number: of this attempt: the fencing token.
        earlier: what became of the attempts before it.
    """

    def __init__(self, job_dir: JobFolder, attempt: Attempt, number: int, file: int) -> None:
        self.number = number
        self.earlier = History()
        self._job_dir = job_dir
        self._attempt = attempt
        self._file = file
        self._write(attempt, durable=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Say that this attempt ended, well or badly, and let go of the chunk."""
        # Celery ends with SystemExit what hangs. What is given back is noted by its main process.
        if kind is None or not issubclass(kind, SystemExit):
            self._end()
        os.close(self._file)

    def note(self, part: Iterable[int]) -> None:
        """Say which frames or pictures are in hand from now on; on disk when this returns."""
        self._attempt = Attempt(
            chunk=self._attempt.chunk,
            worker=self._attempt.worker,
            part=tuple(part),
            at=self._attempt.at,
        )
        self._write(self._attempt, durable=True)

    def superseded(self) -> bool:
        """Whether somebody else has begun this chunk after us, or has finished it."""
        chunk = self._attempt.chunk
        return (
            self._job_dir.attempt_path(chunk, self.number + 1).exists()
            or self._job_dir.receipts.exists(chunk)
            # The job's end, or a new job in the same folder, takes the attempts away.
            or not self._job_dir.attempt_path(chunk, self.number).exists()
        )

    def check(self) -> None:
        """See that the chunk is still ours; looks at the disk.

        Raises:
            ChunkTaken: it is not.
        """
        if self.superseded():
            raise ChunkTaken(f"Another worker has chunk {self._attempt.chunk} by now.")

    def _end(self) -> None:
        chunk = self._attempt.chunk
        with suppress(Ip2pError, OSError):  # not to be able to say so counts as a death
            if self._job_dir.attempt_path(chunk, self.number).exists():
                self._job_dir.mark_once(_ending(chunk, self.number))

    def _write(self, attempt: Attempt, *, durable: bool) -> None:
        # In place, for the lock is on this very file.
        path = self._job_dir.attempt_path(attempt.chunk, self.number)
        try:
            overwrite_in_place(self._file, encode(attempt), durable=durable)
        except OSError as error:
            raise write_error(path, error) from error


def begin(
    job_dir: JobFolder,
    chunk_id: str,
    worker: WorkerInfo,
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> ChunkLease:
    """Take a chunk; waits up to ``IP2P_HEARTBEAT_TIMEOUT`` where its last holder may be alive.

    Args:
        checkpoint: called while waiting; raises to stop.

    Raises:
        ChunkTaken: its holder is alive, or somebody else has just taken it.
        OutputError: the job folder cannot be written.
    """
    attempts = _read(job_dir, chunk_id)
    number = len(attempts)
    if attempts and attempts[-1] is not None:
        _see_that_nobody_holds(job_dir, attempts[-1], number, worker, checkpoint)
    path = job_dir.attempt_path(chunk_id, number + 1)
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    try:
        # Exclusive: of two newcomers one is first. 0o666, for another user's worker locks it, too.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise ChunkTaken(f"Another worker has just taken chunk {chunk_id}.") from None
    except OSError as error:
        raise write_error(path, error) from error
    with suppress(OSError):  # not every file system can
        lock_file(file)
    attempt = Attempt(chunk=chunk_id, worker=worker, at=time.time())
    try:
        holding = ChunkLease(job_dir, attempt, number + 1, file)
    except OutputError:
        os.close(file)
        raise
    holding.earlier = History(tuple(a for a in attempts if a is not None))
    return holding


def history(job_dir: JobFolder, chunk_id: str) -> History:
    """The attempts that broke off so far, one that is under way among them."""
    return History(tuple(a for a in _read(job_dir, chunk_id) if a is not None))


def release(job_dir: JobFolder, chunk_id: str, *, host: str, pid: int) -> None:
    """Say of the newest attempt that it was ended on purpose, if that process made it."""
    attempts = _read(job_dir, chunk_id)
    last = attempts[-1] if attempts else None
    if last is not None and (last.worker.host, last.worker.pid) == (host, pid):
        job_dir.mark_once(_ending(chunk_id, len(attempts)))


def release_all(job_dir: JobFolder, host: str) -> None:
    """Say of every attempt of this host whose process is gone that it was ended on purpose.

    For a command that has just ended its own workers: what they had in hand killed nobody.
    """
    for heartbeat in job_dir.heartbeats.all():
        attempts = _read(job_dir, heartbeat.chunk)
        last = attempts[-1] if attempts else None
        if last is None or last.worker.host != host:
            continue
        if _is_unlocked(job_dir, heartbeat.chunk, len(attempts)):
            job_dir.mark_once(_ending(heartbeat.chunk, len(attempts)))


def forget(job_dir: JobFolder, chunk_ids: Iterable[str]) -> None:
    """Count no death of these chunks, nor any frame as deadly: somebody asked to try again."""
    chunk_ids = tuple(chunk_ids)
    for chunk_id in chunk_ids:
        for number, attempt in enumerate(_read(job_dir, chunk_id), 1):
            if attempt is not None:
                job_dir.mark_once(_ending(chunk_id, number))
    if chunk_ids:
        job_dir.poisoned.clear()


def _ending(chunk_id: str, number: int) -> str:
    return f"attempts/{chunk_id}.{number}.end"


def _read(job_dir: JobFolder, chunk_id: str) -> list[Attempt | None]:
    """All attempts at a chunk, in order; None for each that ended."""
    found: list[Attempt | None] = []
    while (path := job_dir.attempt_path(chunk_id, len(found) + 1)).exists():
        if job_dir.marked(_ending(chunk_id, len(found) + 1)):
            found.append(None)
            continue
        try:
            found.append(decode(path.read_bytes(), Attempt))
        except (Ip2pError, OSError):
            # Its machine died before this was on the disk: a death, and nobody knows where.
            nobody = WorkerInfo(host="", pid=0)
            found.append(Attempt(chunk=chunk_id, worker=nobody, at=0.0))
    return found


def _see_that_nobody_holds(
    job_dir: JobFolder,
    last: Attempt,
    number: int,
    worker: WorkerInfo,
    checkpoint: Callable[[], None],
) -> None:
    """Wait until it is clear that the last holder of a chunk is gone.

    Raises:
        ChunkTaken: it is alive.
    """
    unlocked = _is_unlocked(job_dir, last.chunk, number)
    # Of another host a lock may say nothing: not every file system shares them.
    if unlocked and last.worker.host == worker.host:
        return
    heartbeat = job_dir.heartbeats.get(last.chunk)
    # Another machine's clock may be off, so whatever the claim says it is watched for a moment.
    stale = Settings.from_env().heartbeat_timeout
    age = stale if heartbeat is None else max(0.0, time.time() - heartbeat.at)
    patience = max(_GLANCE_SECONDS, stale - age)
    seen = None if heartbeat is None else heartbeat.at
    end = time.monotonic() + patience
    while time.monotonic() < end:
        checkpoint()
        time.sleep(_LOOK_SECONDS)
        if job_dir.marked(_ending(last.chunk, number)):
            return
        heartbeat = job_dir.heartbeats.get(last.chunk)
        if heartbeat is not None and heartbeat.at != seen:
            raise ChunkTaken(f"Chunk {last.chunk} is in the hands of a worker that is alive.")


def _is_unlocked(job_dir: JobFolder, chunk_id: str, number: int) -> bool:
    try:
        file = os.open(job_dir.attempt_path(chunk_id, number), os.O_RDWR)
    except OSError:
        return False
    try:
        return lock_file(file) is Lock.OURS
    except OSError:
        return False
    finally:
        os.close(file)


def live_heartbeats(folder: JobFolder, finished: Collection[str]) -> list[Heartbeat]:
    """Claims of chunks that are not finished which were renewed lately."""
    oldest = time.time() - Settings.from_env().heartbeat_timeout
    return [c for c in folder.heartbeats.all() if c.chunk not in finished and c.at >= oldest]
