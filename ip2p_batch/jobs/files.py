"""Files of one folder: found within the allowed roots, whole or not there, read once.

What the files mean is :mod:`ip2p_batch.jobs.folder`'s to say.
"""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from ..errors import JobError, OutsideRoots
from ..storage.atomic import read_error, retry_transient, write_atomic, write_error
from ..storage.locks import Lock, lock_file
from ..storage.roots import ANYWHERE, Roots
from .codec import decode, encode, is_json

T = TypeVar("T")


class Kept:
    """What was last read of a few files, by their names, for as long as they stay the same files.

    A worker reads job, plan and items for every chunk, and they do not change. A file that is
    replaced, as all are here, is another file, so it is read anew.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Path, tuple[tuple[int, ...], Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, read: Callable[[], T], stat: os.stat_result | None = None) -> T:
        """What ``read`` gives of ``path``; it is called where the file is new.

        Args:
            stat: of the file, where it is open.

        Raises:
            OSError: there is no such file.
        """
        stat = stat or path.stat()
        stamp = (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        with self._lock:
            known = self._values.get(path)
            if known is not None and known[0] == stamp:
                self._values.move_to_end(path)
                value: T = known[1]
                return value
        # The stamp was taken before: a file replaced meanwhile is read once more next time.
        value = read()
        with self._lock:
            self._values[path] = (stamp, value)
            self._values.move_to_end(path)
            while len(self._values) > self._limit:
                self._values.popitem(last=False)
        return value


#: Job, plan, index of chunks and index of items, of the few jobs that a worker may have in turn.
kept = {name: Kept(4) for name in ("job", "plan", "chunks", "items", "inference-config")}


class JobFiles:
    """A folder by its path; opens nothing until asked.

    Args:
        roots: where reading and writing is allowed. Whatever the folder's own links lead to is
            held against them, too; every method raises OutsideRoots then.
    """

    def __init__(self, path: Path | str, roots: Roots = ANYWHERE) -> None:
        self.path = Path(path)
        self.roots = roots

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def check_writable(self) -> None:
        """See that files can be written here.

        Raises:
            OutputError: they cannot; says why.
        """
        try:
            with tempfile.TemporaryFile(dir=self._at(""), buffering=0) as trial:
                trial.write(b"x" * 4096)  # a block: empty files fit on a full disk
        except OSError as error:
            raise write_error(self.path, error) from error

    @contextmanager
    def locked(self, name: str = "lock", *, wait: bool = False) -> Iterator[bool]:
        """Yields True to one process at a time, False to the others; let go when it dies.

        Args:
            name: of the lock's file; the default is held by whoever assembles.
            wait: stand in line for it, however long that takes, and then yield True.
        """
        path = self._at(name)
        try:
            file = retry_transient(lambda: path.open("ab"))
        except OSError as error:
            raise write_error(path, error) from error
        with file:
            try:
                # A share without locks: two may do the same, and the last one's file stands whole.
                ours = lock_file(file.fileno(), wait=wait) is not Lock.HELD
            except OSError as error:
                if wait:
                    raise write_error(path, error) from error
                ours = False
            yield ours

    # -- markers ----------------------------------------------------------------------

    def mark_once(self, name: str) -> bool:
        """Create marker ``name``; True for the one caller who was first."""
        path = self._at(name)

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
        self._delete(name)

    def marked(self, name: str) -> bool:
        path = self._at(name)
        try:
            return retry_transient(path.exists)
        except OSError as error:
            raise read_error(path, error) from error

    # -- files ------------------------------------------------------------------------

    def _at(self, name: str) -> Path:
        """Where to find a file of this folder, for use right now."""
        return self.roots.allow(self.path / name)

    def _delete(self, name: str) -> None:
        path = self.path / name
        with suppress(OSError, OutsideRoots):
            # Of a link, the link goes and not what it leads to.
            (self.roots.allow(path.parent) / path.name).unlink()

    def _write(self, name: str, value: object, *, durable: bool = True) -> None:
        # Of the folders above, none is made: where the share is gone, nothing may take its place.
        write_atomic(self._at(name), encode(value), durable=durable, parents=False)

    def _write_once(self, name: str, value: object) -> None:
        """Write a file, whole, unless there is one of that name."""
        path = self._at(name)
        mine = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
        write_atomic(mine, encode(value))
        try:
            os.link(mine, path)  # fails where it exists, on network shares, too
        except FileExistsError:
            pass
        except OSError:  # no links here: of two that come in the same moment the last one counts
            if not path.exists():
                mine.replace(path)
        finally:
            mine.unlink(missing_ok=True)

    def _once(self, name: str, type_: type[T]) -> T | None:
        """A file that does not change while a job lives: read again only if it is another one."""
        path = self._at(name)
        try:
            # By the name that was asked for: the file may be a link to one of another name.
            known = kept[Path(name).stem]
            return retry_transient(lambda: known.get(path, lambda: self._maybe(name, type_)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(path, error) from error

    def _read_once(self, name: str, type_: type[T]) -> T:
        """As :meth:`_once`, of a file without which this is no job folder."""
        value = self._once(name, type_)
        if value is None:
            raise JobError(
                f"{self.path} is not a job folder: {name} is missing.",
                hint="`ip2p-batch jobs` lists those there are.",
            )
        return value

    def _maybe(self, name: str, type_: type[T]) -> T | None:
        path = self._at(name)
        try:
            data = retry_transient(path.read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise read_error(path, error) from error
        return decode(data, type_, what=str(path))

    def _record(self, name: str, type_: type[T]) -> T | None:
        """A file that says what was done; one that a failing disk cut short says nothing."""
        path = self._at(name)
        try:
            return self._maybe(name, type_)
        except JobError:
            with suppress(OSError):
                if not is_json(path.read_bytes()):
                    return None
            raise

    def _names(self, folder: str) -> set[str]:
        """Names of a folder's JSON files, without their ending."""
        names = self._listed(folder)
        return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}

    def _listed(self, folder: str) -> list[str]:
        path = self._at(folder)
        try:
            # Not iterdir: thousands, several times a second.
            return retry_transient(lambda: os.listdir(path))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise read_error(path, error) from error
