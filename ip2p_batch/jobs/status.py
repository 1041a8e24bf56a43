"""What the job folder says of a job: read from disk alone, no broker and no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from ..settings import Settings
from .attempts import live_heartbeats
from .compatibility import mismatch_message
from .folder import JobFolder
from .plan import Plan
from .records import ComputeProfile, Receipt, Result, WorkerInfo
from .spec import Job, Priority

State = Literal[
    "waiting", "running", "paused", "finished", "finished with failures", "failed", "cancelled"
]
#: Chunks whose receipts are read to find the pace, and those to find when a job was begun.
_LATELY = 64
_FIRST = 8


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment.

    Attributes:
        priority: its place in the queue among the jobs of one broker.
        done, total: frames or pictures in finished chunks, plus those that claims report.
        created: when it was planned, in seconds since the epoch.
        started: when the first chunk was begun, likewise; None before that.
        fps: frames a second over the chunks finished last; of an ended job, over all its time. 0
            where nothing is done yet.
        eta: seconds to go at that pace; None where unknown or over.
        failures: one line each: chunks given up, pictures that failed.
        compute_profile: what the job's chunks are edited with; None before the first is begun.
        refused: one line each: workers that take no part, since they would give other bits.
    """

    id: str
    folder: str
    state: State
    output: str
    source: str
    priority: Priority
    done: int
    total: int
    waves: int
    chunks_done: int
    chunks_total: int
    workers: tuple[WorkerInfo, ...] = ()
    failures: tuple[str, ...] = ()
    created: float
    compute_profile: ComputeProfile | None = None
    refused: tuple[str, ...] = ()
    started: float | None = None
    fps: float = 0.0
    eta: float | None = None


def read_status(folder: JobFolder) -> JobStatus:
    """Read the state of a job. Of thousands of receipts it opens some dozens.

    Raises:
        JobError: not a job folder, or a file in it is damaged.
    """
    job, plan = folder.job(), folder.plan()
    if (result := folder.result()) is not None:
        return _ended(folder, job, plan, result)
    finished = folder.receipts.ids()
    heartbeats = live_heartbeats(folder, finished)
    failures = [f for f in folder.failures.all() if f.chunk not in finished]
    frames_by_chunk = plan.frames_by_chunk
    under_way = sum(min(c.done, frames_by_chunk.get(c.chunk, 0)) for c in heartbeats)
    done = sum(frames_by_chunk.get(chunk_id, 0) for chunk_id in finished) + under_way
    lines = [f"chunk {f.chunk}: {f.message}" for f in failures]
    lines += _failed_pictures(folder, plan, finished)
    state: State = "waiting"
    if folder.cancelled:
        state = "cancelled"
    elif folder.paused:
        state = "paused"
    elif heartbeats:
        state = "running"
    elif failures:
        state = "failed"
    in_order = [c.id for c in plan.chunks if c.id in finished]
    lately = _read(folder, in_order[-_LATELY:])
    if state == "waiting" and _any_fresh(lately):
        state = "running"  # between two chunks nobody holds one
    fps = _pace(lately, frames_by_chunk, under_way if state == "running" else None)
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state=state,
        output=job.output,
        source=job.source.path,
        priority=job.priority,
        done=done,
        total=plan.frames,
        waves=plan.waves,
        chunks_done=len(in_order),
        chunks_total=len(plan.chunks),
        workers=tuple(c.worker for c in heartbeats),
        failures=tuple(lines),
        compute_profile=folder.hardware.profile(),
        refused=tuple(dict.fromkeys(mismatch_message(r) for r in folder.hardware.refusals())),
        created=folder.created,
        started=_begun(_read(folder, in_order[:_FIRST])),
        fps=round(fps, 3),
        eta=round((plan.frames - done) / fps, 1) if state == "running" and fps > 0 else None,
    )


def _pace(
    receipts: Sequence[Receipt], frames_by_chunk: dict[str, int], under_way: int | None
) -> float:
    """Frames a second over these chunks, up to now where frames are under way still."""
    begun = _begun(receipts)
    if begun is None:
        return 0.0
    frames = sum(frames_by_chunk.get(r.chunk, 0) for r in receipts) + (under_way or 0)
    end = max(r.finished for r in receipts) if under_way is None else time.time()
    return frames / (end - begun) if end > begun else 0.0


def _read(folder: JobFolder, chunks: Iterable[str]) -> list[Receipt]:
    return [r for r in map(folder.receipts.get, chunks) if r is not None]


def _failed_pictures(folder: JobFolder, plan: Plan, finished: set[str]) -> Iterator[str]:
    for receipt in _read(folder, sorted(folder.receipts.with_failed_items() & finished)):
        for item in plan.valid_items(receipt):
            if item.error:
                picture = next(folder.items(item.index, item.index + 1))
                yield f"{picture.source}: {item.error}"


def _ended(folder: JobFolder, job: Job, plan: Plan, result: Result) -> JobStatus:
    """The result has it all: thousands of receipts need not be read."""
    lines = tuple(f"{path}: {why}" for path, why in result.failed)
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state="finished with failures" if lines else "finished",
        output=job.output,
        source=job.source.path,
        priority=job.priority,
        done=plan.frames,
        total=plan.frames,
        waves=plan.waves,
        chunks_done=len(plan.chunks),
        chunks_total=len(plan.chunks),
        failures=lines,
        compute_profile=folder.hardware.profile(),
        created=folder.created,
        started=result.finished - result.seconds if plan.chunks else None,
        fps=round(plan.frames / result.seconds, 3) if result.seconds > 0 else 0.0,
    )


def _any_fresh(receipts: Iterable[Receipt]) -> bool:
    oldest = time.time() - Settings.from_env().heartbeat_timeout
    return any(r.finished >= oldest for r in receipts)


def _begun(receipts: Sequence[Receipt]) -> float | None:
    return min((r.finished - r.seconds.get("total", 0.0) for r in receipts), default=None)
