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


class RealPaths:
    """Paths without links in their folders; the same path for a file under every such name."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        """The path; a last part that is a link is not followed, since no result follows it."""
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118 - many paths, as text

    def related(self, one: str, other: str) -> bool:
        """Whether one of two paths lies at or below the other, with or without its last link."""
        ways = [{Path(self.of(path)), Path(os.path.realpath(path))} for path in (one, other)]
        return any(a.is_relative_to(b) or b.is_relative_to(a) for a in ways[0] for b in ways[1])
