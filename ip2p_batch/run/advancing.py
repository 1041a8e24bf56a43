"""What is handed over next: a wave, the assembly, or nothing any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import ResumeMismatch
from ..executor import Executor
from ..job import Chunk, Job
from ..jobdir import JobDir
from ..media import probe


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
    folder.forget_submitted()
    shutil.rmtree(folder.path / "reopened", ignore_errors=True)
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


def advance(folder: JobDir, executor: Executor, *, again: bool = False) -> None:
    """Hand over the next wave, or the assembly, once everything before it is settled.

    Called by whoever settles a chunk; a marker on disk lets only the first caller hand a wave
    over. While a wave is under way, one chunk of it that is still open says so, and receipts are
    not counted: else a job would cost the square of its chunks.

    Args:
        again: the caller comes in the place of one that died, perhaps in the midst of handing
            over: what was not handed over to the last message is handed over once more.
    """
    hand_over = partial(_hand_over, folder, again=again)
    if folder.ended or folder.cancelled or (not again and _under_way(folder)):
        return
    plan = folder.plan()
    done = folder.finished()
    given_up = folder.given_up()
    for number in range(1, plan.waves + 1):
        wave = plan.wave(number)
        pending = [c for c in wave if c.id not in done and c.id not in given_up]
        if pending:
            _remember_open(folder, pending[-1])
            hand_over(f"submitted/{number}", partial(executor.submit, folder, pending))
            return
        if any(c.id in given_up for c in wave):
            return  # later waves stand on this one
    if not given_up:
        hand_over("submitted/assembly", partial(executor.assemble, folder))


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


def _hand_over(folder: JobDir, marker: str, hand: Callable[[], None], *, again: bool) -> None:
    """Do it once; where Redis cannot be reached, take the marker back for the next caller."""
    whole = f"{marker}.whole"
    if not folder.mark_once(marker) and not (again and not folder.marked(whole)):
        return
    try:
        hand()
        folder.mark_once(whole)
    except BaseException:
        folder.unmark(marker)
        raise


def cancel(folder: JobDir) -> None:
    """Ask all workers to drop this job; they look between denoising steps."""
    if folder.result() is None:
        folder.mark_once("cancel")
