"""Locks on open files that the kernel releases when their process dies.

``flock`` and not ``lockf``: a lock belongs to the open file, so that two threads exclude each
other, and closing another descriptor of the file does not release it. Linux sends it over NFS.
"""

from __future__ import annotations

import errno
import fcntl
from enum import Enum

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
