"""Take a job to its end, with workers of its own or with those of a broker."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import typer

from ..errors import Ip2pError, NoWorkerError
from ..jobs.events import Event
from . import exits
from .options import WorkerOptions
from .report import Reporter

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..queue.celery_executor import CeleryExecutor
    from ..queue.executor import Executor

#: Seconds for a worker to answer.
ANSWER_SECONDS = 5.0
#: Where a command's own workers write, in the job folder.
LOG = "workers.log"


def run_job(folder: JobFolder, worker_options: WorkerOptions, reporter: Reporter) -> int:
    """Do what is left of a job and report on it; the exit code.

    Without a broker, a private Redis and workers on this machine live as long as this call.

    Raises:
        BrokerError: Redis cannot be started or reached, or no worker answers.
        Ip2pError: the job cannot go on; it stays as it is.
    """
    url = worker_options.settings().broker_url
    reporter.noun = folder.job().source.noun
    if folder.result() is not None:  # every picture had its output already
        return report_end(folder, reporter)
    try:
        if url is not None:
            return _with_broker(folder, url, reporter)
        return _with_own_workers(folder, worker_options, reporter)
    except KeyboardInterrupt as stop:
        reporter.close()
        typer.echo(_how_to_go_on(folder.path.name, url), err=True)
        return exits.interrupt_code(stop)
    finally:
        reporter.close()


def report_end(folder: JobFolder, reporter: Reporter) -> int:
    """Report on a job that has ended; the exit code."""
    from .. import scheduler

    reporter(scheduler.ending(folder))
    reporter.close()
    result = scheduler.summary(folder)
    reporter.result(result)
    return exits.SOME_FAILED if result.failed else exits.DONE


def detach(folder: JobFolder, worker_options: WorkerOptions, reporter: Reporter) -> int:
    """Hand a job to the broker's workers and leave it to them; the exit code."""
    from .. import scheduler
    from ..queue import redis_url
    from ..queue.celery_executor import CeleryExecutor

    url = worker_options.settings().broker_url
    assert url is not None, "the caller has seen to that"
    redis_url.check(url)
    name, shown = folder.path.name, redis_url.redact_url(url)
    with closing(CeleryExecutor(url)) as executor:
        scheduler.submit_job(folder, executor)
        if not _answers(executor, ANSWER_SECONDS):
            exits.warn(f"no worker answers at {shown}; start one: {_start(shown)}")
    reporter.say(f"job {name} is handed over; `ip2p-batch watch {name}` follows it.")
    return exits.DONE


def _with_own_workers(folder: JobFolder, worker_options: WorkerOptions, reporter: Reporter) -> int:
    from ..queue.celery_executor import CeleryExecutor
    from ..queue.local_workers import LocalWorkers
    from ..queue.private_redis import PrivateRedis

    with (
        PrivateRedis() as redis,
        _ended_on_purpose(folder),
        LocalWorkers(
            redis.url, worker_options.workers, worker_options.devices, folder.path / LOG
        ) as workers,
        closing(CeleryExecutor(redis.url)) as executor,
    ):
        return _follow(folder, executor, reporter, workers.check)


@contextmanager
def _ended_on_purpose(folder: JobFolder) -> Iterator[None]:
    """See that what this command's workers leave, when it ends them, is not taken for a crash."""
    from ..jobs.attempts import release_all

    try:
        yield
    except KeyboardInterrupt:
        with suppress(Ip2pError, OSError):
            release_all(folder, platform.node())
        raise


def _with_broker(folder: JobFolder, url: str, reporter: Reporter) -> int:
    from ..queue import redis_url
    from ..queue.celery_executor import CeleryExecutor

    redis_url.check(url)
    with closing(CeleryExecutor(url)) as executor:
        if not _answers(executor, ANSWER_SECONDS):
            shown = redis_url.redact_url(url)
            raise NoWorkerError(
                f"No worker answers at {shown}.",
                hint=f"Start one with `{_start(shown)}`, then `ip2p-batch resume"
                f" {folder.path.name}`; or add --detach to leave it in the queue.",
                survives=f"The job stands in {folder.path}.",
            )
        return _follow(folder, executor, reporter, lambda: None)


def _start(url: str) -> str:
    return f"ip2p-batch worker --broker {url}"


def _follow(
    folder: JobFolder, executor: Executor, reporter: Reporter, check: Callable[[], object]
) -> int:
    from .. import scheduler

    def second() -> None:
        reporter.tick()
        check()

    return tell(folder, scheduler.follow_job(folder, executor, check=second), reporter)


def tell(folder: JobFolder, events: Iterable[Event], reporter: Reporter) -> int:
    """Report on a job's events and on how it ended; the exit code."""
    last: Event | None = None
    for event in events:
        if event.kind == "done":
            return report_end(folder, reporter)
        reporter(event)
        last = event
    reporter.close()
    if last is not None and last.kind == "failed":
        name, hint = (str(last.data.get(key, "")) for key in ("error", "hint"))
        log = folder.path / LOG
        if not exits.is_ours(name) and log.is_file():
            hint = f"{hint} Log: {log}".strip()
        exits.print_error(last.message, hint, "Finished chunks are kept.")
        return exits.code_named(name)
    name = folder.path.name
    exits.print_error(
        f"Job {name} was cancelled.", f"`ip2p-batch resume {name}` takes it up again."
    )
    return exits.code_named("JobCancelled")


def _answers(executor: CeleryExecutor, seconds: float) -> bool:
    """Whether a worker answers within ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        if executor.workers(enough=1):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)


def _how_to_go_on(name: str, url: str | None) -> str:
    if url is None:
        return f"stopped; go on with: ip2p-batch resume {name}"
    return (
        f"no longer watching; the workers go on. `ip2p-batch watch {name}` watches again,"
        f" `ip2p-batch cancel {name}` stops it."
    )
