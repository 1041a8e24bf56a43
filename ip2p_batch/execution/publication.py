"""Give results their final names, and leave every file alone that is not the job's to replace."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..errors import OutputTaken
from ..jobs.folder import JobFolder
from ..jobs.publications import Publication
from ..planning.guard import SourceGuard
from ..storage.atomic import digest
from ..storage.publish import NameTakenError, content_stamp, file_stamp, publish
from ..storage.sequence import is_sequence, sequence_digest, sequence_stamp

_KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes one result.

    A result replaces the file that planning found under its name, while that file is unchanged, and
    what this job itself has written there. Everything else that has the name appeared later.

    Attributes:
        chunk_id: of the chunk that the result belongs to.
        replaces: stamp of the file that planning found; empty where it found none.
        reads: paths of the files that the result is made from.
        guard: of the files that the job reads, for a job with many results; None makes one.
    """

    folder: JobFolder
    chunk_id: str
    output: str
    replaces: str
    reads: tuple[str, ...] = ()
    guard: SourceGuard | None = None

    def place(self) -> Path:
        """The path to write, for use right now; a link of that name is not followed.

        Raises:
            OutsideRoots: this worker may not write there.
        """
        roots = self.folder.roots
        if roots:
            roots.allow(self.output)
        path = Path(self.output)
        return roots.allow(path.parent) / path.name

    def publish(self, temporary: Path, path: Path, made: Publication) -> None:
        """Give ``temporary`` the name ``path``, and record it as ``made``.

        Raises:
            OutputTaken: another file has the name, or the job reads it; ``temporary`` is there.
            OutputError: the job folder cannot be written.
            OSError: the disk failed.
        """
        guard = self.guard
        if guard is None:
            job = self.folder.job()
            guard = SourceGuard(Path(job.source.path), Path(job.output), self.reads)
        if (reason := guard.reason(path)) is not None:
            raise OutputTaken(f"{self.output} is left alone: {reason}.", path=self.output)
        stamp = content_stamp(temporary.stat())
        made = msgspec.structs.replace(made, output=self.output, stamp=stamp)
        self.folder.published.add(self.chunk_id, made)

        def may_replace(status: os.stat_result) -> bool:
            return (
                file_stamp(status) == self.replaces
                or self.folder.published.wrote(self.output, content_stamp(status))
                or _have_equal_content(temporary, path)
            )

        try:
            publish(temporary, path, may_replace)
        except NameTakenError:
            raise OutputTaken(
                f"{self.output} appeared or was changed after the job was planned, and is left"
                " alone.",
                path=self.output,
            ) from None

    def keep(self, temporary: Path, name: str) -> Path:
        """Keep a finished file in the job folder; returns its path there."""
        kept = self.folder.at(f"{_KEPT}/{name}")
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(temporary, kept)
        return kept

    def drop_kept(self, name: str) -> None:
        """Delete what :meth:`keep` kept, if anything."""
        self.folder.delete(f"{_KEPT}/{name}")


def source_identity(path: Path) -> tuple[str, str]:
    """Stamp and SHA-256 of a source; empty for one that is no file or cannot be read.

    Reading its frames or pixels reports the latter.
    """
    with suppress(OSError, ValueError):
        if is_sequence(path):
            return sequence_stamp(path), sequence_digest(path)
        return file_stamp(path.stat()), digest(path)
    return "", ""


def _have_equal_content(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes: then a power loss took the record of the second."""
    with suppress(OSError):
        if one.stat().st_size == other.stat().st_size:
            return digest(one) == digest(other)
    return False
