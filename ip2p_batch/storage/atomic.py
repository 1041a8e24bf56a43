"""Atomic, durable file writes that survive full disks, power loss and transient NFS errors.

A file is written under a temporary name in the same folder, flushed and renamed, and then the
folder is flushed: without the last step a power loss can undo the rename. Errors of a network
share whose server restarts (stale handle, I/O error) are retried a few times.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ..errors import Ip2pError, JobError, OutputError, StorageError

T = TypeVar("T")

SPACE_HINT = "Free disk space or fix the permissions, then run `ip2p-batch resume`."
SURVIVES = "Finished chunks are kept."
#: Seconds between tries: a share's fail-over takes some; a dead disk should be reported soon.
RETRY_DELAYS = (0.1, 0.5, 2.0)
#: Errors that may be gone at the next try: stale handle, server or cable down.
TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("ESTALE", "EIO", "ETIMEDOUT", "EREMOTEIO", "EHOSTDOWN", "ENOTCONN", "EAGAIN")
    if hasattr(errno, name)
)
#: Errors of file systems that cannot flush a folder and do not need to.
_NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM})
_PART = ".part"
_PREFIX_LENGTH = len(".ip2p-") + 12 + len("-")


def is_transient(error: BaseException | None) -> bool:
    """Whether an operating-system error may be gone at the next try."""
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS


def retry_transient(
    call: Callable[[], T],
    *,
    transient: Callable[[Exception], bool] = is_transient,
    delays: Sequence[float] | None = None,
    before_retry: Callable[[Exception], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call ``call``, and call it again after transient errors.

    Args:
        call: takes no arguments.
        transient: whether an error may be gone at the next try. The default accepts the errors
            of a network share whose server restarts.
        delays: seconds between tries; there is one try more. None is ``RETRY_DELAYS``.
        before_retry: called with the error before each delay, for a log line.
        sleep: called with each delay.

    Returns:
        What ``call`` returns.

    Raises:
        Exception: the first error that is not transient, or the last one.
    """
    for delay in RETRY_DELAYS if delays is None else delays:
        try:
            return call()
        except Exception as error:
            if not transient(error):
                raise
            before_retry(error)
        # Outside the handler: memory of the failed try is freed before the next one.
        sleep(delay)
    return call()


def write_error(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written; StorageError where it is transient."""
    kind = StorageError if is_transient(error) else OutputError
    return cannot_write(path, error.strerror or str(error), kind)


def cannot_write(
    path: Path | str, reason: str, kind: type[OutputError] = OutputError
) -> OutputError:
    """The error for a file or folder that cannot be written, with the given reason."""
    return kind(
        f"{path} cannot be written: {reason}.", path=path, hint=SPACE_HINT, survives=SURVIVES
    )


def read_error(path: Path, error: OSError) -> Ip2pError:
    """The error for a job's file that cannot be read; StorageError where it is transient."""
    message = f"{path} cannot be read: {error.strerror or error}."
    if is_transient(error):
        hint = "Check the disk or share, then run `ip2p-batch resume`."
        return StorageError(message, path=path, hint=hint, survives=SURVIVES)
    return JobError(message, survives=SURVIVES)


@contextmanager
def atomic_path(
    path: Path,
    *,
    durable: bool = True,
    sync_parent: bool = True,
    parents: bool = True,
    check: Callable[[], None] = lambda: None,
    publish: Callable[[Path, Path], None] | None = None,
) -> Iterator[Path]:
    """Yield a temporary path in ``path``'s folder; rename it to ``path`` when the block succeeds.

    The file is flushed to disk before the rename, and its folder after it. After an exception no
    file remains under either name.

    Args:
        durable: False skips the flushes, for files that are of no use after a crash.
        sync_parent: False leaves the flush of the folder to a caller with many files in one.
        parents: False makes only ``path``'s own folder, not those above it: nothing may be
            created below a share that is not mounted.
        check: called right before the rename; raises where the file is no longer wanted.
        publish: renames the temporary path, the first argument, to the second; None replaces
            whatever has that name. See :func:`ip2p_batch.storage.publish.publish`.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
        StorageError: a transient error of the disk or share outlasted the retries.
    """
    if "\0" in str(path):  # else the system raises ValueError
        raise OutputError(
            f"{str(path)!r} cannot be written: file names hold no NUL.",
            path=path,
            survives=SURVIVES,
        )
    temporary: Path | None = None
    try:
        temporary = retry_transient(lambda: _new_part(path, parents=parents))
        yield temporary
        if durable:
            # Once only: after a failed flush a second one may report success (fsync(2)).
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        check()
        (publish or _rename)(temporary, path)
        temporary = None
        if durable and sync_parent:
            sync_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def write_atomic(path: Path, data: bytes, *, durable: bool = True, parents: bool = True) -> None:
    """Write ``data`` so that readers see the old file or the new one, never a mix.

    Raises:
        OutputError: as :func:`atomic_path`; transient errors were retried.
    """

    def write() -> None:
        with atomic_path(path, durable=durable, parents=parents) as temporary:
            temporary.write_bytes(data)

    retry_transient(write, transient=lambda error: isinstance(error, StorageError))


def overwrite_in_place(file: int, data: bytes, *, durable: bool = False) -> None:
    """Replace the JSON in an open file by other JSON; the file keeps its name and its inode.

    For a file that carries a lock, and for one that is written often and is of no use after a
    crash. All others use :func:`atomic_path`. Readers may see a torn file; they must treat JSON
    that does not decode as a missing file.

    Args:
        file: descriptor, open for writing.
        data: one JSON value, padded with spaces to the file's length: the file is never empty
            and never ends with a piece of the old value.
        durable: flush the file to disk.

    Raises:
        OSError: the file cannot be written.
    """
    left = memoryview(data.ljust(os.fstat(file).st_size))
    at = 0
    while left:
        written = os.pwrite(file, left, at)
        at, left = at + written, left[written:]
    if durable:
        os.fsync(file)


def sync_directory(path: Path) -> None:
    """Flush a folder, so that renames in it survive a power loss.

    Raises:
        OSError: the disk failed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_digest(path: Path) -> str:
    """As :func:`digest`; it is remembered as long as the file is not changed.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _known_digest(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=64)
def _known_digest(path: Path, *_: int) -> str:
    return digest(path)


def remove_temp_files(paths: Iterable[Path]) -> None:
    """Delete temporary files that killed processes left. No process may be writing ``paths``."""
    prefixes: dict[Path, set[str]] = {}
    for path in paths:
        prefixes.setdefault(path.parent, set()).add(_part_prefix(path))
    for folder, ours in prefixes.items():
        with suppress(OSError):
            for entry in folder.iterdir():
                if _PART in entry.name and entry.name[:_PREFIX_LENGTH] in ours:
                    entry.unlink(missing_ok=True)


def _new_part(path: Path, *, parents: bool) -> Path:
    path.parent.mkdir(parents=parents, exist_ok=True)
    part = path.parent / f"{_part_prefix(path)}{secrets.token_hex(8)}{_PART}{path.suffix}"
    # The kernel applies the umask. Asking for it from here would change it for all threads.
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
    return part


def _rename(temporary: Path, path: Path) -> None:
    tries = 0

    def rename() -> None:
        nonlocal tries
        tries += 1
        try:
            temporary.replace(path)
        except FileNotFoundError:
            # The server renamed it the first time, and its answer was lost.
            if tries == 1 or not path.exists():
                raise

    retry_transient(rename)


def _part_prefix(path: Path) -> str:
    # A digest: the name itself may have the maximum length.
    return f".ip2p-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
