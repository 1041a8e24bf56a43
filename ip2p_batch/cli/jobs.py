"""``status`` and ``cancel``: read the job folders, ask nobody."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..settings import Settings
from . import exits, text
from .edit import JobArgument
from .layout import REPORTS

if TYPE_CHECKING:
    from ..status import JobStatus

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=REPORTS)
]


def status(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB",
            help="A job's id, the start of it, or its folder; without it, all jobs are listed.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Say how far jobs are: all of them, or one with its details.

    The answer comes from the job folders alone, so it needs neither broker nor workers.

    Examples:
      ip2p-batch status
      ip2p-batch status clip-1a2b3c4d --json
    """
    # Not through `run`, which also edits: that takes half a second to import.
    from ..errors import JobError, StorageError
    from ..registry import find_job, list_jobs
    from ..status import status as status_of

    settings = Settings.from_env()
    if job is not None:
        found = status_of(find_job(job, settings))
        _write(found) if json else _tell(details(found))
        return exits.DONE
    all_jobs = []
    for folder in list_jobs(settings):
        try:
            all_jobs.append(status_of(folder))
        except (JobError, StorageError) as error:  # one damaged folder hides no other
            exits.warn(error.message)
    if json:
        for found in all_jobs:
            _write(found)
    elif all_jobs:
        _tell(overview(all_jobs))
    else:
        typer.echo("No jobs yet; `ip2p-batch edit` makes one.")
    return exits.DONE


def cancel(job: JobArgument) -> int:
    """Stop a job. Finished chunks are kept, and `resume` takes it up again.

    Workers look for this between denoising steps.
    """
    from .. import run

    folder = run.find_job(job, Settings.from_env())
    name = folder.path.name
    if folder.result() is not None:
        typer.echo(f"Job {name} is finished; there is nothing to cancel.")
        return exits.DONE
    run.cancel(folder)
    typer.echo(f"Job {name} is cancelled; `ip2p-batch resume {name}` takes it up again.")
    return exits.DONE


def overview(jobs: list[JobStatus]) -> list[str]:
    """All jobs as a table."""
    rows = [
        (
            job.id,
            job.state,
            text.share(job.done, job.total),
            f"{job.fps:.2f}" if job.fps else "-",
            text.duration(job.eta) if job.eta is not None else "-",
            job.output,
        )
        for job in jobs
    ]
    return text.table(("JOB", "STATE", "DONE", "PER S", "TO GO", "OUTPUT"), rows)


def details(job: JobStatus) -> list[str]:
    """One job, a fact a line."""
    facts = [
        ("job", job.id),
        ("state", job.state),
        ("done", f"{text.share(job.done, job.total)} frames or pictures"),
        ("chunks", f"{job.chunks_done}/{job.chunks_total} in {text.plural(job.waves, 'wave')}"),
    ]
    if job.fps:
        to_go = f", {text.duration(job.eta)} to go" if job.eta is not None else ""
        facts.append(("pace", f"{job.fps:.2f} a second{to_go}"))
    if job.started is not None:
        began = datetime.fromtimestamp(job.started).astimezone()
        facts.append(("begun", began.isoformat(" ", "seconds")))
    facts += [("source", job.source), ("output", job.output), ("folder", job.folder)]
    if job.workers:
        who = [f"{w.host}:{w.pid} {w.device}".rstrip() for w in job.workers]
        facts.append(("workers", "\n".join(who)))
    if job.failures:
        facts.append(("failed", "\n".join(job.failures)))
    if job.state in ("waiting", "failed", "cancelled"):
        facts.append(("go on", f"ip2p-batch resume {job.id}"))
    return text.facts(facts)


def _tell(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def _write(status: JobStatus) -> None:
    sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
