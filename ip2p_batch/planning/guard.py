"""Refuse outputs that are files which the job reads, under any name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from ..errors import OutputError
from ..jobs.spec import Item
from ..media.images.naming import printable
from ..storage.identity import FileId, file_id, is_inside
from ..storage.sequence import sequence_files


class SourceGuard:
    """The files that a job reads, by device and inode.

    Args:
        source: the video, image, folder or list of the job; of a sequence, all its files are read.
        output: its file or folder of results.
        files: what else it reads: every image, the reference image, the recipe file.
    """

    def __init__(self, source: Path, output: Path, files: Iterable[Path | str]) -> None:
        files = tuple(files)
        self._files: dict[FileId, str] = {}
        for path in chain((source, *files), *map(sequence_files, (source, *files))):
            if (identity := file_id(path)) is not None:
                self._files.setdefault(identity, str(path))
        self._source = source
        self._folder = file_id(source) if source.is_dir() else None
        # A folder of results inside the source is left out when the source is listed.
        # By its real path: it need not exist yet.
        inside = self._folder is not None and is_inside(output, self._folder)
        self._own = Path(os.path.realpath(output)) if inside else None
        self._leads_back: dict[str, bool] = {}

    def reason(self, output: Path | str) -> str | None:
        """Why nothing may be written under this name; None where it may."""
        identity = file_id(output)
        if identity is not None and (owner := self._files.get(identity)) is not None:
            return f"its result would replace {owner}, which this job reads"
        parent = os.path.dirname(output)  # noqa: PTH120 - many paths, as text
        if parent not in self._leads_back:
            self._leads_back[parent] = self._is_in_source(parent)
        if self._leads_back[parent]:
            return f"{parent} leads back into the source {self._source}"
        return None

    def check_item(self, item: Item) -> Item:
        """The item, with the reason as its error where its output may not be written."""
        reason = self.reason(item.output) if item.error is None else None
        return item if reason is None else msgspec.structs.replace(item, error=reason)

    def _is_in_source(self, folder: str) -> bool:
        if self._folder is None or not is_inside(folder, self._folder):
            return False
        return self._own is None or not _is_below(folder, self._own)


def _is_below(folder: str, own: Path) -> bool:
    """Whether ``folder`` is ``own`` or lies in it."""
    if Path(os.path.realpath(folder)).is_relative_to(own):
        return True
    identity = file_id(own)
    return identity is not None and is_inside(folder, identity)


def check_output(source: Path, output: Path) -> None:
    """Refuse an output that is the source itself, or whose name cannot be used.

    Raises:
        OutputError: it is, under this or another name; the name is too long; one of its folders
            may not be searched.
    """
    try:
        os.lstat(output)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise OutputError(
            f"{printable(output)} cannot be written: {error.strerror}.",
            path=output,
            hint="Choose another name with -o.",
        ) from None
    same = output == source or (file_id(output) is not None and file_id(output) == file_id(source))
    if same:
        by_name = "" if output == source else f", {source}"
        raise OutputError(
            f"{printable(output)} is the source itself{by_name}.",
            path=output,
            hint="Choose another name with -o.",
        )


def check_file(guard: SourceGuard, output: Path) -> None:
    """Refuse the output of a single file that the job reads.

    Raises:
        OutputError: says why.
    """
    if (reason := guard.reason(output)) is not None:
        raise OutputError(
            f"{output} cannot be the output: {reason}.",
            path=output,
            hint="Choose another name with -o.",
        )


def guard_items(guard: SourceGuard, items: Sequence[Item]) -> list[Item]:
    """Add an error to each item whose output is a file that the job reads.

    Raises:
        OutputError: nothing else is left to edit.
    """
    guarded = [guard.check_item(item) for item in items]
    refused = [new for old, new in zip(items, guarded, strict=True) if new is not old]
    if refused and all(item.error is not None for item in guarded):
        first = refused[0]
        raise OutputError(
            f"{first.source}: {first.error}.",
            path=first.output,
            hint="Choose another place with -o.",
        )
    return guarded
