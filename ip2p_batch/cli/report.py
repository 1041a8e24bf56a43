"""What a job says while it runs: events as a bar, as plain lines, as JSON, or not at all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import msgspec
import typer
from tqdm import tqdm

from ..jobs.events import Event
from ..jobs.records import Result
from . import formatting
from .exits import print_error, warn

#: Seconds between two progress lines where there is no terminal.
LINE_SECONDS = 10.0
#: tqdm's own, but frames a second even where that is less than one.
_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class Reporter:
    """Takes events, then says how it ended. This one is ``--quiet``: only what went wrong.

    Attributes:
        noun: what is counted: ``frame`` or ``picture``.
    """

    noun = "frame"

    def __call__(self, event: Event) -> None:
        if event.kind == "failed_item":
            self._say_failed(event)

    def close(self) -> None:
        """Leave the terminal clean, so that something else may write to it."""

    def say(self, line: str) -> None:
        """One line for the user to read on the way."""

    def tick(self) -> None:
        """Called about every second while a job runs."""

    def result(self, result: Result) -> None:
        """The summary of a finished job."""
        if result.failed:
            print_error(f"{len(result.failed)} of {_attempted(result)} {self.noun}s failed.")

    def _say_failed(self, event: Event) -> None:
        print_error(f"{event.data.get('path', '?')}: {event.message}")


class JsonReporter(Reporter):
    """``--json``: one event a line on stdout and nothing else there."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stdout

    def __call__(self, event: Event) -> None:
        self._file.write(msgspec.json.encode(event).decode() + "\n")
        self._file.flush()

    def result(self, result: Result) -> None:
        pass  # the "done" event has it all


class LinesReporter(Reporter):
    """Plain lines on stderr, seldom enough for a log file; the summary on stdout."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._begun: tuple[float, int] | None = None  # (when, frames done before)
        self._last = 0.0
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        if event.kind == "planning":
            if event.stage != self._stage:
                self._stage = event.stage
                self.say(f"planning: {event.stage}")
        elif event.kind == "planned":
            self.say(f"job {event.job}: {event.message}")
        elif event.kind == "progress":
            self._progress(event)
        elif event.kind == "warning":
            self._warned.add(event.message)
            self._around(warn, event.message)
        elif event.kind == "failed_item":
            self._around(self._say_failed, event)
        elif event.kind == "assembling":
            self.say("joining segments" if self.noun == "frame" else "finishing")
        elif event.kind == "paused":
            self.say(f"paused; `ip2p-batch unpause {event.job}` has it go on")
        elif event.kind == "unpaused":
            self.say("going on")
        elif event.kind == "training":
            if event.stage != self._stage:
                self._stage, self._begun = event.stage, None
            self._progress(event)

    def say(self, line: str) -> None:
        typer.echo(line, err=True)

    def result(self, result: Result) -> None:
        for line in summary_lines(result, self.noun):
            typer.echo(line)
        for warning in dict.fromkeys(result.warnings):
            if warning not in self._warned:
                warn(warning)

    def _around(self, write: Callable[..., None], what: object) -> None:
        write(what)

    def _progress(self, event: Event) -> None:
        now = self._clock()
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
        share = formatting.share(event.done, event.total)
        if event.kind == "training":
            words = f", {event.message}" if event.message else ""
            self.say(f"{event.stage}: {share}, {fps:.2f} a second, {left} to go{words}")
        else:
            self.say(f"editing: {share} {self.noun}s, {fps:.2f} a second, {left} to go")


class BarReporter(LinesReporter):
    """A bar over frames with pace and time to go; planning has a bar for each of its stages."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__()
        self._file = file or sys.stderr
        self._bar: tqdm[Any] | None = None

    def __call__(self, event: Event) -> None:
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
        elif event.kind in ("paused", "unpaused") and self._bar is not None:
            self._bar.set_description("paused" if event.kind == "paused" else "editing")
        elif event.kind in ("done", "failed", "cancelled"):
            self.close()
        else:
            super().__call__(event)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def tick(self) -> None:
        """Let the bar's clock go on while no frame comes."""
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
            # An earlier session's steps are not this one's pace.
            self._bar.initial = self._bar.n = event.done
        self._bar.set_postfix_str(event.message, refresh=False)
        self._move(event)

    def _move(self, event: Event) -> None:
        bar = self._bar
        if bar is None:
            return
        if event.kind == "progress" and self._begun is None:
            # What an earlier session did is not this one's pace.
            self._begun = (self._clock(), event.done)
            bar.initial = event.done
            bar.n = event.done
            bar.refresh()
            return
        if event.kind == "progress" and event.done > bar.n:
            bar.set_description("editing", refresh=False)
        if event.total:
            bar.total = event.total
        bar.update(event.done - bar.n)

    def _around(self, write: Callable[..., None], what: object) -> None:
        with tqdm.external_write_mode(file=self._file):
            write(what)


def _screen(file: TextIO) -> dict[str, Any]:
    """Arguments that tell tqdm of the size of this terminal."""
    try:
        size = os.get_terminal_size(file.fileno())
    except (OSError, ValueError):  # not a terminal
        size = os.terminal_size((0, 0))
    if size.columns > 0 and size.lines > 0:
        return {"dynamic_ncols": True}
    # Some terminals (in containers, in editors) say 0 by 0, and tqdm would draw nothing.
    return {"ncols": 80, "nrows": 24}


def reporter(*, json: bool, quiet: bool) -> Reporter:
    """The reporter for these options and this terminal."""
    if json:
        return JsonReporter()
    if quiet:
        return Reporter()
    return BarReporter() if sys.stderr.isatty() else LinesReporter()


def summary_lines(result: Result, noun: str) -> list[str]:
    """The end of a job for a reader: what came out, how fast, what failed and why."""
    # The job's own seconds can be near nothing where all was there already.
    lines = [
        f"{result.output}: {formatting.plural(result.frames, noun)} in"
        f" {_elapsed(result.seconds)}"
        f" ({result.fps:.2f} a second)"
    ]
    if result.skipped:
        lines.append(f"{formatting.plural(result.skipped, noun)} left alone: the output was there")
    if result.failed:
        lines.append(f"{len(result.failed)} of {_attempted(result)} failed:")
        lines += [f"  {path}: {why}" for path, why in result.failed]
    return lines


def _attempted(result: Result) -> int:
    return result.frames + len(result.failed)


def _elapsed(seconds: float) -> str:
    return formatting.duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"
