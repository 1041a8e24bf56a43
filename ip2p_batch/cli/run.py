"""Run a job and report on it: the part that ``edit``, ``resume``, ``retry`` and ``demo`` share."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from ..jobs.events import Event
from . import exits, terminal
from .options import WorkerOptions
from .report import Reporter

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..scheduler.local_run import WorkerSelection


def run_job(folder: JobFolder, worker_options: WorkerOptions, reporter: Reporter) -> int:
    """Run what is left of a job, report on it and return the exit code.

    Without a broker, a private Redis and local workers live as long as this call.

    Raises:
        BrokerError: Redis cannot be started or reached, or no worker answers.
        Ip2pError: the job cannot continue; its folder stays as it is.
    """
    from ..scheduler import local_run

    selection = selection_of(worker_options)
    reporter.noun = folder.job().source.noun
    if folder.result() is not None:  # every output existed already
        return report_end(folder, reporter)
    try:
        with closing(local_run.run_job(folder, selection, check=reporter.tick)) as events:
            return report_events(folder, events, reporter)
    except KeyboardInterrupt as stop:
        reporter.close()
        terminal.note(_after_interrupt(folder.path.name, selection.broker))
        return exits.interrupt_code(stop)
    finally:
        reporter.close()


def report_end(folder: JobFolder, reporter: Reporter) -> int:
    """Report on a job that has ended; return the exit code."""
    from .. import scheduler

    reporter(scheduler.done_event(folder))
    reporter.close()
    result = scheduler.read_result(folder)
    reporter.result(result)
    return exits.SOME_FAILED if result.failed else exits.DONE


def detach(folder: JobFolder, worker_options: WorkerOptions, reporter: Reporter) -> int:
    """Enqueue a job for the broker's workers and return the exit code."""
    submit([folder], worker_options)
    name = folder.path.name
    reporter.print_line(f"job {name} is in the queue; follow it with `ip2p-batch watch {name}`.")
    return exits.DONE


def submit(folders: Iterable[JobFolder], worker_options: WorkerOptions) -> None:
    """Enqueue jobs for the broker's workers, and warn if none answers."""
    from ..queue.redis_url import redact_url
    from ..scheduler import local_run

    selection = selection_of(worker_options)
    assert selection.broker is not None, "the caller checks --broker"
    answered = local_run.submit_to_broker(folders, selection)
    if not answered:
        start = local_run.worker_command(selection.broker)
        exits.warn(f"no worker answers at {redact_url(selection.broker)}; start one: {start}")


def report_events(folder: JobFolder, events: Iterable[Event], reporter: Reporter) -> int:
    """Report on a job's events and on how it ended; return the exit code."""
    from ..scheduler.local_run import workers_log

    last: Event | None = None
    for event in events:
        if event.kind == "done":
            return report_end(folder, reporter)
        reporter(event)
        last = event
    reporter.close()
    if last is not None and last.kind == "failed":
        name, hint = (str(last.data.get(key, "")) for key in ("error", "hint"))
        log = workers_log(folder)
        if not exits.is_own_error(name) and log.is_file():
            hint = f"{hint} Log: {log}".strip()
        exits.print_error(last.message, hint, "Finished chunks are kept.")
        return exits.code_named(name)
    name = folder.path.name
    exits.print_error(f"Job {name} was cancelled.", f"Continue it with `ip2p-batch resume {name}`.")
    return exits.code_named("JobCancelled")


def selection_of(worker_options: WorkerOptions) -> WorkerSelection:
    """Which workers the options of a command select."""
    from ..scheduler.local_run import WorkerSelection

    return WorkerSelection(
        broker=worker_options.settings().broker_url,
        workers=worker_options.workers,
        devices=worker_options.devices,
    )


def _after_interrupt(name: str, url: str | None) -> str:
    if url is None:
        return f"stopped; continue with: ip2p-batch resume {name}"
    return (
        f"no longer watching; the workers continue. Watch again with `ip2p-batch watch {name}`,"
        f" or stop the job with `ip2p-batch cancel {name}`."
    )
