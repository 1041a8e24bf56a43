"""The end of a job as text."""

from __future__ import annotations

from dataclasses import dataclass

from ..jobs.records import Result
from . import formatting


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one command did of a job.

    Attributes:
        seconds: from its start to the end of the job, with the start of workers and loading.
        before: frames or images that earlier runs had done.
    """

    seconds: float
    before: int


def summary_lines(result: Result, noun: str, run: Run | None = None) -> list[str]:
    """The end of a job as text: output, speed, edit size, what failed and why.

    Args:
        run: of the command that ended the job; None where it had ended before.
    """
    lines = [f"{result.output}: {_pace(result, noun, run)}"]
    if result.edit is not None:
        lines.append(f"edited {formatting.edit_method(result.edit)}")
    if result.skipped:
        lines.append(f"{formatting.plural(result.skipped, noun)} skipped: the output exists")
    if result.failed:
        lines.append(failed_line(result, noun).rstrip(".") + ":")
        lines += [f"  {path}: {reason}" for path, reason in result.failed]
    return lines


def failed_line(result: Result, noun: str) -> str:
    """``2 of 98 images failed.``, or ``1 image failed.`` where none was edited."""
    failed = len(result.failed)
    if not result.frames:
        return f"{formatting.plural(failed, noun)} failed."
    return f"{failed} of {formatting.plural(attempted(result), noun)} failed."


def _pace(result: Result, noun: str, run: Run | None) -> str:
    """How many frames in which time."""
    everything = formatting.plural(result.frames, noun)
    if not result.frames:
        return f"{everything} edited"
    if run is None:
        return f"{everything}, {_elapsed(result.seconds)} of work"
    now = attempted(result) - run.before
    if now <= 0:  # only what follows the last frame was left to do
        return f"{everything}, all by earlier runs"
    rate = f"({now / run.seconds:.2f} {noun}s/s)" if run.seconds > 0 else ""
    if run.before <= 0:
        return f"{everything} in {_elapsed(run.seconds)} {rate}".rstrip()
    return f"{everything}, {now} of them in this run, in {_elapsed(run.seconds)} {rate}".rstrip()


def attempted(result: Result) -> int:
    """How many frames or images were edited or failed."""
    return result.frames + len(result.failed)


def _elapsed(seconds: float) -> str:
    return formatting.duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"
