"""What earlier jobs have published, as far as their folders are still there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import Ip2pError
from ..settings import Settings
from ..storage.atomic import digest
from ..storage.identity import RealPaths
from ..storage.publish import content_stamp, file_stamp
from ..storage.sequence import is_sequence, sequence_digest, sequence_stamp
from .folder import JobFolder
from .publications import Publication
from .registry import known_jobs


class History:
    """The records of results by their paths.

    Args:
        publications: the newest one of a result last.
    """

    def __init__(self, publications: Iterable[Publication] = ()) -> None:
        self._real = RealPaths()
        self._records: dict[str, list[Publication]] = {}
        for publication in publications:
            self._records.setdefault(self._real.of(publication.output), []).append(publication)

    def __bool__(self) -> bool:
        return bool(self._records)

    def knows(self, output: str) -> bool:
        """Whether a job has written a file of this name."""
        return self._real.of(output) in self._records

    def record_of(self, output: str) -> Publication | None:
        """The record of the file that has this name now; None if it is not as any job wrote it."""
        records = self._records.get(self._real.of(output), [])
        try:
            stamp = content_stamp(os.lstat(output))
            for record in reversed(records):
                if record.stamp == stamp:
                    return record
            # As written, but copied back from a backup, say: its time changed, its bytes did not.
            if any(record.digest for record in records):
                current = digest(Path(output))
                return next((r for r in reversed(records) if r.digest == current), None)
        except OSError:
            pass
        return None


#: Returns the history of the files at or below an output.
FindHistory = Callable[[Path], History]


def read_history(settings: Settings, output: Path) -> History:
    """The records of all known jobs that wrote to this output, above it or below it."""
    real = RealPaths()
    related = []
    for folder in known_jobs(settings, output):
        with suppress(Ip2pError, OSError):  # a damaged folder has no records
            if real.related(folder.job().output, str(output)):
                related.append(folder)
    related.sort(key=lambda folder: folder.created)
    return History(record for folder in related for record in _records(folder))


def is_same_source(record: Publication, source: Path | str) -> bool:
    """Whether a source is still the file that a result was made from.

    Its bytes are only read where size, times or inode differ and they may still be the same.
    """
    path = Path(source)
    try:
        if is_sequence(path):
            same_stamp = record.source == sequence_stamp(path)
            return same_stamp or record.source_digest == sequence_digest(path)
        status = path.stat()
        if record.source == file_stamp(status):
            return True
        same_size = record.source.partition(":")[0] == str(status.st_size)
        return same_size and bool(record.source_digest) and digest(path) == record.source_digest
    except (OSError, ValueError):
        return False


def _records(folder: JobFolder) -> list[Publication]:
    with suppress(Ip2pError, OSError):
        return list(folder.published.all())
    return []
