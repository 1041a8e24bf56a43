"""Files and folders by device and inode: the same thing under every name that leads to it.

Paths name one file in many ways: through ``..``, links, hard links, bind mounts, and in other
letters on a disk that ignores case. Device and inode (POSIX, ``stat``) are the same for all.
"""

from __future__ import annotations

import os
from pathlib import Path

FileId = tuple[int, int]


def file_id(path: Path | str) -> FileId | None:
    """Device and inode of what ``path`` leads to; None if that does not exist."""
    try:
        status = os.stat(path)  # noqa: PTH116 - `path` may be text
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_inside(path: Path | str, folder: FileId) -> bool:
    """Whether ``path`` is that folder or lies below it, through whatever links.

    Args:
        path: need not exist.
    """
    real = Path(os.path.realpath(path))
    return any(file_id(place) == folder for place in (real, *real.parents))
