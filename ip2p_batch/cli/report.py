"""Report a running job: as a progress bar, as plain lines, as JSON, or errors only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from ..jobs.events import Event
from ..jobs.records import Result
from . import formatting, terminal
from .exits import print_error, warn
from .options import ReportOptions
from .summary import Run, failed_line, summary_lines

#: Seconds between two progress lines without a terminal.
LINE_SECONDS = 10.0
#: tqdm's own format, but always in frames per second, also below one.
_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class Reporter:
    """Base of reporters: takes events, then the result. This one is ``--quiet``: errors only.

    Attributes:
        noun: what is counted: ``frame`` or ``image``.
    """

    noun = "frame"

    def __init__(self) -> None:
        self._named: set[tuple[str, str]] = set()  # failures that were printed

    def __call__(self, event: Event) -> None:
        if event.kind == "failed_item":
            self._print_failed(event)

    def close(self) -> None:
        """Remove the progress bar, so that other output can follow."""

    def print_line(self, line: str) -> None:
        """Print one line of information."""

    def tick(self) -> None:
        """Update the clock; called about every second while a job runs."""

    def result(self, result: Result) -> None:
        """Print the summary of a finished job."""
        self._name_all(result.failed)
        if result.failed:
            print_error(failed_line(result, self.noun))

    def end(self, summary: Sequence[str], failed: Sequence[tuple[str, str]]) -> None:
        """Print the end of a command with several jobs.

        Args:
            summary: for a user, one fact a line.
            failed: ``(path, reason)`` of its videos and images that failed.
        """
        self._name_all(failed)
        if failed:
            print_error(f"{len(failed)} failed.")

    def _print_failed(self, event: Event) -> None:
        path = str(event.data.get("path", "?"))
        self._named.add((path, event.message))
        print_error(f"{path}: {event.message}")

    def _name_all(self, failed: Sequence[tuple[str, str]]) -> None:
        """Print the failures that were not printed when they happened."""
        for path, reason in failed:
            if (path, reason) not in self._named:
                self._named.add((path, reason))
                print_error(f"{path}: {reason}")


class JsonReporter(Reporter):
    """``--json``: one event per line on stdout, and nothing else there."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or sys.stdout
        self._warned: set[tuple[str, str]] = set()

    def __call__(self, event: Event) -> None:
        if event.kind == "warning":
            self._warned.add((event.job, event.message))
        for message in event.data.get("warnings", ()) if event.kind == "done" else ():
            # Warnings of images are known when all are finished.
            if not self._warned & {(event.job, message), ("", message)}:
                self(Event(kind="warning", job=event.job, message=message))
        self._file.write(terminal.json_line(event) + "\n")
        self._file.flush()

    def result(self, result: Result) -> None:
        pass  # the "done" event contains it


class LinesReporter(Reporter):
    """Plain lines on stderr, few enough for a log file; the summary on stdout."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._stage = ""
        #: When this run started, and the frames that earlier runs had done; None before that.
        self._run: tuple[float, int] | None = None
        #: When the first frame of this run was done, and how many were done then.
        self._begun: tuple[float, int] | None = None
        self._last = 0.0
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        self._watch_run(event)
        if event.kind == "planning":
            if event.stage != self._stage:
                self._stage = event.stage
                self.print_line(f"planning: {event.stage}")
        elif event.kind == "planned":
            self.print_line(f"job {event.job}: {event.message}")
        elif event.kind == "progress":
            self._progress(event)
        elif event.kind == "warning":
            self._warned.add(event.message)
            self._around(warn, event.message)
        elif event.kind == "failed_item":
            self._around(self._print_failed, event)
        elif event.kind == "assembling":
            self.print_line("joining segments" if self.noun == "frame" else "finishing")
        elif event.kind == "paused":
            self.print_line(f"paused; continue with `ip2p-batch resume {event.job}`")
        elif event.kind == "resumed":
            self.print_line("resumed")
        elif event.kind == "training":
            if event.stage != self._stage:
                self._stage, self._begun = event.stage, None
            self._progress(event)

    def print_line(self, line: str) -> None:
        terminal.note(line)

    def result(self, result: Result) -> None:
        run = None
        if self._run is not None:
            started, before = self._run
            run = Run(seconds=self._clock() - started, before=before)
        for line in summary_lines(result, self.noun, run):
            terminal.say(line)
        for warning in dict.fromkeys(result.warnings):
            if warning not in self._warned:
                warn(warning)

    def end(self, summary: Sequence[str], failed: Sequence[tuple[str, str]]) -> None:
        for line in summary:
            terminal.say(line)

    def _around(self, write: Callable[..., None], argument: object) -> None:
        write(argument)

    def _watch_run(self, event: Event) -> None:
        """Note when the run starts and what was done before it: its first two events."""
        if event.kind == "started":
            self._run, self._begun, self._last = (self._clock(), -1), None, self._clock()
        elif event.kind == "progress" and self._run is not None and self._run[1] < 0:
            self._run = (self._run[0], event.done)

    def _progress(self, event: Event) -> None:
        now = self._clock()
        if event.kind == "progress" and self._run is not None and event.done <= self._run[1]:
            return  # The time until the first frame, with loading, is not the pace.
        if self._begun is None:
            self._begun = (now, event.done)
            self._last = now
            return
        if now - self._last < LINE_SECONDS and event.done < event.total:
            return
        self._last = now
        since, before = self._begun
        fps = (event.done - before) / (now - since) if now > since else 0.0
        left = formatting.duration((event.total - event.done) / fps if fps else None)
        if event.kind == "training":
            done = formatting.progress(event.done, event.total)
            loss = f", {event.message}" if event.message else ""
            self.print_line(f"{event.stage}: {done}, {fps:.2f} steps/s, {left} left{loss}")
        else:
            done = formatting.progress(event.done, event.total, self.noun)
            self.print_line(f"editing: {done}, {fps:.2f} {self.noun}s/s, {left} left")


class BarReporter(LinesReporter):
    """A bar over frames with speed and remaining time; each stage of planning has its own bar."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or sys.stderr
        self._bar: tqdm[Any] | None = None

    def __call__(self, event: Event) -> None:
        self._watch_run(event)
        if event.kind == "planning":
            if event.stage != self._stage or self._bar is None:
                self._stage = event.stage
                self._open(event.stage, event.total)
            self._move(event)
        elif event.kind == "training":
            self._train(event)
        elif event.kind == "planned":
            self.close()
            super().__call__(event)
        elif event.kind == "started":
            self._open("starting", event.total)
        elif event.kind == "progress":
            self._move(event)
        elif event.kind == "chunk" and self._bar is not None:
            self._bar.set_description("editing", refresh=False)
        elif event.kind == "assembling" and self._bar is not None:
            self._bar.set_description("joining" if self.noun == "frame" else "finishing")
        elif event.kind in ("paused", "resumed") and self._bar is not None:
            self._bar.set_description("paused" if event.kind == "paused" else "editing")
        elif event.kind in ("done", "failed", "cancelled"):
            self.close()
        else:
            super().__call__(event)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def print_line(self, line: str) -> None:
        self._around(super().print_line, line)

    def tick(self) -> None:
        """Redraw the bar, whose clock runs while no frame is finished."""
        if self._bar is not None:
            self._bar.refresh()

    def _open(self, name: str, total: int) -> None:
        self.close()
        self._begun = None
        self._bar = tqdm(
            total=total or None,
            desc=name,
            unit=f" {self.noun}" if name == "starting" else "",
            file=self._file,
            bar_format=_FORMAT if name == "starting" else None,
            **_screen(self._file),
            smoothing=0.1,
            leave=name == "starting",
        )

    def _train(self, event: Event) -> None:
        if event.stage != self._stage or self._bar is None:
            self._stage = event.stage
            self._open(event.stage, event.total)
            assert self._bar is not None
            # Steps of an earlier session do not count for the speed.
            self._bar.initial = self._bar.n = event.done
        self._bar.set_postfix_str(event.message, refresh=False)
        self._move(event)

    def _move(self, event: Event) -> None:
        bar = self._bar
        if bar is None:
            return
        if event.kind == "progress" and (self._begun is None or bar.n <= self._begun[1]):
            # Neither frames of an earlier run nor the time until the first frame, with loading,
            # count for the speed.
            if self._begun is not None and event.done > bar.n:
                bar.set_description("editing", refresh=False)
            self._begun = self._begun or (self._clock(), event.done)
            bar.initial = bar.n = bar.last_print_n = event.done
            bar.last_print_t = time.time()
            bar.refresh()
            return
        if event.total:
            bar.total = event.total
        bar.update(event.done - bar.n)

    def _around(self, write: Callable[..., None], argument: object) -> None:
        with tqdm.external_write_mode(file=self._file):
            write(argument)


def _screen(file: TextIO) -> dict[str, Any]:
    """Arguments for tqdm that set the size of this terminal."""
    try:
        size = os.get_terminal_size(file.fileno())
    except (OSError, ValueError):  # not a terminal
        size = os.terminal_size((0, 0))
    if size.columns > 0 and size.lines > 0:
        return {"dynamic_ncols": True}
    # Some terminals (in containers, in editors) report 0 x 0, and tqdm would draw nothing.
    return {"ncols": 80, "nrows": 24}


def reporter_for(options: ReportOptions) -> Reporter:
    """The reporter for these options and this terminal."""
    if options.json:
        return JsonReporter()
    if options.quiet:
        return Reporter()
    return BarReporter() if sys.stderr.isatty() else LinesReporter()
