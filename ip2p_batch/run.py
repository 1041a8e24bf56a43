"""Start, follow, resume and cancel a job. Everything is read from and written to the job folder.

Whoever finishes a chunk calls :func:`advance`, so a detached job goes from wave to wave and into
its output without anybody watching. :func:`follow` watches, and also makes up for what a queue
can lose: a chunk that nobody holds and no queue has is handed over again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from . import models
from .assemble import assemble
from .errors import BrokerError, JobError, OutputError, ResumeMismatch
from .executor import ASSEMBLY, Executor
from .job import Chunk, Event, Failure, Job, Plan, Receipt, Result
from .jobdir import JobDir
from .media import probe
from .registry import find_job, job_path, list_jobs, register
from .settings import Settings
from .status import STALE_SECONDS, JobStatus, status
from .survey import Report, Request, Survey, survey

__all__ = [
    "JobStatus",
    "Report",
    "Request",
    "Survey",
    "advance",
    "cancel",
    "create",
    "find_job",
    "follow",
    "list_jobs",
    "status",
    "submit",
    "summary",
    "survey",
]

_POLL_SECONDS = 0.2
#: Looking at the job folder may take this share of a follower's time: thousands of receipts on a
#: slow share are looked at less often than ten on a disk, up to so many seconds apart.
_LOOKING = 0.05
_MAX_PAUSE_SECONDS = 2.0
_RECONCILE_SECONDS = 3.0
#: Everything handed over again this often, and not one frame more: something is wrong.
_MAX_FRUITLESS = 5


def create(request: Request, settings: Settings, report: Report = lambda _: None) -> JobDir:
    """Plan a job and write its folder.

    The same request on the same source finds its unfinished job again, so that running a command
    twice goes on where the first run stopped.

    Raises:
        OutputError: the output exists (and ``overwrite`` is off), or cannot be written.
        ModelError: the model is not on the list of ``IP2P_MODELS``.
        OutsideRoots: workers elsewhere are to do it, and ``IP2P_ROOTS`` is set here as it is there.
        Ip2pError: whatever :func:`survey` raises.
    """
    models.check_allowed(request.recipe.model, request.recipe.revision, settings.models)
    found = survey(request, report)
    job = found.job
    output = Path(job.output)
    folder = JobDir(job_path(settings, job.id, output))
    if settings.broker_url is not None:
        for path in (job.source.path, job.output, folder.path.absolute()):
            settings.roots.allow(path)
    unfinished = folder.exists() and folder.result() is None
    if job.source.is_video or len(found.items) == 1:
        _check_free(output, overwrite=request.overwrite)
    _check_writable(output if not job.source.is_video and len(found.items) > 1 else output.parent)
    if not unfinished:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder = JobDir.create(
            folder.path,
            job,
            found.plan,
            frames=found.frames,
            items=found.items,
            look=found.look,
        )
    register(settings, folder)
    if not found.plan.chunks:
        assemble(folder)  # nothing is left to do: no workers are needed to say so
    report(
        Event(
            kind="planned",
            job=job.id,
            total=found.plan.frames,
            message=_planned(found.plan, unfinished=unfinished),
            data={"folder": str(folder.path), "resumed": unfinished},
        )
    )
    for warning in found.plan.warnings:
        report(Event(kind="warning", job=job.id, message=warning))
    return folder


def _planned(plan: Plan, *, unfinished: bool) -> str:
    noun = "frame" if plan.shots else "picture"
    text = f"{_count(plan.frames, noun)} in {_count(len(plan.chunks), 'chunk')}"
    if plan.shots:
        text += f" of {_count(len(plan.shots), 'shot')}"
    return f"going on with {text}" if unfinished else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _check_free(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output} exists already.",
            path=output,
            hint="Give --overwrite to replace it, or choose another name with -o.",
        )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe_file = folder / ".ip2p-write-test"
        probe_file.touch()
        probe_file.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}.",
            path=folder,
            hint="Choose another place with -o.",
        ) from None


def submit(folder: JobDir, executor: Executor) -> None:
    """Hand over what is to be done next: for a new job, a resumed one, or one that stands still.

    Raises:
        ResumeMismatch: the source changed since the plan was made.
        OutputError: the output appeared meanwhile.
    """
    job = folder.job()
    check_source(job)
    folder.unmark("cancel")
    folder.clear_failures()
    shutil.rmtree(folder.path / "submitted", ignore_errors=True)
    advance(folder, executor)


def check_source(job: Job) -> None:
    """Refuse to go on with a source that is not the one that was planned.

    Raises:
        ResumeMismatch: it changed or is gone; names it.
    """
    source = job.source
    if not source.is_video:
        return  # a changed picture is edited as it is now; a vanished one is reported
    path = Path(source.path)
    if not path.exists() or probe.stamp(path) != source.stamp:
        what = "has changed" if path.exists() else "is gone"
        raise ResumeMismatch(
            f"{path} {what} since job {job.id} was planned.",
            hint="Put the file back, or start a new job with `ip2p-batch edit`.",
            survives="The job folder stays as it is.",
        )


def advance(folder: JobDir, executor: Executor) -> None:
    """Hand over the next wave, or the assembly, once everything before it is settled.

    Called by whoever settles a chunk; a marker on disk lets only the first caller hand a wave
    over. While a wave is under way, one chunk of it that is still open says so, and receipts are
    not counted: else a job would cost the square of its chunks.
    """
    if folder.ended or folder.cancelled or _under_way(folder):
        return
    plan = folder.plan()
    done = folder.finished()
    given_up = folder.given_up()
    for number in range(1, plan.waves + 1):
        wave = plan.wave(number)
        pending = [c for c in wave if c.id not in done and c.id not in given_up]
        if pending:
            _remember_open(folder, pending[-1])
            _hand_over(folder, f"submitted/{number}", partial(executor.submit, folder, pending))
            return
        if any(c.id in given_up for c in wave):
            return  # later waves stand on this one
    if not given_up:
        _hand_over(folder, "submitted/assembly", partial(executor.assemble, folder))


#: By job folder: the chunk that this process last saw open, of those handed over the last one,
#: so most likely the last to be settled, too.
_open_chunks: dict[Path, Chunk] = {}
_MOST_OPEN = 64


def _under_way(folder: JobDir) -> bool:
    """Whether a wave has been handed over and a chunk of it is known to be open; cheap.

    False only means that it takes a closer look. A chunk that is open now was open before, so
    no later wave was due; a chunk that is made anew because its receipt was dropped belongs to
    a wave that is handed over anew, which the marker shows.
    """
    chunk = _open_chunks.get(folder.path)
    if chunk is None:
        return False
    if folder.marked(f"submitted/{chunk.wave}") and not folder.settled(chunk.id):
        return True
    _open_chunks.pop(folder.path, None)
    return False


def _remember_open(folder: JobDir, chunk: Chunk) -> None:
    if len(_open_chunks) >= _MOST_OPEN:
        _open_chunks.clear()  # of jobs that others brought to their end
    _open_chunks[folder.path] = chunk


def _hand_over(folder: JobDir, marker: str, hand: Callable[[], None]) -> None:
    """Do it once; where Redis cannot be reached, take the marker back for the next caller."""
    if not folder.mark_once(marker):
        return
    try:
        hand()
    except BaseException:
        folder.unmark(marker)
        raise


def cancel(folder: JobDir) -> None:
    """Ask all workers to drop this job; they look between denoising steps."""
    if folder.result() is None:
        folder.mark_once("cancel")


def follow(
    folder: JobDir, executor: Executor, *, check: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """Hand over what is pending and yield events until the job is done, failed or cancelled.

    Leaving early leaves the job as it is: workers go on with what they have, and a later call
    takes it up again.

    Args:
        check: called about every second; raises to stop following (a dead worker fleet).
    """
    job, plan = folder.job(), folder.plan()
    total = plan.frames
    submit(folder, executor)
    yield Event(kind="started", job=job.id, total=total, data={"folder": str(folder.path)})
    watch = _Watch(folder, plan)
    # A job that went on from an earlier session starts the bar where that one stopped.
    yield Event(kind="progress", job=job.id, done=watch.scan(), total=total)
    last_check = time.monotonic()
    assembling = False
    while True:
        executor.poll(_POLL_SECONDS)
        now = time.monotonic()
        before = watch.done
        ended = folder.ended
        watch.look(must=ended)
        yield from watch.news()
        if watch.grew:
            _try_to_advance(folder, executor)
        if watch.done != before:
            yield Event(kind="progress", job=job.id, done=watch.done, total=total)
        if ended:
            yield ending(folder)
            return
        if folder.cancelled:
            yield Event(kind="cancelled", job=job.id, done=watch.done, total=total)
            return
        if failures := watch.settled_with_failures():
            yield _failed(job, failures, watch.done, total)
            return
        if not assembling and folder.marked("submitted/assembly"):
            assembling = True
            yield Event(kind="assembling", job=job.id, done=watch.done, total=total)
        if now - last_check >= 1.0:
            last_check = now
            check()
            watch.reconcile(executor)


def _try_to_advance(folder: JobDir, executor: Executor) -> None:
    """Hand over what comes next, where no worker does; the first to mark it wins."""
    try:
        advance(folder, executor)
    except BrokerError:
        return  # Redis is restarting; the reconciler looks again


def _failed(job: Job, failures: list[Failure], done: int, total: int) -> Event:
    first = failures[0]
    more = f" ({len(failures)} chunks failed in all)" if len(failures) > 1 else ""
    return Event(
        kind="failed",
        job=job.id,
        done=done,
        total=total,
        message=f"{first.message}{more}",
        data={
            "error": first.error,
            "hint": first.hint or f"`ip2p-batch resume {job.id}` tries again.",
            "chunks": [f.chunk for f in failures],
        },
    )


def ending(folder: JobDir) -> Event:
    """The ``done`` event of a finished job.

    Raises:
        JobError: it has not ended.
    """
    result, total = summary(folder), folder.plan().frames
    return Event(kind="done", job=folder.path.name, done=total, total=total, data=_summary(result))


def _summary(result: Result) -> dict[str, object]:
    return {
        "output": result.output,
        "frames": result.frames,
        "seconds": result.seconds,
        "fps": round(result.fps, 3),
        "failed": [list(pair) for pair in result.failed],
        "skipped": result.skipped,
        "warnings": list(result.warnings),
    }


class _Watch:
    """What a follower has seen of a job folder, so that each thing is told once."""

    def __init__(self, folder: JobDir, plan: Plan) -> None:
        self.done = 0
        #: Whether the last look at the folder found receipts that the one before it did not.
        self.grew = False
        self._folder = folder
        self._plan = plan
        self._weights = {c.id: len(c) for c in plan.chunks if c.kind != "borders"}
        self._finished: set[str] = set()
        self._frames = 0  # in finished chunks
        self._next_look = 0.0
        self._seen: set[str] = set()
        self._told: set[str] = set()
        self._beats: dict[str, tuple[float, float]] = {}
        self._idle_since: float | None = None
        self._fruitless = 0
        self._reached = (0, 0)

    def look(self, *, must: bool = False) -> None:
        """Look at the folder again, if the last look is long enough ago for what it took."""
        if must or time.monotonic() >= self._next_look:
            self.scan()
        else:
            self.grew = False

    def scan(self) -> int:
        """Look at the folder again; the number of frames done, parts of chunks included."""
        now = time.monotonic()
        before, self._finished = self._finished, self._folder.finished()
        new, dropped = self._finished - before, before - self._finished
        self.grew = bool(new or dropped)
        self._frames += sum(self._weights.get(c, 0) for c in new)
        self._frames -= sum(self._weights.get(c, 0) for c in dropped)
        done = self._frames
        held = {}
        for claim in self._folder.claims():
            if claim.chunk in self._finished:
                continue
            last, since = self._beats.get(claim.chunk, (0.0, now))
            held[claim.chunk] = (claim.at, since if claim.at == last else now)
            done += min(claim.done, self._weights.get(claim.chunk, 0))
        self._beats = held
        looked = time.monotonic()
        self._next_look = looked + min((looked - now) / _LOOKING, _MAX_PAUSE_SECONDS)
        # A redelivered chunk begins anew: the bar does not run backwards.
        self.done = max(self.done, done)
        return self.done

    def news(self) -> Iterator[Event]:
        """Events for receipts not told of yet."""
        for chunk_id in sorted(self._finished - self._seen):
            self._seen.add(chunk_id)
            receipt = self._folder.receipt(chunk_id)
            if receipt is not None:
                yield from self._tell(receipt)

    def _tell(self, receipt: Receipt) -> Iterator[Event]:
        yield Event(
            kind="chunk",
            done=self.done,
            total=self._plan.frames,
            data={
                "chunk": receipt.chunk,
                "frames": receipt.frames,
                "seconds": receipt.seconds,
                "worker": f"{receipt.worker.host}:{receipt.worker.pid}",
            },
        )
        for item in receipt.items:
            if item.error:
                source = next(self._folder.items(item.index, item.index + 1)).source
                yield Event(kind="failed_item", message=item.error, data={"path": source})
        for warning in receipt.warnings:
            if warning not in self._told:
                self._told.add(warning)
                yield Event(kind="warning", message=warning)

    def settled_with_failures(self) -> list[Failure]:
        """Failures, once nothing of their wave is left to do; empty before that."""
        failures = [f for f in self._folder.failures() if f.chunk not in self._finished]
        if not failures:
            return []
        given_up = {f.chunk for f in failures}
        if ASSEMBLY in given_up:
            return failures
        waves = [c.wave for c in self._plan.chunks if c.id in given_up]
        current = min(waves, default=1)
        open_ = [
            c
            for c in self._plan.wave(current)
            if c.id not in self._finished and c.id not in given_up
        ]
        return [] if open_ else failures

    def reconcile(self, executor: Executor) -> None:
        """Hand over again what was lost: a dead worker's chunk, a message that Redis forgot.

        A chunk whose claim stopped beating belonged to a worker that is gone; what that worker's
        message does later is harmless, since the receipt will be there. Where nothing beats at
        all and the queue is empty, everything still pending is handed over again.
        """
        now = time.monotonic()
        dead = {c for c, (_, since) in self._beats.items() if now - since > STALE_SECONDS}
        if dead:
            chunks = [c for c in self._plan.chunks if c.id in dead]
            for chunk in chunks:
                self._folder.drop_claim(chunk.id)
            executor.submit(self._folder, chunks)
            return
        if self._beats:
            self._idle_since = None
            return
        if self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > _RECONCILE_SECONDS:
            self._idle_since = now
            try:
                lost = executor.queued() == 0
            except BrokerError:
                return  # Redis is restarting; look again later
            if lost:
                self._see_why()
                shutil.rmtree(self._folder.path / "submitted", ignore_errors=True)
                advance(self._folder, executor)

    def _see_why(self) -> None:
        """Before handing over again: a worker that cannot write cannot say so, either.

        Raises:
            OutputError: the job folder's disk is full, or it cannot be written.
            JobError: handing over came to nothing several times in a row.
        """
        self._folder.check_writable()
        reached = (len(self._finished), self.done)
        self._fruitless = 0 if reached != self._reached else self._fruitless + 1
        self._reached = reached
        if self._fruitless >= _MAX_FRUITLESS:
            raise JobError(
                f"Workers take the chunks of {self._folder.path.name} and nothing comes of it.",
                hint=f"Their log says why; can they write {self._folder.path}?",
                survives="Finished chunks are kept.",
            )


def summary(folder: JobDir) -> Result:
    """How a finished job ended.

    Raises:
        JobError: it has not ended.
    """
    result = folder.result()
    if result is None:
        raise JobError(
            f"{folder.path.name} has not ended.", hint="`ip2p-batch status` says how far it is."
        )
    return result
