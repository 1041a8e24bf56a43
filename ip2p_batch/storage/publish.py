"""Give a finished file its final name without replacing another file.

``rename(2)`` replaces whatever has the name. So a new file gets its name by ``renameat2`` with
``RENAME_NOREPLACE`` (Linux), or by a hard link, which fails as well where the name exists. Disks
with neither (FAT, some network shares) get an empty file first, created exclusively, which the
rename then replaces: for that moment an empty file has the final name.

A file that may be replaced is exchanged with the new one (``RENAME_EXCHANGE``) and compared
afterwards, so that a change in the last instant is noticed and undone. Where that is not possible,
it is compared right before the rename.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import OutputError
from .atomic import retry_transient

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2  # linux/fs.h
#: Errors that mean that a system or a disk does not know an operation.
_UNKNOWN = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EPERM", "EACCES", "EMLINK", "EXDEV")
)
_TRIES = 5
#: In the metadata of sheets and plots.
REPORT_MARK = b"ip2p-batch"

#: Whether the file of this status, which has the final name now, may be replaced.
MayReplace = Callable[[os.stat_result], bool]


class NameTakenError(Exception):
    """Another file has the name, and may not be replaced."""


def file_stamp(status: os.stat_result) -> str:
    """``SIZE:MTIME:CTIME:INODE`` of a file: any change of it changes one of them."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def content_stamp(status: os.stat_result) -> str:
    """``SIZE:MTIME`` of a file, which it keeps when it is renamed or gets another link."""
    return f"{status.st_size}:{status.st_mtime_ns}"


def path_stamp(path: Path | str) -> str:
    """The stamp of a file, or of a link itself; empty where there is nothing."""
    try:
        return file_stamp(os.lstat(path))
    except (OSError, ValueError):
        return ""


def publish(temporary: Path, path: Path, may_replace: MayReplace) -> None:
    """Give ``temporary`` the name ``path``; a link of that name is not followed.

    Args:
        temporary: in the same folder; gone afterwards.
        may_replace: called where ``path`` exists.

    Raises:
        NameTakenError: it exists and may not be replaced; ``temporary`` is still there.
        OSError: the disk failed.
    """
    ours = os.lstat(temporary).st_ino
    for _ in range(_TRIES):  # someone may create and delete files of that name all the time
        try:
            status = retry_transient(lambda: os.lstat(path))
        except FileNotFoundError:
            if _create(temporary, path, ours):
                return
            continue
        if stat.S_ISDIR(status.st_mode) or not may_replace(status):
            break
        if _replace(temporary, path, status, ours):
            return
    raise NameTakenError(str(path))


def publish_report(temporary: Path, path: Path) -> None:
    """As :func:`publish`, of a report that replaces only reports.

    A report has :data:`REPORT_MARK` in its first 4096 bytes.

    Raises:
        OutputError: another file has the name.
    """

    def is_report(_status: os.stat_result) -> bool:
        with suppress(OSError), path.open("rb") as file:
            return REPORT_MARK in file.read(4096)
        return False

    try:
        publish(temporary, path, is_report)
    except NameTakenError:
        raise OutputError(
            f"{path} exists already, and is not a report of ip2p-batch.",
            path=path,
            hint="Choose another name, or delete the file.",
        ) from None


def _create(temporary: Path, path: Path, ours: int) -> bool:
    """Rename, unless ``path`` exists; False where it does."""
    for create in (_rename_exclusively, _link, _reserve):
        try:
            retry_transient(lambda create=create: create(temporary, path))  # type: ignore[misc]
            return True
        except FileExistsError:
            # A server's answer may be lost: then the first try has linked it already.
            return _is_done(temporary, path, ours)
        except FileNotFoundError:
            if _is_done(temporary, path, ours):
                return True
            raise
        except OSError as error:
            if error.errno not in _UNKNOWN or create is _reserve:
                raise
    raise AssertionError("the last way returns or raises")


def _is_done(temporary: Path, path: Path, ours: int) -> bool:
    with suppress(OSError):
        if os.lstat(path).st_ino == ours:
            temporary.unlink(missing_ok=True)
            return True
    return False


def _rename_exclusively(temporary: Path, path: Path) -> None:
    _renameat2(temporary, path, _NOREPLACE)


def _link(temporary: Path, path: Path) -> None:
    os.link(temporary, path, follow_symlinks=False)
    temporary.unlink()


def _reserve(temporary: Path, path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    temporary.replace(path)


def _replace(temporary: Path, path: Path, expected: os.stat_result, ours: int) -> bool:
    """Replace the file of status ``expected``; False if another one has its name by now."""
    try:
        _renameat2(temporary, path, _EXCHANGE)
    except FileNotFoundError:
        return _is_done(temporary, path, ours)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        if not _is_same(path, expected):
            return False
        retry_transient(lambda: _rename(temporary, path, ours))
        return True
    if _is_same(temporary, expected):
        temporary.unlink()
        return True
    _renameat2(temporary, path, _EXCHANGE)  # what appeared in the last instant gets its name back
    return False


def _rename(temporary: Path, path: Path, ours: int) -> None:
    try:
        temporary.replace(path)
    except FileNotFoundError:  # the server renamed it the first time, and its answer was lost
        if not _is_done(temporary, path, ours):
            raise


def _is_same(path: Path, expected: os.stat_result) -> bool:
    """Whether it is that very file; renames change only the time of its inode's last change."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    same_file = (status.st_dev, status.st_ino) == (expected.st_dev, expected.st_ino)
    return same_file and content_stamp(status) == content_stamp(expected)


def _renameat2(source: Path, target: Path, flags: int) -> None:
    """``renameat2(2)``.

    Raises:
        OSError: it failed; ENOSYS where the system's library does not have it.
    """
    function = getattr(_libc(), "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source), os.fsencode(target)
    if function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):
        return None
