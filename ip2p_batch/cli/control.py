"""``watch``, ``pause`` and ``cancel``: commands for a job that runs here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BrokerError, JobError
from ..jobs.registry import find_job, list_jobs
from ..jobs.status import read_status
from ..settings import Settings
from . import exits, terminal
from .options import JobArgument, ReportOptions, broker_option
from .report import Reporter, reporter_for
from .run import report_end, report_events

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..queue.celery_executor import CeleryExecutor

OptionalJobArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB",
        help="Id of the job, a unique start of it, or its folder; by default the running job.",
        show_default=False,
    ),
]
WatchBrokerOption = Annotated[str | None, broker_option("read the job folder only")]


def watch(
    report_options: ReportOptions,
    job: OptionalJobArgument = None,
    broker: WatchBrokerOption = None,
) -> int:
    """Follow a job that runs detached or elsewhere.

    Progress and exit codes are those of `edit`. Ctrl-C stops watching; the job continues. The job
    folder is all that `watch` needs. With a broker, it also requeues the chunks of dead workers.

    Examples:
      ip2p-batch watch
      ip2p-batch watch clip-1a2b3c4d --json
      ip2p-batch watch clip --broker redis://host/0
    """
    settings = Settings.from_env()
    folder = find_job(job, settings) if job is not None else _running_job(settings)
    reporter = reporter_for(report_options)
    reporter.noun = folder.job().source.noun
    if folder.ended:
        reporter.print_line(f"job {folder.path.name} is finished.")
        return report_end(folder, reporter)
    return watch_until_end(folder, broker, reporter)


def watch_until_end(folder: JobFolder, broker: str | None, reporter: Reporter) -> int:
    """Report on a job that another command or detached workers run; the exit code.

    Args:
        broker: URL of the broker whose lost messages are requeued; None only reads the job folder.
    """
    from .. import scheduler

    try:
        with _executor(broker) as executor:
            events = scheduler.watch_job(folder, executor, check=reporter.tick)
            return report_events(folder, events, reporter)
    except KeyboardInterrupt as stop:
        reporter.close()
        terminal.note("stopped watching; the job continues.")
        return exits.interrupt_code(stop)
    finally:
        reporter.close()


def pause(job: JobArgument) -> int:
    """Pause a job. Other jobs keep running; `resume` continues it.

    Workers finish the chunks they have started, and start no more of this job. To stop at once,
    use `cancel`.

    Examples:
      ip2p-batch pause clip-1a2b3c4d
      ip2p-batch resume clip-1a2b3c4d
    """
    folder = find_job(job, Settings.from_env())
    name = folder.path.name
    if folder.ended:
        terminal.say(f"Job {name} is finished; there is nothing to pause.")
    elif folder.cancelled:
        terminal.say(f"Job {name} is cancelled; continue with `ip2p-batch resume {name}`.")
    else:
        folder.pause()
        terminal.say(f"Job {name} is paused; continue with `ip2p-batch resume {name}`.")
    return exits.DONE


def cancel(job: JobArgument) -> int:
    """Stop a job. Finished chunks are kept; `resume` continues it.

    Workers drop unfinished chunks before their next denoising step. To let them finish those
    chunks, use `pause`.

    Examples:
      ip2p-batch cancel clip-1a2b3c4d
    """
    folder = find_job(job, Settings.from_env())
    name = folder.path.name
    if folder.ended:
        terminal.say(f"Job {name} is finished; there is nothing to cancel.")
        return exits.DONE
    folder.cancel()
    terminal.say(f"Job {name} is cancelled; continue with `ip2p-batch resume {name}`.")
    return exits.DONE


def _running_job(settings: Settings) -> JobFolder:
    """The only running job, or else the only unfinished one.

    Raises:
        JobError: there is no such job, or more than one; names them.
    """
    unfinished = []
    for folder in list_jobs(settings):
        try:
            status = read_status(folder)
        except JobError as error:
            exits.warn(error.message)
            continue
        if status.state in ("waiting", "running", "paused"):
            unfinished.append((status, folder))
    running = [pair for pair in unfinished if pair[0].state == "running"]
    candidates = running or unfinished
    if len(candidates) == 1:
        return candidates[0][1]
    hint = "`ip2p-batch jobs` lists all jobs."
    if not candidates:
        raise JobError("No job is running here.", hint=hint)
    names = ", ".join(status.id for status, _ in candidates)
    state = "running" if running else "not finished"
    raise JobError(f"{len(candidates)} jobs are {state}: {names}.", hint=f"Name one; {hint}")


@contextmanager
def _executor(url: str | None) -> Iterator[CeleryExecutor | None]:
    """An executor for that broker; None without a URL, or if the broker does not answer."""
    if not url:
        yield None
        return
    from ..queue import redis_url
    from ..queue.celery_executor import CeleryExecutor

    try:
        redis_url.check_broker(url)
    except BrokerError as error:
        exits.warn(f"{error.message} Lost messages are not requeued.")
        yield None
        return
    with closing(CeleryExecutor(url)) as executor:
        yield executor
