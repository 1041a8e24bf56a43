"""Walk a folder: which files are images or videos, which links are followed, what is left out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from ...errors import SourceError
from ..left_out import LeftOut
from .naming import printable

#: Parts of a path below the folder, as bytes, which sort the same on every machine.
Parts = tuple[bytes, ...]
#: A file or folder by device and inode, under whichever name.
Identity = tuple[int, int]

#: Folders that file servers, systems and programs fill with thumbnails and deleted files,
#: in lower case: Synology, QNAP, Windows, macOS, Picasa, GNOME.
SYSTEM_FOLDERS = frozenset({
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb", "@tmp",
    "$recycle.bin", "system volume information", "recycler", "__macosx", "lost+found",
    "thumbs.db", "picasaoriginals", ".thumbnails", ".picasaoriginals",
})  # fmt: skip

_LINK_TO_FOLDER = "a link to a folder outside; --follow-links follows such links"
_LINK_TO_FILE = "a link to a file outside; --follow-links follows such links"


class Found(msgspec.Struct, frozen=True):
    """An image or video of a folder.

    Attributes:
        parts: of its path below the folder.
        error: why it cannot be edited, if that is known.
    """

    parts: Parts
    error: str | None = None


class FolderWalk:
    """Iterates over the files below a folder, in any order, by the suffixes of their names.

    Attributes:
        left_out: after the walk, all other files, and the folders that were not read.
    """

    def __init__(
        self, folder: Path, output: Path, *, suffixes: Collection[str], follow_links: bool
    ) -> None:
        """Prepare a walk.

        Args:
            output: folder of the results, which is left out; it need not exist.
            suffixes: of the files to find, in lower case with the dot.
            follow_links: follow links to files and folders outside, too. A folder is read once,
                however many links lead to it.
        """
        self.left_out = LeftOut()
        self._folder, self._root = folder, folder.resolve()
        self._suffixes, self._follows = suffixes, follow_links
        self._output = _identity(output)
        self._seen: set[Identity] = set()
        self._folders: list[Parts] = []
        self._links: list[Parts] = []

    def __iter__(self) -> Iterator[Found]:
        """Yield each file.

        Raises:
            SourceError: the folder itself cannot be listed.
        """
        self._folders = [()]
        while self._folders or self._links:
            if not self._folders:
                # Links last and in order: a folder that is inside, too, keeps its own path.
                self._links.sort(reverse=True)
                parts = self._links.pop()
                if _identity(self._path(parts)) not in self._seen:
                    self._folders.append(parts)
                continue
            yield from self._list(self._folders.pop())

    def _path(self, parts: Parts) -> Path:
        return Path(self._folder, *(os.fsdecode(part) for part in parts))

    def _list(self, parts: Parts) -> Iterator[Found]:
        here = self._path(parts)
        try:
            identity = _identity(here)
            if identity in self._seen or (parts and identity == self._output):
                return
            if identity is not None:
                self._seen.add(identity)
            with os.scandir(here) as entries:
                listed = list(entries)
        except OSError as error:
            if not parts:
                raise SourceError(
                    f"{self._folder}: cannot be listed: {error.strerror}",
                    path=self._folder,
                    hint="Check that the folder is there and readable.",
                ) from None
            yield Found(parts, f"the folder cannot be listed: {error.strerror}")
            return
        for entry in listed:
            yield from self._entry(entry, parts)

    def _entry(self, entry: os.DirEntry[str], parts: Parts) -> Iterator[Found]:
        if entry.name.lower() in SYSTEM_FOLDERS and entry.is_dir():
            kind = "folder of thumbnails or deleted files"
            self.left_out.add(printable(entry.name), kind, kind.replace("folder", "folders"))
            return
        if entry.name.startswith("."):
            kind = "hidden folder" if entry.is_dir(follow_symlinks=False) else "hidden file"
            self.left_out.add(printable(entry.name), kind, f"{kind}s")
            return
        below = (*parts, os.fsencode(entry.name))
        known = os.path.splitext(entry.name)[1].lower() in self._suffixes  # noqa: PTH122 - in a hot loop
        if entry.is_symlink():
            yield from self._link(entry, below, known=known)
        elif entry.is_dir(follow_symlinks=False):
            self._folders.append(below)
        elif known:
            regular = entry.is_file(follow_symlinks=False)
            yield Found(below, None if regular else "not a regular file")
        else:
            self.left_out.add_file(printable(entry.name))

    def _link(self, entry: os.DirEntry[str], below: Parts, *, known: bool) -> Iterator[Found]:
        try:
            target = self._path(below).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
            if known:
                yield Found(below, "a broken link")
            else:
                self.left_out.add_file(printable(entry.name))
            return
        inside = target.is_relative_to(self._root)
        if target.is_dir():
            # Images of a folder inside are found by their own path.
            if inside:
                return
            if self._follows:
                self._links.append(below)
            else:
                yield Found(below, _LINK_TO_FOLDER)
        elif known and not target.is_file():
            yield Found(below, "not a regular file")
        elif known:
            yield Found(below, None if inside or self._follows else _LINK_TO_FILE)
        else:
            self.left_out.add_file(printable(entry.name))


def _identity(path: Path) -> Identity | None:
    """Device and inode of what a path leads to; None if it does not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
