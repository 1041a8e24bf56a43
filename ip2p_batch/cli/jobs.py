"""``jobs`` and ``status``: all jobs, or one; read from the job folders, nobody is asked."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..settings import Settings
from . import exits, formatting
from .help_format import REPORTS

if TYPE_CHECKING:
    from ..jobs.status import JobStatus

_DAY = 24 * 3600.0
#: By state: the command that takes a job further.
_GO_ON = {
    "waiting": "resume",
    "running": "watch",
    "paused": "unpause",
    "failed": "resume",
    "cancelled": "resume",
    "finished with failures": "retry",
}

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON on stdout.", rich_help_panel=REPORTS)
]


def jobs(
    clean: Annotated[
        float | None,
        typer.Option(
            "--clean",
            min=0,
            metavar="DAYS",
            help="Delete the folders of jobs that finished so many days ago or longer; their"
            " results stay.",
            rich_help_panel="Jobs",
        ),
    ] = None,
    json: JsonOption = False,
) -> int:
    """List jobs: state, how much is done, pace, time to go, priority and age.

    All of this user's on this machine, and those in IP2P_JOBS_DIR, oldest first. Reads only
    the job folders: needs no broker and no workers. `status JOB` shows one job in detail.

    Examples:
      ip2p-batch jobs
      ip2p-batch jobs --json
      ip2p-batch jobs --clean 30
    """
    settings = Settings.from_env()
    if clean is not None:
        _clean(settings, clean)
    return _list(settings, json=json)


def status(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB",
            help="A job's id, the start of it, or its folder; without it, as `jobs`.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Say how far a job is: chunks, workers, failures, and how to go on with it.

    The answer comes from the job folder alone, so it needs neither broker nor workers.

    Examples:
      ip2p-batch status clip-1a2b3c4d
      ip2p-batch status clip --json
    """
    # Not through `run`, which also edits: that takes half a second to import.
    from ..jobs.registry import find_job
    from ..jobs.status import read_status as status_of

    settings = Settings.from_env()
    if job is None:
        return _list(settings, json=json)
    found = status_of(find_job(job, settings))
    _write(found) if json else _tell(details(found))
    return exits.DONE


def _list(settings: Settings, *, json: bool) -> int:
    from ..errors import JobError, StorageError
    from ..jobs.registry import list_jobs
    from ..jobs.status import read_status as status_of

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


def _clean(settings: Settings, days: float) -> None:
    """Delete folders of jobs that finished long ago."""
    from ..errors import JobError
    from ..jobs.registry import list_jobs, remove

    before = time.time() - days * _DAY
    count = 0
    for folder in list_jobs(settings):
        try:
            result = folder.result()
        except JobError:
            continue  # the list below says so
        if result is not None and result.finished <= before:
            remove(settings, folder)
            count += 1
    typer.echo(f"{formatting.plural(count, 'job folder')} deleted.", err=True)


def overview(jobs: list[JobStatus]) -> list[str]:
    """All jobs as a table."""
    rows = [
        (
            job.id,
            job.state,
            formatting.share(job.done, job.total),
            f"{job.fps:.2f}" if job.fps else "-",
            formatting.duration(job.eta) if job.eta is not None else "-",
            job.priority,
            formatting.age(time.time() - job.created) if job.created else "-",
            job.output,
        )
        for job in jobs
    ]
    return formatting.table(
        ("JOB", "STATE", "DONE", "PER S", "TO GO", "PRIORITY", "AGE", "OUTPUT"), rows
    )


def details(job: JobStatus) -> list[str]:
    """One job, a fact a line."""
    facts = [
        ("job", job.id),
        ("state", job.state),
        ("priority", job.priority),
        ("done", f"{formatting.share(job.done, job.total)} frames or pictures"),
        (
            "chunks",
            f"{job.chunks_done}/{job.chunks_total} in {formatting.plural(job.waves, 'wave')}",
        ),
    ]
    if job.fps:
        to_go = f", {formatting.duration(job.eta)} to go" if job.eta is not None else ""
        facts.append(("pace", f"{job.fps:.2f} a second{to_go}"))
    if job.started is not None:
        began = datetime.fromtimestamp(job.started).astimezone()
        facts.append(("begun", began.isoformat(" ", "seconds")))
    facts += [("source", job.source), ("output", job.output), ("folder", job.folder)]
    if job.workers:
        who = [f"{w.host}:{w.pid} {w.device}".rstrip() for w in job.workers]
        facts.append(("workers", "\n".join(who)))
    if job.compute_profile is not None:
        kind = job.compute_profile
        threads = f", {formatting.plural(kind.threads, 'thread')}" if kind.threads else ""
        facts.append(("bits of", f"{kind.device}, {kind.dtype}{threads}, torch {kind.torch}"))
    if job.refused:
        facts.append(("refused", "\n".join(job.refused)))
    if job.failures:
        facts.append(("failed", "\n".join(job.failures)))
    if job.state in _GO_ON:
        facts.append(("go on", f"ip2p-batch {_GO_ON[job.state]} {job.id}"))
    return formatting.facts(facts)


def _tell(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def _write(status: JobStatus) -> None:
    sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
