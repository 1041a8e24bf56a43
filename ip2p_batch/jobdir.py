"""The job folder: what is on disk, by what name, and how it gets there whole.

::

    JOB/job.json           Job           JOB/segments/ID.mp4        a chunk's encoded frames
    JOB/recipe.toml        for --recipe  JOB/borders/N.safetensors  a border frame's latents
    JOB/plan.json          Plan          JOB/receipts/ID.json       Receipt
    JOB/frames.npy         frame table   JOB/claims/ID.json         Claim, while in work
    JOB/items.jsonl        Item a line   JOB/failures/ID.json       Failure, after last attempt
    JOB/submitted/W        wave W sent   JOB/result.json            the final summary
    JOB/look.png           --look-anchor JOB/cancel                 stop, please
                                         JOB/reopened/N             segments were gone N times

Disk is the truth and Redis is transport: a chunk is finished when its receipt is here, and a
receipt is written after what it vouches for. Every file appears under its name only when whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import JobError, OutsideRoots
from .job import Chunk, Claim, Failure, Item, Job, Plan, Receipt, Result, decode, encode, is_json
from .roots import ANYWHERE, Roots
from .storage import atomic_path as atomic_path
from .storage import patiently, refused, unreadable
from .storage import sweep as sweep
from .storage import write_atomic as write_atomic

if TYPE_CHECKING:  # numpy takes a tenth of a second, which `status` need not wait for
    from .frame import FrameTable

T = TypeVar("T")

_MOST_REOPENED = 3
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class _Kept:
    """What was last read of a few files, by their names, for as long as they stay the same files.

    A worker reads job, plan and items for every chunk, and they do not change. A file that is
    replaced, as all are here, is another file, so it is read anew.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Path, tuple[tuple[int, ...], Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, read: Callable[[], T]) -> T:
        """What ``read`` gives of ``path``; it is called where the file is new.

        Raises:
            OSError: there is no such file.
        """
        stat = path.stat()
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
_kept = {name: _Kept(4) for name in ("job", "plan", "chunks", "items")}


class JobDir:
    """A job folder by its path; opens nothing until asked.

    Args:
        roots: where reading and writing is allowed. Whatever the folder's own links lead to is
            held against them, too; every method raises OutsideRoots then.
    """

    def __init__(self, path: Path | str, roots: Roots = ANYWHERE) -> None:
        self.path = Path(path)
        self.roots = roots

    def __repr__(self) -> str:
        return f"JobDir({str(self.path)!r})"

    # -- what was asked ---------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        job: Job,
        plan: Plan,
        *,
        frames: FrameTable | None = None,
        items: Iterable[Item] = (),
        look: bytes = b"",
    ) -> JobDir:
        """Write a new job folder; ``job.json`` comes last, so that a folder with it is whole."""
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refused(path, error) from error
        folder._write("plan.json", plan)
        write_atomic(path / "recipe.toml", job.recipe.to_toml().encode())
        if look:
            write_atomic(folder.look_path, look)
        if frames is not None:
            import numpy as np

            with atomic_path(path / "frames.npy") as temporary, temporary.open("wb") as file:
                np.save(file, frames)
        with atomic_path(path / "items.jsonl") as temporary, temporary.open("wb") as file:
            for item in items:
                file.write(encode_line(item))
        folder._write("job.json", job)
        return folder

    def exists(self) -> bool:
        path = self._at("job.json")
        try:
            return patiently(path.is_file)
        except OSError as error:
            raise unreadable(path, error) from error

    def job(self) -> Job:
        return self._read_once("job.json", Job)

    def plan(self) -> Plan:
        return self._read_once("plan.json", Plan)

    def chunk(self, chunk_id: str) -> Chunk:
        """The planned chunk of that id.

        Raises:
            JobError: the plan has no such chunk.
        """
        plan = self.plan()  # a missing file has its message from here
        chunks = _kept["chunks"].get(
            self._at("plan.json"), lambda: {chunk.id: chunk for chunk in plan.chunks}
        )
        if chunk_id not in chunks:
            raise JobError(f"{self.path} has no chunk {chunk_id!r} in its plan.")
        return chunks[chunk_id]

    @property
    def look_path(self) -> Path:
        """The picture that all frames look at; there if the job names one."""
        return self._at("look.png")

    def frame_table(self) -> FrameTable:
        """Presentation times of all frames of the video, shape ``(frames,)``, mapped not read."""
        import numpy as np

        table: FrameTable = np.load(self._at("frames.npy"), mmap_mode="r", allow_pickle=False)
        return table

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """Items ``[start, stop)``, in order."""
        path = self._at("items.jsonl")
        with path.open("rb") as file:
            if start:
                at = _kept["items"].get(path, lambda: _line_starts(path))
                file.seek(at[min(start, len(at) - 1)])
            for number, line in enumerate(file, start):
                if stop is not None and number >= stop:
                    return
                yield decode(line, Item, what=f"{file.name} line {number + 1}")

    # -- what is done -----------------------------------------------------------------

    def segment_path(self, chunk: Chunk, suffix: str) -> Path:
        return self._at(f"segments/{chunk.id}{suffix}")

    def border_path(self, frame: int) -> Path:
        return self._at(f"borders/{frame:08d}.safetensors")

    def write_receipt(self, receipt: Receipt) -> None:
        """Say that a chunk is finished; its files must be on disk by now."""
        self._write(f"receipts/{receipt.chunk}.json", receipt)
        for stale in ("claims", "failures"):
            self._delete(f"{stale}/{receipt.chunk}.json")

    def receipt(self, chunk_id: str) -> Receipt | None:
        return self._record(f"receipts/{chunk_id}.json", Receipt)

    def receipts(self) -> Iterator[Receipt]:
        for chunk_id in sorted(self.finished()):
            if (receipt := self.receipt(chunk_id)) is not None:
                yield receipt

    def finished(self) -> set[str]:
        """Ids of the chunks that have a receipt."""
        return self._names("receipts")

    def pending(self, plan: Plan, wave: int | None = None) -> list[Chunk]:
        """Planned chunks minus receipts, in order."""
        done = self.finished()
        return [c for c in plan.chunks if c.id not in done and wave in (None, c.wave)]

    def drop_receipt(self, chunk_id: str) -> None:
        """Forget that a chunk was finished, so that it is done again."""
        self._delete(f"receipts/{chunk_id}.json")

    def write_claim(self, claim: Claim) -> None:
        # Not flushed to disk: after a crash nobody holds the chunk, whatever it says.
        self._write(f"claims/{claim.chunk}.json", claim, durable=False)

    def claims(self) -> Iterator[Claim]:
        for chunk_id in sorted(self._names("claims")):
            if (claim := self._record(f"claims/{chunk_id}.json", Claim)) is not None:
                yield claim

    def drop_claim(self, chunk_id: str) -> None:
        self._delete(f"claims/{chunk_id}.json")

    def write_failure(self, failure: Failure) -> None:
        self._write(f"failures/{failure.chunk}.json", failure)

    def failures(self) -> Iterator[Failure]:
        for chunk_id in sorted(self.given_up()):
            if (failure := self._record(f"failures/{chunk_id}.json", Failure)) is not None:
                yield failure

    def given_up(self) -> set[str]:
        """Ids of the chunks that have a failure and no receipt: a chunk that two workers had may
        fail for one and be finished by the other, and finished it is.
        """
        failed = self._names("failures")
        return failed and failed - self.finished()

    def settled(self, chunk_id: str) -> bool:
        """Whether a chunk has a receipt or was given up."""
        return self.marked(f"receipts/{chunk_id}.json") or self.marked(f"failures/{chunk_id}.json")

    def clear_failures(self) -> None:
        """Forget failures, so that a resume tries those chunks again."""
        for chunk_id in self._names("failures"):
            self._delete(f"failures/{chunk_id}.json")

    def write_result(self, result: Result) -> None:
        """Say that the whole job has ended; its output must be on disk by now."""
        self._write("result.json", result)

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self.marked("result.json") and self.result() is not None

    def result(self) -> Result | None:
        return self._record("result.json", Result)

    def drop_media(self) -> None:
        """Delete segments and border latents once the output stands; the records stay."""
        for folder in ("segments", "borders", "claims"):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def check_writable(self) -> None:
        """See that files can be written here.

        Raises:
            OutputError: they cannot; says why.
        """
        try:
            with tempfile.TemporaryFile(dir=self._at(""), buffering=0) as trial:
                trial.write(b"x" * 4096)  # a block: empty files fit on a full disk
        except OSError as error:
            raise refused(self.path, error) from error

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Yields True to one process at a time, False to the others; let go when it dies."""
        path = self._at("lock")
        try:
            file = patiently(lambda: path.open("ab"))
        except OSError as error:
            raise refused(path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # A share without locks: two may do the same, and the last one's file stands whole.
                if error.errno not in _NO_LOCKS:
                    yield False
                    return
            yield True

    def reopen(self) -> bool:
        """Have chunks handed over anew whose finished work is gone.

        Returns:
            whether that is worth a try; after some times in a row the disk must be at fault.
        """
        if not any(self.mark_once(f"reopened/{n}") for n in range(_MOST_REOPENED)):
            return False
        self.forget_submitted()
        return True

    def forget_submitted(self) -> None:
        """Forget which waves were handed over, so that what is not done is handed over anew."""
        shutil.rmtree(self.path / "submitted", ignore_errors=True)

    # -- markers ----------------------------------------------------------------------

    def mark_once(self, name: str) -> bool:
        """Create marker ``name``; True for the one caller who was first."""
        path = self._at(name)

        def make() -> bool:
            if path.parent != self.path:
                path.parent.mkdir(exist_ok=True)
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                return False
            return True

        try:
            return patiently(make)
        except OSError as error:
            raise refused(path, error) from error

    def unmark(self, name: str) -> None:
        self._delete(name)

    def marked(self, name: str) -> bool:
        path = self._at(name)
        try:
            return patiently(path.exists)
        except OSError as error:
            raise unreadable(path, error) from error

    @property
    def cancelled(self) -> bool:
        return self.marked("cancel")

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

    def _read_once(self, name: str, type_: type[T]) -> T:
        """A file that does not change while a job lives: read again only if it is another one."""
        path = self._at(name)
        try:
            value = patiently(lambda: _kept[path.stem].get(path, lambda: self._maybe(name, type_)))
        except (FileNotFoundError, NotADirectoryError):
            value = None
        except OSError as error:
            raise unreadable(path, error) from error
        if value is None:
            raise JobError(
                f"{self.path} is not a job folder: {name} is missing.",
                hint="`ip2p-batch status` lists the jobs there are.",
            )
        return value

    def _maybe(self, name: str, type_: type[T]) -> T | None:
        path = self._at(name)
        try:
            data = patiently(path.read_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(path, error) from error
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
        path = self._at(folder)
        try:
            # Not iterdir: thousands, several times a second.
            names = patiently(lambda: os.listdir(path))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise unreadable(path, error) from error
        return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}


def _line_starts(path: Path) -> array[int]:
    """Where each line of a file begins, in bytes, and where the last one ends."""
    starts = array("q", [0])
    at = 0
    with path.open("rb") as file:
        for line in file:
            at += len(line)
            starts.append(at)
    return starts


def encode_line(item: Item) -> bytes:
    """One item as a line of JSONL."""
    return encode(item).replace(b"\n", b"") + b"\n"
