"""``published/``: the results that a job has written under their final names.

A line is written before its file gets its name, so every file of the job that has one is recorded,
even if the worker dies in between. A record vouches for a file as long as the file has its stamp or
its digest; a file that was edited since has neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import msgspec

from ..storage.atomic import retry_transient, write_atomic, write_error
from .codec import FrozenStruct
from .files import JobFiles

_FOLDER = "published"
#: Records that an earlier job on the same output has left.
_INHERITED = "inherited"


class Publication(FrozenStruct, frozen=True, kw_only=True):
    """A result with its final name, and what it was made from.

    Attributes:
        output: absolute path.
        stamp: ``SIZE:MTIME`` as written; see :func:`ip2p_batch.storage.publish.content_stamp`.
        digest: SHA-256 of the file.
        recipe: fingerprint of all options that determine it; see
            :meth:`ip2p_batch.jobs.spec.Job.item_fingerprint` and, for a video, ``Job.options``.
        source: stamp of the source; see :func:`ip2p_batch.storage.publish.file_stamp`.
        source_digest: SHA-256 of the source.
    """

    output: str
    stamp: str
    digest: str = ""
    recipe: str = ""
    source: str = ""
    source_digest: str = ""


class Publications:
    """The records of a job, in one file for each chunk."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files

    def add(self, chunk_id: str, publication: Publication) -> None:
        """Record a result that is about to get its name.

        Raises:
            OutputError: the job folder cannot be written.
        """
        path = self._files.at(f"{_FOLDER}/{chunk_id}.jsonl")
        # A line that a full disk cut short must not spoil the next one.
        line = b"\n" + msgspec.json.encode(publication) + b"\n"

        def append() -> None:
            path.parent.mkdir(exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(file, line)
            finally:
                os.close(file)

        try:
            retry_transient(append)
        except OSError as error:
            raise write_error(path, error) from error

    def inherit(self, publications: Iterable[Publication]) -> None:
        """Keep the records of an earlier job, whose folder may be deleted."""
        lines = [msgspec.json.encode(publication) + b"\n" for publication in publications]
        if lines:
            write_atomic(self._files.at(f"{_FOLDER}/{_INHERITED}.jsonl"), b"".join(lines))

    def all(self) -> Iterator[Publication]:
        """All records, the earliest of each chunk first; lines cut short are left out."""
        # What the job made itself comes last, since it is newer.
        yield from self._read(f"{_INHERITED}.jsonl")
        yield from self._own()

    def wrote(self, output: str, stamp: str) -> bool:
        """Whether this job wrote the file that has the name ``output`` and this stamp.

        Args:
            stamp: ``SIZE:MTIME``.
        """
        return any(p.output == output and p.stamp == stamp for p in self._own())

    def stamps(self) -> frozenset[tuple[str, str]]:
        """Output and stamp of every file that this job wrote; see :meth:`wrote`."""
        return frozenset((p.output, p.stamp) for p in self._own())

    def _own(self) -> Iterator[Publication]:
        for name in sorted(self._files.list(_FOLDER)):
            if name.endswith(".jsonl") and name[0] != "." and name != f"{_INHERITED}.jsonl":
                yield from self._read(name)

    def _read(self, name: str) -> Iterator[Publication]:
        try:
            data = self._files.at(f"{_FOLDER}/{name}").read_bytes()
        except OSError:
            return
        for line in data.splitlines():
            if line:
                try:
                    yield msgspec.json.decode(line, type=Publication)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
