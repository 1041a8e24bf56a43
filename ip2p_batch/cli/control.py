"""``watch``, ``pause``, ``unpause`` and ``cancel``: a job that is under way, here or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BrokerError, JobError
from ..jobs import orders
from ..jobs.registry import find_job, list_jobs
from ..jobs.status import read_status
from ..settings import Settings
from . import exits
from .options import JobArgument, ReportOptions, broker_option
from .report import reporter
from .run import report_end, report_events

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..queue.celery_executor import CeleryExecutor

#: Seconds for a follower to take up a job that is not paused any more.
_TAKEN_UP_SECONDS = 5.0

WatchedArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="JOB",
        help="A job's id, the start of it, or its folder; without it, the one that is running.",
        show_default=False,
    ),
]
LookOnOption = Annotated[
    str | None, broker_option("only look on: lost messages are not made up for")
]
HandOverOption = Annotated[
    str | None, broker_option("whoever follows the job hands it to its workers")
]


def watch(reports: ReportOptions, job: WatchedArgument = None, broker: LookOnOption = None) -> int:
    """Follow a job that runs elsewhere, or detached, as `edit` would.

    Reports and exit codes are those of `edit`. Ctrl-C ends the watching; the job goes on. The
    job folder is enough for that. With a broker, a dead worker's chunk is handed over sooner.

    Examples:
      ip2p-batch watch
      ip2p-batch watch clip-1a2b3c4d --json
      ip2p-batch watch clip --broker redis://host/0
    """
    settings = Settings.from_env()
    folder = find_job(job, settings) if job is not None else _the_running_one(settings)
    say = reporter(json=reports.json, quiet=reports.quiet)
    say.noun = folder.job().source.noun
    if folder.ended:
        say.say(f"job {folder.path.name} is finished already.")
        return report_end(folder, say)
    from .. import scheduler

    try:
        with _looking_at(broker) as executor:
            return report_events(folder, scheduler.watch_job(folder, executor, check=say.tick), say)
    except KeyboardInterrupt as stop:
        say.close()
        typer.echo("no longer watching; the job goes on.", err=True)
        return exits.interrupt_code(stop)
    finally:
        say.close()


def pause(job: JobArgument) -> int:
    """Have a job stand still until `unpause`; other jobs go on.

    Workers finish the chunks that they have in hand, so no work is lost, and take no more of this
    job. To have them drop those, too, use `cancel`.

    Examples:
      ip2p-batch pause clip-1a2b3c4d
    """
    folder = find_job(job, Settings.from_env())
    name = folder.path.name
    if folder.ended:
        typer.echo(f"Job {name} is finished; there is nothing to pause.")
    elif folder.cancelled:
        typer.echo(f"Job {name} is cancelled; `ip2p-batch resume {name}` takes it up again.")
    else:
        orders.pause(folder)
        typer.echo(f"Job {name} is paused; `ip2p-batch unpause {name}` has it go on.")
    return exits.DONE


def unpause(job: JobArgument, broker: HandOverOption = None) -> int:
    """Have a paused job go on, with the workers that it had.

    With a broker its chunks are handed over here, and nobody need follow the job. (`resume` does
    this, too, and stays to follow; without a broker it brings workers of its own.)

    Examples:
      ip2p-batch unpause clip-1a2b3c4d
      ip2p-batch unpause clip --broker redis://host/0
    """
    folder = find_job(job, Settings.from_env())
    name = folder.path.name
    if not folder.paused or folder.ended:
        typer.echo(f"Job {name} is not paused; it is {read_status(folder).state}.")
        return exits.DONE
    from .. import scheduler
    from ..queue import redis_url as brokers

    if broker:
        from ..queue.celery_executor import CeleryExecutor

        brokers.check(broker)
        with closing(CeleryExecutor(broker)) as executor:
            scheduler.unpause(folder, executor)
    else:
        scheduler.unpause(folder, None)
        _see_it_taken_up(folder)
    typer.echo(f"Job {name} goes on; `ip2p-batch watch {name}` follows it.")
    return exits.DONE


def cancel(job: JobArgument) -> int:
    """Stop a job. Finished chunks are kept, and `resume` takes it up again.

    Workers drop the chunk in hand before their next denoising step. To have them finish it,
    use `pause`.

    Examples:
      ip2p-batch cancel clip-1a2b3c4d
    """
    folder = find_job(job, Settings.from_env())
    name = folder.path.name
    if folder.ended:
        typer.echo(f"Job {name} is finished; there is nothing to cancel.")
        return exits.DONE
    orders.cancel(folder)
    typer.echo(f"Job {name} is cancelled; `ip2p-batch resume {name}` takes it up again.")
    return exits.DONE


def _the_running_one(settings: Settings) -> JobFolder:
    """The job that is at work, or else the one that is not ended.

    Raises:
        JobError: there is none, or more than one; names them.
    """
    unfinished = []
    for folder in list_jobs(settings):
        try:
            found = read_status(folder)
        except JobError as error:
            exits.warn(error.message)
            continue
        if found.state in ("waiting", "running", "paused"):
            unfinished.append((found, folder))
    running = [pair for pair in unfinished if pair[0].state == "running"]
    candidates = running or unfinished
    if len(candidates) == 1:
        return candidates[0][1]
    hint = "`ip2p-batch jobs` lists all jobs."
    if not candidates:
        raise JobError("No job is running here.", hint=hint)
    names = ", ".join(found.id for found, _ in candidates)
    what = "running" if running else "not finished"
    raise JobError(f"{len(candidates)} jobs are {what}: {names}.", hint=f"Name one; {hint}")


@contextmanager
def _looking_at(url: str | None) -> Iterator[CeleryExecutor | None]:
    """An executor for that broker; None without one, or where it does not answer."""
    if not url:
        yield None
        return
    from ..queue import redis_url
    from ..queue.celery_executor import CeleryExecutor

    try:
        redis_url.check(url)
    except BrokerError as error:
        exits.warn(f"{error.message} Lost messages are not made up for.")
        yield None
        return
    with closing(CeleryExecutor(url)) as executor:
        yield executor


def _see_it_taken_up(folder: JobFolder) -> None:
    """Wait until somebody hands the job over.

    Raises:
        BrokerError: nobody does.
    """
    end = time.monotonic() + _TAKEN_UP_SECONDS
    while not folder.is_dispatched and not folder.ended:
        if time.monotonic() >= end:
            name = folder.path.name
            raise BrokerError(
                f"Job {name} is not paused any more, but nobody hands it to workers.",
                hint=f"Give its --broker to `ip2p-batch resume {name}`, or resume it without.",
            )
        time.sleep(0.1)
