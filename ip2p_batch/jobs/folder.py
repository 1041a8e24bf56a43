"""The job folder: what is on disk, under which name.

::

    JOB/job.json                Job
    JOB/recipe.toml             Recipe, for --recipe
    JOB/plan.json               Plan
    JOB/frames.npy              frame table of a video
    JOB/items.jsonl             one Item a line, for images
    JOB/reference.png           --reference-image
    JOB/inference-config.json   InferenceConfig, found by the first worker
    JOB/compute-profile.json    ComputeProfile of the first worker
    JOB/segments/ID.mp4         encoded frames of chunk ID
    JOB/borders/N.safetensors   latents of border frame N
    JOB/receipts/ID.json        Receipt of a finished chunk
    JOB/heartbeats/ID.json      Heartbeat, while a worker edits the chunk
    JOB/attempts/ID.N.json      Attempt N at chunk ID
    JOB/attempts/ID.N.end       marker: attempt N ended, well or badly
    JOB/failures/ID.json        Failure, after the last attempt
    JOB/failed-items/ID.json    marker: some images of chunk ID failed, see its receipt
    JOB/poisoned/N              marker: frame or image N crashes its worker
    JOB/inflight/               chunks that were dispatched
    JOB/redispatched/N          marker: segments were missing N times
    JOB/refusals/NODE.json      Refusal of an incompatible worker
    JOB/cancel, JOB/pause       markers: stop, pause
    JOB/result.json             Result, when the job has ended

Disk is the truth and Redis is transport: a chunk is finished when its receipt exists, and a
receipt is written after the files that it vouches for. Every file appears under its name only
when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import JobError
from ..storage.atomic import atomic_path, read_error, retry_transient, write_atomic, write_error
from .codec import decode, encode
from .files import JobFiles, kept
from .plan import Chunk, Plan
from .records import ComputeProfile, Failure, Heartbeat, InferenceConfig, Receipt, Refusal, Result
from .spec import Item, Job, Priority

if TYPE_CHECKING:  # numpy takes a tenth of a second, which `status` need not wait for
    from ..frame import FrameTable

_MOST_REOPENED = 3
_INFLIGHT = "inflight"


class JobFolder(JobFiles):
    """A job folder by its path; opens nothing until asked.

    Args:
        roots: where reading and writing is allowed. Whatever the folder's own links lead to is
            held against them, too; every method raises OutsideRoots then.
    """

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
    ) -> JobFolder:
        """Write a new job folder; ``job.json`` comes last, so that a folder with it is whole."""
        folder = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        folder._write("plan.json", plan)
        write_atomic(path / "recipe.toml", job.recipe.to_toml().encode())
        if look:
            write_atomic(folder.reference_image_path, look)
        if frames is not None:
            import numpy as np

            with atomic_path(path / "frames.npy") as temporary, temporary.open("wb") as file:
                np.save(file, frames)
        folder._write_items(items)
        folder._write("job.json", job)
        return folder

    def replan(self, plan: Plan, items: Iterable[Item]) -> None:
        """Replace the plan by one in which items and chunks keep their numbers and ids."""
        self._write_items(items)
        self._write("plan.json", plan)

    def exists(self) -> bool:
        path = self._at("job.json")
        try:
            return retry_transient(path.is_file)
        except OSError as error:
            raise read_error(path, error) from error

    @property
    def created(self) -> float:
        """When the job was planned, in seconds since the epoch; 0 where that cannot be seen."""
        try:
            return self._at("recipe.toml").stat().st_mtime  # never written again
        except OSError:
            return 0.0

    def job(self) -> Job:
        return self._read_once("job.json", Job)

    def set_priority(self, priority: Priority) -> None:
        """Give the job another place in the queue; messages sent from now on have it."""
        job = self.job()
        if job.priority != priority:
            self._write("job.json", msgspec.structs.replace(job, priority=priority))

    def plan(self) -> Plan:
        return self._read_once("plan.json", Plan)

    def chunk(self, chunk_id: str) -> Chunk:
        """The planned chunk of that id.

        Raises:
            JobError: the plan has no such chunk.
        """
        for _ in range(2):
            plan = self.plan()  # a missing file has its message from here
            by_id = partial(_by_id, plan)
            chunks = kept["chunks"].get(self._at("plan.json"), by_id)
            if chunk_id in chunks:
                return chunks[chunk_id]
            self.refresh()  # perhaps it was planned again just now
        raise JobError(f"{self.path} has no chunk {chunk_id!r} in its plan.")

    def refresh(self) -> None:
        """See whether job and plan were replaced; a network share looks when they are opened."""
        for name in ("job.json", "plan.json"):
            with suppress(OSError), self._at(name).open("rb"):
                pass

    @property
    def reference_image_path(self) -> Path:
        """The picture that all frames look at; there if the job names one."""
        return self._at("reference.png")

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
                opened = os.fstat(file.fileno())
                at = kept["items"].get(path, lambda: _line_starts(path), opened)
                file.seek(at[min(start, len(at) - 1)])
            for number, line in enumerate(file, start):
                if stop is not None and number >= stop:
                    return
                yield decode(line, Item, what=f"{file.name} line {number + 1}")

    def inference_config(self) -> InferenceConfig | None:
        """What the workers have agreed on; None before the first has looked."""
        return self._once("inference-config.json", InferenceConfig)

    def propose_inference_config(self, inference_config: InferenceConfig) -> InferenceConfig:
        """Propose how this job's model is called; what the first worker proposed is what counts."""
        self._write_once("inference-config.json", inference_config)
        return self.inference_config() or inference_config

    # -- what is done -----------------------------------------------------------------

    def segment_path(self, chunk: Chunk, suffix: str) -> Path:
        return self._at(f"segments/{chunk.id}{suffix}")

    def border_path(self, frame: int) -> Path:
        return self._at(f"borders/{frame:08d}.safetensors")

    def write_receipt(self, receipt: Receipt, check: Callable[[], None] = lambda: None) -> None:
        """Say that a chunk is finished; its files must be on disk by now.

        Args:
            check: as of :func:`atomic_path`.
        """
        if any(item.error for item in receipt.items):
            self.mark_once(f"failed-items/{receipt.chunk}.json")
        path = self._at(f"receipts/{receipt.chunk}.json")
        with atomic_path(path, check=check) as temporary:
            temporary.write_bytes(encode(receipt))
        for stale in ("heartbeats", "failures"):
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

    def chunks_with_failed_items(self) -> set[str]:
        """Ids of the chunks whose receipts may name pictures that failed; no others do."""
        return self._names("failed-items")

    def pending(self, plan: Plan, wave: int | None = None) -> list[Chunk]:
        """Planned chunks minus receipts, in order."""
        done = self.finished()
        return [c for c in plan.chunks if c.id not in done and wave in (None, c.wave)]

    def drop_receipt(self, chunk_id: str) -> None:
        """Forget that a chunk was finished, so that it is done again."""
        self._delete(f"receipts/{chunk_id}.json")

    def write_heartbeat(self, heartbeat: Heartbeat) -> None:
        # Not flushed to disk: after a crash nobody holds the chunk, whatever it says.
        self._write(f"heartbeats/{heartbeat.chunk}.json", heartbeat, durable=False)

    def heartbeat(self, chunk_id: str) -> Heartbeat | None:
        return self._record(f"heartbeats/{chunk_id}.json", Heartbeat)

    def heartbeats(self) -> Iterator[Heartbeat]:
        for chunk_id in sorted(self._names("heartbeats")):
            if (heartbeat := self.heartbeat(chunk_id)) is not None:
                yield heartbeat

    def remove_heartbeat(self, chunk_id: str) -> None:
        self._delete(f"heartbeats/{chunk_id}.json")

    def attempt_path(self, chunk_id: str, number: int) -> Path:
        """Where attempt ``number``, from 1, is noted; see ``ip2p_batch.jobs.attempts``."""
        return self._at(f"attempts/{chunk_id}.{number}.json")

    def poisoned(self) -> frozenset[int]:
        """Numbers of the frames or pictures that are known to kill their worker."""
        return frozenset(int(name) for name in self._listed("poisoned") if name.isdecimal())

    def write_failure(self, failure: Failure) -> None:
        self._write(f"failures/{failure.chunk}.json", failure)

    def failures(self) -> Iterator[Failure]:
        for chunk_id in sorted(self.failed_chunks()):
            if (failure := self._record(f"failures/{chunk_id}.json", Failure)) is not None:
                yield failure

    def failed_chunks(self) -> set[str]:
        """Ids of the chunks that have a failure and no receipt: a chunk that two workers had may
        fail for one and be finished by the other, and finished it is.
        """
        failed = self._names("failures")
        return failed and failed - self.finished()

    def is_settled(self, chunk_id: str) -> bool:
        """Whether a chunk has a receipt or was given up."""
        return self.marked(f"receipts/{chunk_id}.json") or self.marked(f"failures/{chunk_id}.json")

    def clear_failures(self) -> None:
        """Forget failures, so that a resume tries those chunks again."""
        for chunk_id in self._names("failures"):
            self._delete(f"failures/{chunk_id}.json")

    def write_result(self, result: Result) -> None:
        """Say that the whole job has ended; its output must be on disk by now."""
        self._write("result.json", result)

    def drop_result(self) -> None:
        """Take it back that the job has ended."""
        self._delete("result.json")

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self.marked("result.json") and self.result() is not None

    def result(self) -> Result | None:
        return self._record("result.json", Result)

    # -- who may do it ----------------------------------------------------------------

    def compute_profile(self) -> ComputeProfile | None:
        """What the job's chunks are edited with; None before the first is begun."""
        return self._maybe("compute-profile.json", ComputeProfile)

    def fix_compute_profile(self, mine: ComputeProfile) -> ComputeProfile:
        """The job's identity: ``mine``, if nobody was first."""
        found = self.compute_profile()
        if found is None:
            self._write_once("compute-profile.json", mine)
            found = self.compute_profile() or mine
        return found

    def write_refusal(self, refusal: Refusal) -> None:
        """Say that a worker does no chunks of this job, and why."""
        name = hashlib.sha256(refusal.node.encode()).hexdigest()[:16]
        self._write(f"refusals/{name}.json", refusal, durable=False)

    def refusals(self) -> Iterator[Refusal]:
        for name in sorted(self._names("refusals")):
            if (refusal := self._maybe(f"refusals/{name}.json", Refusal)) is not None:
                yield refusal

    def clear_refusals(self) -> None:
        """Ask all workers anew; whoever begins the first chunk says of what kind they are to be."""
        for name in self._names("refusals"):
            self._delete(f"refusals/{name}.json")
        if not self.finished():
            self._delete("compute-profile.json")

    def permit_mixed_hardware(self) -> None:
        """Let workers of several kinds do the rest of the job."""
        job = self.job()
        if not job.allow_mixed_hardware:
            self._write("job.json", msgspec.structs.replace(job, allow_mixed_hardware=True))

    def drop_media(self) -> None:
        """Delete segments and border latents once the output stands; the records stay."""
        for folder in ("segments", "borders", "heartbeats", "attempts", "poisoned"):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def redispatch(self) -> bool:
        """Have chunks handed over anew whose finished work is gone.

        Returns:
            whether that is worth a try; after some times in a row the disk must be at fault.
        """
        if not any(self.mark_once(f"redispatched/{n}") for n in range(_MOST_REOPENED)):
            return False
        self.clear_inflight()
        return True

    @property
    def inflight_path(self) -> Path:
        """Where it stands which chunks were handed over; see ``scheduler/inflight.py``."""
        return self._at(f"{_INFLIGHT}/window.json")

    def clear_inflight(self) -> None:
        """Forget what was handed over, so that what is not done is handed over anew."""
        shutil.rmtree(self.path / _INFLIGHT, ignore_errors=True)

    @property
    def cancelled(self) -> bool:
        return self.marked("cancel")

    @property
    def is_dispatched(self) -> bool:
        """Whether anything of the job was given to workers, since it was last taken up."""
        return self.marked(_INFLIGHT)

    @property
    def paused(self) -> bool:
        return self.marked("pause")

    def _write_items(self, items: Iterable[Item]) -> None:
        with atomic_path(self._at("items.jsonl")) as temporary, temporary.open("wb") as file:
            for item in items:
                file.write(encode_line(item))


def _by_id(plan: Plan) -> dict[str, Chunk]:
    return {chunk.id: chunk for chunk in plan.chunks}


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
