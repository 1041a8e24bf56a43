"""Locks on open files that the kernel releases when their process dies.

``flock`` and not ``lockf``: a lock belongs to the open file, so that two threads exclude each
other, and closing another descriptor of the file does not release it. Linux sends it over NFS.
"""

from __future__ import annotations

import errno
import fcntl
import os
from enum import Enum
from pathlib import Path

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Lock(Enum):
    """Outcome of :func:`lock_file`."""

    OURS = "ours"
    #: Another open file holds it.
    HELD = "held"
    #: The file system has no locks, so nothing is known.
    UNSUPPORTED = "unsupported"


def lock_file(file: int, *, wait: bool = False) -> Lock:
    """Lock an open file exclusively, until it is closed or the process ends.

    Args:
        file: descriptor.
        wait: block until the lock is free; never returns ``HELD`` then.

    Raises:
        OSError: the file system failed.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return Lock.HELD
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return Lock.UNSUPPORTED
        raise
    return Lock.OURS


def probe_lock(path: Path) -> Lock:
    """State of a lock file at this moment: ``OURS`` is free, or no such file.

    Holds the lock for an instant. Those who lock a file that is probed have to wait for it.
    """
    file = -1
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            file = os.open(path, flags)
            break
        except (FileNotFoundError, NotADirectoryError):
            return Lock.OURS
        except OSError:
            continue
    if file < 0:
        return Lock.UNSUPPORTED
    try:
        return lock_file(file)
    except OSError:
        return Lock.UNSUPPORTED
    finally:
        os.close(file)
