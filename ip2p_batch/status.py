"""What the job folder says of a job: read from disk alone, no broker and no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from .job import Claim, Job, Plan, Receipt, Result, WorkerInfo
from .jobdir import JobDir
from .settings import Settings

State = Literal["waiting", "running", "finished", "finished with failures", "failed", "cancelled"]


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment.

    Attributes:
        done, total: frames or pictures in finished chunks, plus those that claims report.
        fps: frames a second over the time worked so far; 0 where nothing is done yet.
        eta: seconds to go at that pace; None where unknown or over.
        failures: one line each: chunks given up, pictures that failed.
    """

    id: str
    folder: str
    state: State
    output: str
    source: str
    done: int
    total: int
    waves: int
    chunks_done: int
    chunks_total: int
    workers: tuple[WorkerInfo, ...] = ()
    failures: tuple[str, ...] = ()
    started: float | None = None
    fps: float = 0.0
    eta: float | None = None


def status(folder: JobDir) -> JobStatus:
    """Read the state of a job.

    Raises:
        JobError: not a job folder, or a file in it is damaged.
    """
    job, plan = folder.job(), folder.plan()
    if (result := folder.result()) is not None:
        return _ended(folder, job, plan, result)
    receipts = {r.chunk: r for r in folder.receipts()}
    claims = fresh_claims(folder, receipts)
    failures = list(folder.failures())
    weights = {c.id: len(c) for c in plan.chunks if c.kind != "borders"}
    done = sum(weights.get(chunk_id, 0) for chunk_id in receipts)
    done += sum(min(c.done, weights[c.chunk]) for c in claims if c.chunk in weights)
    lines = [f"chunk {f.chunk}: {f.message}" for f in failures]
    for receipt in receipts.values():
        lines += [f"picture {i.index}: {i.error}" for i in receipt.items if i.error]
    if folder.cancelled:
        state: State = "cancelled"
    elif claims:
        state = "running"
    elif failures:
        state = "failed"
    else:  # between two chunks nobody holds one
        state = "running" if _lately(receipts.values()) else "waiting"
    begun = _begun(list(receipts.values()))
    spent = time.time() - begun if begun is not None else 0.0
    fps = done / spent if spent > 0 else 0.0
    running = state == "running"
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state=state,
        output=job.output,
        source=job.source.path,
        done=done,
        total=plan.frames,
        waves=plan.waves,
        chunks_done=len(receipts.keys() & {c.id for c in plan.chunks}),
        chunks_total=len(plan.chunks),
        workers=tuple(c.worker for c in claims),
        failures=tuple(lines),
        started=begun,
        fps=round(fps, 3),
        eta=round((plan.frames - done) / fps, 1) if running and fps > 0 else None,
    )


def _ended(folder: JobDir, job: Job, plan: Plan, result: Result) -> JobStatus:
    """The result has it all: thousands of receipts need not be read."""
    lines = tuple(f"{path}: {why}" for path, why in result.failed)
    return JobStatus(
        id=job.id,
        folder=str(folder.path),
        state="finished with failures" if lines else "finished",
        output=job.output,
        source=job.source.path,
        done=plan.frames,
        total=plan.frames,
        waves=plan.waves,
        chunks_done=len(plan.chunks),
        chunks_total=len(plan.chunks),
        failures=lines,
        started=result.finished - result.seconds if plan.chunks else None,
        fps=round(plan.frames / result.seconds, 3) if result.seconds > 0 else 0.0,
    )


def fresh_claims(folder: JobDir, receipts: dict[str, Receipt]) -> list[Claim]:
    """Claims of chunks without a receipt that were renewed lately."""
    oldest = time.time() - Settings.from_env().stale
    return [c for c in folder.claims() if c.chunk not in receipts and c.at >= oldest]


def _lately(receipts: Iterable[Receipt]) -> bool:
    oldest = time.time() - Settings.from_env().stale
    return any(r.finished >= oldest for r in receipts)


def _begun(receipts: list[Receipt]) -> float | None:
    return min((r.finished - r.seconds.get("total", 0.0) for r in receipts), default=None)
