"""What planning writes into a job folder: job, plan, frame tables and items."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import JobError
from ..storage.atomic import atomic_path, read_error, retry_transient
from .codec import decode, encode
from .files import JobFiles
from .plan import Chunk, Plan
from .spec import Item, Job

if TYPE_CHECKING:  # numpy takes a tenth of a second to load, and `status` does not need it
    from ..frame import FrameTable

_FRAMES, _FRAME_IDS = "frames.npy", "frame-ids.npy"


class PlannedFiles(JobFiles):
    """The files of a job folder that describe the work; only ``retry`` plans it again."""

    def exists(self) -> bool:
        path = self.at("job.json")
        try:
            return retry_transient(path.is_file)
        except OSError as error:
            raise read_error(path, error) from error

    @property
    def created(self) -> float:
        """When the job was planned, in seconds since the epoch; 0 where unknown."""
        try:
            return self.at("recipe.toml").stat().st_mtime  # never written again
        except OSError:
            return 0.0

    def job(self) -> Job:
        return self.read_required("job.json", Job)

    def plan(self) -> Plan:
        return self.read_required("plan.json", Plan)

    def chunk(self, chunk_id: str) -> Chunk:
        """The planned chunk of that id.

        Raises:
            JobError: the plan has no such chunk.
        """
        for _ in range(2):
            plan = self.plan()  # raises the right error where the file is missing
            chunks = self.cached("chunks", self.at("plan.json"), lambda _: _by_id(plan))  # noqa: B023
            if chunk_id in chunks:
                return chunks[chunk_id]
            self.refresh()  # the job may have been planned again just now
        raise JobError(f"{self.path} has no chunk {chunk_id!r} in its plan.")

    def refresh(self) -> None:
        """Notice replaced files: opening a file makes an NFS client ask the server."""
        for name in ("job.json", "plan.json"):
            with suppress(OSError), self.at(name).open("rb"):
                pass

    @property
    def reference_image_path(self) -> Path:
        """The reference image; it exists if the job has one."""
        return self.at("reference.png")

    @property
    def masks_path(self) -> Path:
        """Masks that planning made; the file exists if the job has a digest of it."""
        return self.at("masks.zip")

    def frame_table(self) -> FrameTable:
        """Presentation times of all frames, shape ``(frames,)``, in ticks; memory-mapped."""
        return self._table(_FRAMES)

    def frame_ids(self) -> FrameTable | None:
        """Decoding time or place in the file of each frame, as :meth:`frame_table`.

        None if frames are found by their presentation times.
        """
        return self._table(_FRAME_IDS) if self.at(_FRAME_IDS).exists() else None

    def _table(self, name: str) -> FrameTable:
        import numpy as np

        table: FrameTable = np.load(self.at(name), mmap_mode="r", allow_pickle=False)
        return table

    def items(self, start: int = 0, stop: int | None = None) -> Iterator[Item]:
        """Items ``[start, stop)``, in order."""
        path = self.at("items.jsonl")
        with path.open("rb") as file:
            if start:
                offsets = self.cached("items", path, _line_offsets, file=file)
                file.seek(offsets[min(start, len(offsets) - 1)])
            for number, line in enumerate(file, start):
                if stop is not None and number >= stop:
                    return
                yield decode(line, Item, what=f"{file.name} line {number + 1}")

    def write_plan(self, plan: Plan, items: Iterable[Item]) -> None:
        """Write plan and items; items and chunks of an earlier plan must keep their numbers."""
        self._write_items(items)
        self.write("plan.json", plan)

    def write_tables(self, frames: FrameTable | None, frame_ids: FrameTable | None) -> None:
        """Write the tables of a video's frames, as far as it has them."""
        for name, table in ((_FRAMES, frames), (_FRAME_IDS, frame_ids)):
            if table is not None:
                import numpy as np

                with atomic_path(self.at(name)) as temporary, temporary.open("wb") as file:
                    np.save(file, table)

    def _write_items(self, items: Iterable[Item]) -> None:
        with atomic_path(self.at("items.jsonl")) as temporary, temporary.open("wb") as file:
            for item in items:
                file.write(encode_line(item))


def _by_id(plan: Plan) -> dict[str, Chunk]:
    return {chunk.id: chunk for chunk in plan.chunks}


def _line_offsets(path: Path) -> array[int]:
    """Where each line of a file begins, in bytes, and where the last one ends."""
    offsets = array("q", [0])
    end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            offsets.append(end)
    return offsets


def encode_line(item: Item) -> bytes:
    """One item as a line of JSONL."""
    return encode(item).replace(b"\n", b"") + b"\n"
