"""Files of one folder: inside the allowed roots, complete or absent, cached while unchanged.

The meaning of each file is in :mod:`ip2p_batch.jobs.folder` and its parts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ..errors import JobError, OutsideRoots
from ..storage.atomic import read_error, retry_transient, write_atomic, write_error
from ..storage.locks import Lock, lock_file
from ..storage.roots import ANYWHERE, Roots
from .codec import decode, encode, is_json

T = TypeVar("T")

#: Job folders whose files are cached: the few that a worker may have in turn.
_CACHED_FOLDERS = 4


class StatCache:
    """Values read from files, valid while a file keeps its inode, time and size.

    A worker needs job, plan and items for every chunk, and they rarely change. Every replaced
    file is a new inode, so it is read again.

    Args:
        limit: number of files; the least recently used one is dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Path, tuple[tuple[int, ...], Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, read: Callable[[], T], stat: os.stat_result | None = None) -> T:
        """The cached value of ``path``, or the result of ``read``.

        Args:
            read: called when the file is new or was replaced.
            stat: of the file, where it is open.

        Raises:
            OSError: the file does not exist.
        """
        stat = stat or path.stat()
        stamp = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        with self._lock:
            known = self._values.get(path)
            if known is not None and known[0] == stamp:
                self._values.move_to_end(path)
                value: T = known[1]
                return value
        # The stamp is older than the value: a file replaced meanwhile is read again next time.
        value = read()
        with self._lock:
            self._values[path] = (stamp, value)
            self._values.move_to_end(path)
            while len(self._values) > self._limit:
                self._values.popitem(last=False)
        return value


class FileCaches:
    """One :class:`StatCache` for each kind of value."""

    def __init__(self) -> None:
        self._caches: defaultdict[str, StatCache] = defaultdict(lambda: StatCache(_CACHED_FOLDERS))

    def of(self, kind: str) -> StatCache:
        return self._caches[kind]


#: Shared by all objects of a process, since a worker makes a new JobFolder for every message.
PROCESS_CACHES = FileCaches()


class JobFiles:
    """Access to the files of a folder; opens no file before a method needs it.

    Args:
        path: the folder.
        roots: where reading and writing is allowed. Links inside the folder are resolved and
            checked too; every method raises OutsideRoots otherwise.
        caches: of values that were read; by default the process's own.

    Raises:
        StorageError, OutputError: in every method, when the folder cannot be read or written.
    """

    def __init__(
        self, path: Path | str, roots: Roots = ANYWHERE, caches: FileCaches = PROCESS_CACHES
    ) -> None:
        self.path = Path(path)
        self.roots = roots
        self._caches = caches

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def check_writable(self) -> None:
        """Write and remove a trial file.

        Raises:
            OutputError: the folder cannot be written; says why.
        """
        try:
            with tempfile.TemporaryFile(dir=self.at(""), buffering=0) as trial:
                trial.write(b"x" * 4096)  # a block: empty files fit on a full disk
        except OSError as error:
            raise write_error(self.path, error) from error

    @contextmanager
    def locked(self, name: str = "lock", *, wait: bool = False) -> Iterator[bool]:
        """Yield True to one process at a time and False to the others.

        The lock ends with its process.

        Args:
            name: of the lock file; the default one is for assembly.
            wait: block until the lock is free, then yield True.
        """
        with self._open_lock(name) as file:
            try:
                # A share without locks: two may do the same; the last file to appear is complete.
                ours = lock_file(file.fileno(), wait=wait) is not Lock.HELD
            except OSError as error:
                if wait:
                    raise write_error(Path(file.name), error) from error
                ours = False
            yield ours

    def lock_state(self, name: str) -> Lock:
        """State of a lock file at this moment: ``OURS`` is free, ``UNSUPPORTED`` is unknown."""
        with self._open_lock(name) as file:
            try:
                return lock_file(file.fileno())
            except OSError as error:
                raise write_error(Path(file.name), error) from error

    def _open_lock(self, name: str) -> BinaryIO:
        path = self.at(name)
        try:
            return retry_transient(lambda: path.open("ab"))
        except OSError as error:
            raise write_error(path, error) from error

    # -- markers: empty files whose existence is the fact ---------------------------------

    def mark_once(self, name: str) -> bool:
        """Create marker ``name``; True only for the caller that created it."""
        path = self.at(name)

        def make() -> bool:
            if path.parent != self.path:
                path.parent.mkdir(exist_ok=True)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except FileExistsError:
                return False
            return True

        try:
            return retry_transient(make)
        except OSError as error:
            raise write_error(path, error) from error

    def unmark(self, name: str) -> None:
        """Remove marker ``name``, if it exists."""
        self.delete(name)

    def marked(self, name: str) -> bool:
        """Whether file or marker ``name`` exists."""
        path = self.at(name)
        try:
            return retry_transient(path.exists)
        except OSError as error:
            raise read_error(path, error) from error

    # -- files ------------------------------------------------------------------------

    def at(self, name: str) -> Path:
        """Path of a file of this folder, for use right now.

        Raises:
            OutsideRoots: it, or what it links to, is not allowed.
        """
        return self.roots.allow(self.path / name)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists. Of a link, the link is deleted and not its target."""
        path = self.path / name
        with suppress(OSError, OutsideRoots):
            (self.roots.allow(path.parent) / path.name).unlink()

    def delete_tree(self, name: str) -> None:
        """Delete a subfolder, if it exists."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def write(self, name: str, value: object, *, durable: bool = True) -> None:
        """Write a record atomically.

        Args:
            durable: flush it to disk before it appears under its name.
        """
        # No parent folders are made: where the share is not mounted, nothing may replace it.
        write_atomic(self.at(name), encode(value), durable=durable, parents=False)

    def write_first(self, name: str, value: object) -> None:
        """Write a record atomically, unless a file of that name exists."""
        path = self.at(name)
        ours = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
        write_atomic(ours, encode(value))
        try:
            os.link(ours, path)  # fails where it exists, on network shares too
        except FileExistsError:
            pass
        except OSError:  # no hard links here: of two simultaneous writers the last one wins
            if not path.exists():
                ours.replace(path)
        finally:
            ours.unlink(missing_ok=True)

    def cached(self, kind: str, path: Path, read: Callable[[Path], T], *, file: Any = None) -> T:
        """A value derived from a file, read again only after the file was replaced.

        Args:
            kind: names the value: one file may have several.
            file: the open file, if it is open.
        """
        stat = None if file is None else os.fstat(file.fileno())
        return self._caches.of(kind).get(path, lambda: read(path), stat)

    def read_cached(self, name: str, type_: type[T]) -> T | None:
        """A record that rarely changes; None where the file does not exist."""
        path = self.at(name)
        try:
            # By the asked name: the file may be a link to one of another name.
            return retry_transient(
                lambda: self.cached(name, path, lambda _: self.read(name, type_))
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(path, error) from error

    def read_required(self, name: str, type_: type[T]) -> T:
        """As :meth:`read_cached`, of a file that every job folder has.

        Raises:
            JobError: it does not exist.
        """
        value = self.read_cached(name, type_)
        if value is None:
            raise JobError(
                f"{self.path} is not a job folder: {name} is missing.",
                hint="List your jobs with `ip2p-batch jobs`.",
            )
        return value

    def read(self, name: str, type_: type[T]) -> T | None:
        """A record; None where the file does not exist.

        Raises:
            JobError: the file is damaged.
        """
        path = self.at(name)
        try:
            data = retry_transient(path.read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(path, error) from error
        return decode(data, type_, what=str(path))

    def read_if_complete(self, name: str, type_: type[T]) -> T | None:
        """As :meth:`read`, but None also for a file that a failing disk cut short."""
        path = self.at(name)
        try:
            return self.read(name, type_)
        except JobError:
            with suppress(OSError):
                if not is_json(path.read_bytes()):
                    return None
            raise

    def names(self, folder: str) -> set[str]:
        """Names of the JSON files in a subfolder, without their suffix."""
        names = self.list(folder)
        return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}

    def list(self, folder: str) -> list[str]:
        """Names of all files in a subfolder; empty where it does not exist."""
        path = self.at(folder)
        try:
            # os.listdir: faster than iterdir for thousands of files, several times a second.
            return retry_transient(lambda: os.listdir(path))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise read_error(path, error) from error
