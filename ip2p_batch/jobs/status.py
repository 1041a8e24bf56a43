"""Status of a job, read from its folder alone: no broker and no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from ..recipe_parts import Lora
from ..settings import Settings
from .activity import is_led, running_heartbeats
from .compatibility import mismatch_message
from .folder import JobFolder
from .plan import ASSEMBLY, Plan
from .records import ComputeProfile, EditMethod, Receipt, Result, WorkerInfo
from .spec import Job, Priority

State = Literal[
    "waiting",
    "running",
    "paused",
    "finished",
    "finished with failures",
    "failed",
    "cancelled",
    "superseded",
]
#: Receipts that are read for the pace (the last ones) and for the start (the first ones).
_PACE_RECEIPTS = 64
_START_RECEIPTS = 8


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment.

    Attributes:
        edit: edit size and method; None where nothing is to be edited.
        loras: that are merged into the model.
        priority: among the jobs of one broker.
        done, total: frames or images. ``done`` includes those that heartbeats report.
        noun: what they count: ``frame`` or ``image``.
        created: when the job was planned, in seconds since the epoch.
        started: when the first chunk was started, in seconds since the epoch; None before that.
        fps: frames per second over the last finished chunks of a running job, or over the whole of
            an ended one; 0 of others, and before the first.
        superseded_by: id of the job that writes the results instead; empty without one.
        eta: seconds left at that pace; None where unknown or ended.
        failures: one line for each failed chunk or image.
        compute_profile: of the job; None before its first chunk was started.
        refused: one line for each incompatible worker.
    """

    id: str
    folder: str
    state: State
    output: str
    source: str
    edit: EditMethod | None = None
    loras: tuple[Lora, ...] = ()
    priority: Priority
    done: int
    total: int
    noun: str
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
    superseded_by: str = ""


def read_status(folder: JobFolder) -> JobStatus:
    """Read the status of a job. Of thousands of receipts, some dozens are opened.

    Raises:
        JobError: not a job folder, or a file in it is damaged.
    """
    job, plan = folder.job(), folder.plan()
    if (result := folder.result()) is not None:
        return _ended(folder, job, plan, result)
    finished = folder.receipts.ids()
    heartbeats = running_heartbeats(folder)
    failures = [f for f in folder.failures.all() if f.chunk not in finished]
    frames_by_chunk = plan.frames_by_chunk
    in_progress = sum(min(c.done, frames_by_chunk.get(c.chunk, 0)) for c in heartbeats)
    done = sum(frames_by_chunk.get(chunk_id, 0) for chunk_id in finished) + in_progress
    lines = [
        f.message if f.chunk == ASSEMBLY else f"chunk {f.chunk}: {f.message}" for f in failures
    ]
    lines += _failed_images(folder, plan, finished)
    state: State = "waiting"
    if (superseded := folder.superseded) is not None:
        state = "superseded"
    elif folder.cancelled:
        state = "cancelled"
    elif folder.paused:
        state = "paused"
    elif heartbeats:
        state = "running"
    elif failures:
        state = "failed"
    in_order = [c.id for c in plan.chunks if c.id in finished]
    latest = _read(folder, in_order[-_PACE_RECEIPTS:])
    if state == "waiting" and _any_recent(latest) and is_led(folder):
        state = "running"  # between two chunks no worker has a heartbeat
    fps = _pace(latest, frames_by_chunk, in_progress) if state == "running" else 0.0
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state=state,
        output=job.output,
        source=job.source.path,
        edit=plan.edit_method(job.recipe),
        loras=job.recipe.lora,
        priority=job.priority,
        done=done,
        total=plan.frames,
        noun=job.source.noun,
        waves=plan.waves,
        chunks_done=len(in_order),
        chunks_total=len(plan.chunks),
        workers=tuple(c.worker for c in heartbeats),
        failures=tuple(lines),
        compute_profile=folder.hardware.profile(),
        refused=tuple(dict.fromkeys(mismatch_message(r) for r in folder.hardware.refusals())),
        created=folder.created,
        started=_started(_read(folder, in_order[:_START_RECEIPTS])),
        fps=round(fps, 3),
        eta=round((plan.frames - done) / fps, 1) if fps > 0 else None,
        superseded_by=superseded.by if superseded is not None else "",
    )


def _pace(receipts: Sequence[Receipt], frames_by_chunk: dict[str, int], in_progress: int) -> float:
    """Frames per second over these chunks, up to now."""
    started = _started(receipts)
    if started is None:
        return 0.0
    frames = sum(frames_by_chunk.get(r.chunk, 0) for r in receipts) + in_progress
    elapsed = time.time() - started
    return frames / elapsed if elapsed > 0 else 0.0


def _read(folder: JobFolder, chunks: Iterable[str]) -> list[Receipt]:
    return [r for r in map(folder.receipts.get, chunks) if r is not None]


def _failed_images(folder: JobFolder, plan: Plan, finished: set[str]) -> Iterator[str]:
    for receipt in _read(folder, sorted(folder.receipts.with_failed_items() & finished)):
        for item in plan.valid_items(receipt):
            if item.error:
                item_ = next(folder.items(item.index, item.index + 1))
                yield f"{item_.source}: {item.error}"


def _ended(folder: JobFolder, job: Job, plan: Plan, result: Result) -> JobStatus:
    """Status of an ended job: its result has everything, no receipts are read."""
    lines = tuple(f"{path}: {why}" for path, why in result.failed)
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state="finished with failures" if lines else "finished",
        output=job.output,
        source=job.source.path,
        edit=plan.edit_method(job.recipe),
        loras=job.recipe.lora,
        priority=job.priority,
        done=plan.frames,
        total=plan.frames,
        noun=job.source.noun,
        waves=plan.waves,
        chunks_done=len(plan.chunks),
        chunks_total=len(plan.chunks),
        failures=lines,
        compute_profile=folder.hardware.profile(),
        created=folder.created,
        started=result.finished - result.seconds if plan.chunks else None,
        fps=round(plan.frames / result.seconds, 3) if result.seconds > 0 else 0.0,
    )


def _any_recent(receipts: Iterable[Receipt]) -> bool:
    oldest = time.time() - Settings.from_env().heartbeat_timeout
    return any(r.finished >= oldest for r in receipts)


def _started(receipts: Sequence[Receipt]) -> float | None:
    return min((r.finished - r.seconds.get("total", 0.0) for r in receipts), default=None)
