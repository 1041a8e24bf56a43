"""Run the jobs of one command, and report on them as one: for several videos and sets of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..jobs.events import Event
from ..jobs.grouping import grouped
from . import exits, formatting, terminal
from .options import WorkerOptions
from .report import JsonReporter, Reporter
from .run import selection_of, submit
from .summary import summary_lines

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..jobs.records import Result
    from ..planning.sources import ForSources

#: Results that the summary lists; the rest is counted.
LISTED = 12


class GroupedWarnings:
    """Passes on the events of planning; equal warnings of several jobs are printed once, at last.

    Args:
        reporter: gets the events. With ``--json`` it gets each warning at once.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._jobs: dict[str, list[str]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "warning" and not isinstance(self._reporter, JsonReporter):
            self._jobs.setdefault(event.message, []).append(event.job)
        else:
            self._reporter(event)

    def flush(self, names: dict[str, str]) -> None:
        """Report the warnings.

        Args:
            names: of the sources, by the ids of their jobs, if there are several.
        """
        for message, jobs in self._jobs.items():
            found = [names[job] for job in jobs if job in names]
            if len(found) > 1:
                (message,) = grouped(((name, message) for name in found), "sources")
            elif found and len(names) > 1:
                message = f"{found[0]}: {message}"
            self._reporter(Event(kind="warning", message=message))
        self._jobs.clear()


class JobSeries:
    """Reports the events of jobs that run one after another as the progress of all.

    Args:
        reporter: gets the events. With ``--json`` it gets them unchanged.
        folders: the jobs, in order.
        clock: monotonic time in seconds.

    Attributes:
        results: of the jobs that ended.
        failed: ``(path, reason)`` of each job and each image that failed.
    """

    def __init__(
        self,
        reporter: Reporter,
        folders: Sequence[JobFolder],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._clock, self._begun = clock, clock()
        jobs = [(folder.path.name, folder.job()) for folder in folders]
        self._names = {name: job.source.path for name, job in jobs}
        self._frames = {f.path.name: f.plan().frames for f in folders}
        self._nouns = {name: job.source.noun for name, job in jobs}
        self._before = 0
        self._started = False
        self._warned = {f.path.name: set(f.plan().warnings) for f in folders}
        self.results: dict[str, Result] = {}
        self.failed: list[tuple[str, str]] = []
        nouns = set(self._nouns.values())
        reporter.noun = nouns.pop() if len(nouns) == 1 else "frame"

    def report(self, event: Event) -> None:
        """Report one event of any job."""
        if isinstance(self._reporter, JsonReporter):
            self._reporter(event)
        elif event.kind in ("started", "progress", "chunk"):
            self._progress(event)
        elif event.kind == "warning":
            self._warn(event.job, event.message)
        elif event.kind not in ("done", "failed", "cancelled"):
            self._reporter(event)

    def end(self, folder: JobFolder, event: Event) -> None:
        """Report how a job ended, by its last event."""
        from ..scheduler import read_result

        name = folder.path.name
        source = self._names[name]
        self._before += self._frames[name]
        if event.kind == "done":
            result = self.results[name] = read_result(folder)
            self.failed += result.failed
            self._reporter.print_line(self._line(name))
            if not isinstance(self._reporter, JsonReporter):  # which has them with "done"
                for message in result.warnings:
                    self._warn(name, message)
            return
        reason = event.message or "the job was cancelled"
        self.failed.append((source, reason))
        data = {"path": source, **event.data}
        self._reporter(Event(kind="failed_item", job=name, message=reason, data=data))

    def summary(self, others: Iterable[tuple[str, str]], skipped: int) -> list[str]:
        """The end of the command as text.

        Args:
            others: ``(path, reason)`` of sources without a job.
            skipped: videos whose output exists.
        """
        names = list(self.results)
        lines = [self._line(name) for name in names[:LISTED]]
        if len(names) > LISTED:
            lines.append(f"... and {len(names) - LISTED} more")
        if len(names) > 1:
            frames = sum(result.frames for result in self.results.values())
            seconds = formatting.duration(self._clock() - self._begun)
            noun = formatting.plural(frames, self._reporter.noun)
            lines.append(f"{formatting.plural(len(names), 'job')}: {noun} in {seconds}")
        skipped += sum(result.skipped for result in self.results.values())
        if skipped:
            lines.append(f"{skipped} skipped: the output exists")
        failed = [*others, *self.failed]
        if failed:
            lines.append(f"{len(failed)} failed:")
            lines += [f"  {path}: {reason}" for path, reason in failed]
        return lines

    def _warn(self, job: str, message: str) -> None:
        """Report a warning of a job once, with the name of its source."""
        if job not in self._names:
            self._reporter(Event(kind="warning", message=message))
        elif message not in self._warned[job]:
            self._warned[job].add(message)
            source = Path(self._names[job]).name
            self._reporter(Event(kind="warning", job=job, message=f"{source}: {message}"))

    def _line(self, name: str) -> str:
        return summary_lines(self.results[name], self._nouns[name])[0]

    def _progress(self, event: Event) -> None:
        if event.kind == "started":
            if self._started:
                return
            self._started = True
        done, total = self._before + event.done, sum(self._frames.values())
        self._reporter(msgspec.structs.replace(event, done=done, total=total))


def run_jobs(jobs: ForSources[JobFolder], worker_options: WorkerOptions, reporter: Reporter) -> int:
    """Run the jobs of a command with one set of workers, report on them; return the exit code.

    Raises:
        BrokerError: Redis cannot be started or reached, or no worker answers.
    """
    from ..scheduler import local_run
    from ..scheduler.items import write_all_items

    series = JobSeries(reporter, jobs.made)
    selection = selection_of(worker_options)
    by_name = {folder.path.name: folder for folder in jobs.made}
    try:
        with closing(local_run.run_jobs(jobs.made, selection, check=reporter.tick)) as events:
            for event in events:
                series.report(event)
                if event.kind in ("done", "failed", "cancelled"):
                    series.end(by_name[event.job], event)
    except KeyboardInterrupt as stop:
        reporter.close()
        terminal.note(_after_interrupt(selection.broker))
        return exits.interrupt_code(stop)
    finally:
        reporter.close()
    others = [(source.path, source.reason) for source in jobs.refused]
    failed = [*others, *series.failed]
    if warning := write_all_items(jobs):
        reporter(Event(kind="warning", message=warning))
    if isinstance(reporter, JsonReporter):
        reporter(summary_event(series, others, len(jobs.skipped)))
    else:
        reporter.end(series.summary(others, len(jobs.skipped)), failed)
    return exits.SOME_FAILED if failed else exits.DONE


def detach_jobs(
    jobs: ForSources[JobFolder], worker_options: WorkerOptions, reporter: Reporter
) -> int:
    """Enqueue the jobs of a command for the broker's workers and return the exit code."""
    submit([folder for folder in jobs.made if not folder.ended], worker_options)
    for folder in jobs.made:
        state = "is finished" if folder.ended else "is in the queue"
        reporter.print_line(f"job {folder.path.name} {state}.")
    reporter.print_line("`ip2p-batch jobs` lists them; the same command without --detach follows.")
    return exits.SOME_FAILED if jobs.refused else exits.DONE


def summary_event(series: JobSeries, others: list[tuple[str, str]], skipped: int) -> Event:
    """The last event of a command with several jobs."""
    failed = [*others, *series.failed]
    results = series.results.values()
    return Event(
        kind="summary",
        data={
            "outputs": [result.output for result in results],
            "frames": sum(result.frames for result in results),
            "failed": [list(pair) for pair in failed],
            "skipped": skipped + sum(result.skipped for result in results),
        },
    )


def _after_interrupt(broker: str | None) -> str:
    if broker is None:
        return "stopped; run the same command again to continue."
    return (
        "no longer watching; the workers continue. `ip2p-batch jobs` lists the jobs, and"
        " `ip2p-batch cancel JOB` stops one."
    )
