"""``jobs`` and ``status``: list all jobs, or show one, from the job folders alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..settings import Settings
from . import exits, formatting, terminal
from .help_format import REPORTING

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder
    from ..jobs.items import ItemStatus
    from ..jobs.status import JobStatus

_DAY = 24 * 3600.0
#: The command that continues a job, by the job's state.
_NEXT_COMMAND = {
    "waiting": "resume",
    "running": "watch",
    "paused": "resume",
    "failed": "resume",
    "cancelled": "resume",
    "finished with failures": "retry",
}

JsonOption = Annotated[
    bool, typer.Option("--json", help="Write JSON to stdout.", rich_help_panel=REPORTING)
]


def jobs(
    clean: Annotated[
        float | None,
        typer.Option(
            "--clean",
            min=0,
            metavar="DAYS",
            help="First delete the folders of jobs that finished, or were superseded, at least this"
            " many days ago. Their results are kept.",
            rich_help_panel="Jobs",
        ),
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop",
            metavar="JOB",
            help="First delete the folder of this job, finished or not. Its results are kept.",
            show_default=False,
            rich_help_panel="Jobs",
        ),
    ] = None,
    json: JsonOption = False,
) -> int:
    """List jobs: state, progress, speed, remaining time, priority and age.

    The list has your jobs on this machine and all jobs in IP2P_JOBS_DIR, oldest first. It is read
    from the job folders, without a broker or workers. `status JOB` shows one job in detail.

    Examples:
      ip2p-batch jobs
      ip2p-batch jobs --json
      ip2p-batch jobs --clean 30
      ip2p-batch jobs --drop clip-1a2b3c4d
    """
    settings = Settings.from_env()
    if drop is not None:
        _drop(settings, drop)
    if clean is not None:
        _clean(settings, clean)
    return _list(settings, json=json)


def status(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB",
            help="Id of the job, a unique start of it, or its folder; without it, list all jobs.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        bool,
        typer.Option(
            "--items",
            help="Show the item table instead: what became of each image, or of the video.",
            rich_help_panel=REPORTING,
        ),
    ] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Write the item table as CSV to stdout. `edit` takes it as a list.",
            rich_help_panel=REPORTING,
        ),
    ] = False,
    json: JsonOption = False,
) -> int:
    """Show a job: progress, speed, workers, failures, and the command that continues it.

    It is read from the job folder, without a broker or workers.

    Examples:
      ip2p-batch status clip-1a2b3c4d
      ip2p-batch status clip --json
      ip2p-batch status catalog --items
      ip2p-batch status catalog --csv > catalog-items.csv
    """
    # Not from `scheduler`, which takes half a second to import.
    from ..jobs.registry import find_job
    from ..jobs.status import read_status

    settings = Settings.from_env()
    if job is None:
        return _list(settings, json=json)
    folder = find_job(job, settings)
    if items or csv:
        _show_items(folder, csv=csv, json=json)
        return exits.DONE
    shown = read_status(folder)
    _write(shown) if json else _print(details(shown))
    return exits.DONE


def _show_items(folder: JobFolder, *, csv: bool, json: bool) -> None:
    from ..jobs.items import read_items, write_csv

    rows = read_items(folder)
    if json:
        for row in rows:
            terminal.say_json(row)
    elif csv:
        write_csv(rows, sys.stdout, Path(folder.job().output))
    else:
        _print(item_lines(rows))


def item_lines(rows: Sequence[ItemStatus]) -> list[str]:
    """The item table as text."""
    cells = [
        (
            row.state,
            f"{row.seconds:.1f}" if row.seconds is not None else "-",
            "-" if row.seed is None else str(row.seed),
            row.recipe[:8],
            row.source,
            row.reason or row.warning or row.output,
        )
        for row in rows
    ]
    return formatting.table(("STATE", "SECONDS", "SEED", "RECIPE", "SOURCE", "RESULT"), cells)


def _list(settings: Settings, *, json: bool) -> int:
    from ..errors import JobError, StorageError
    from ..jobs.registry import list_jobs
    from ..jobs.status import read_status

    all_jobs = []
    for folder in list_jobs(settings):
        try:
            all_jobs.append(read_status(folder))
        except (JobError, StorageError) as error:  # a damaged folder must not hide the others
            exits.warn(error.message)
    if json:
        for shown in all_jobs:
            _write(shown)
    elif all_jobs:
        _print(overview(all_jobs))
    else:
        terminal.say("No jobs yet; start one with `ip2p-batch edit`.")
    return exits.DONE


def _clean(settings: Settings, days: float) -> None:
    """Delete the folders of jobs that finished or were superseded ``days`` days ago or earlier."""
    from ..errors import JobError
    from ..jobs.registry import list_jobs, remove

    before = time.time() - days * _DAY
    count = 0
    for folder in list_jobs(settings):
        try:
            result, superseded = folder.result(), folder.superseded
        except JobError:
            continue  # the list of jobs warns about it
        ended = [*([result.finished] if result else []), *([superseded.at] if superseded else [])]
        if ended and ended[0] <= before:
            remove(settings, folder)
            count += 1
    terminal.note(f"{formatting.plural(count, 'job folder')} deleted.")


def _drop(settings: Settings, name: str) -> None:
    """Delete the folder of a job.

    Raises:
        JobError: there is no such job, or it is running.
    """
    from ..errors import JobError
    from ..jobs.activity import is_active
    from ..jobs.registry import find_job, remove

    folder = find_job(name, settings)
    if is_active(folder):
        name = folder.path.name
        raise JobError(f"Job {name} is running.", hint=f"Stop it with `ip2p-batch cancel {name}`.")
    remove(settings, folder)
    typer.echo(f"Job folder {folder.path} deleted.", err=True)


def overview(jobs: list[JobStatus]) -> list[str]:
    """A table of jobs."""
    rows = [
        (
            job.id,
            job.state,
            formatting.progress(job.done, job.total),
            f"{job.fps:.2f}" if job.fps else "-",
            formatting.duration(job.eta) if job.eta is not None else "-",
            job.priority,
            formatting.age(time.time() - job.created) if job.created else "-",
            job.output,
        )
        for job in jobs
    ]
    return formatting.table(
        ("JOB", "STATE", "DONE", "PER S", "LEFT", "PRIORITY", "AGE", "OUTPUT"), rows
    )


def details(job: JobStatus) -> list[str]:
    """One job, one fact per line."""
    facts = [
        ("job", job.id),
        ("state", job.state),
        ("priority", job.priority),
        ("done", formatting.progress(job.done, job.total, job.noun)),
        (
            "chunks",
            f"{job.chunks_done}/{job.chunks_total} in {formatting.plural(job.waves, 'wave')}",
        ),
    ]
    if job.fps:
        left = f", {formatting.duration(job.eta)} left" if job.eta is not None else ""
        facts.append(("speed", f"{job.fps:.2f} per second{left}"))
    if job.started is not None:
        started = datetime.fromtimestamp(job.started).astimezone()
        facts.append(("started", started.isoformat(" ", "seconds")))
    facts += [("source", job.source)]
    if job.edit is not None:
        facts.append(("edited", formatting.edit_method(job.edit)))
    facts += [("LoRA", formatting.lora(lora)) for lora in job.loras]
    facts += [("output", job.output), ("folder", job.folder)]
    if job.workers:
        workers = [f"{w.host}:{w.pid} {w.device}".rstrip() for w in job.workers]
        facts.append(("workers", "\n".join(workers)))
    if job.compute_profile is not None:
        profile = job.compute_profile
        threads = f", {formatting.plural(profile.threads, 'thread')}" if profile.threads else ""
        summary = f"{profile.device}, {profile.dtype}{threads}, torch {profile.torch}"
        facts.append(("computed on", summary))
    if job.refused:
        facts.append(("refused", "\n".join(job.refused)))
    if job.failures:
        facts.append(("failed", "\n".join(job.failures)))
    if job.superseded_by:
        facts.append(("superseded by", job.superseded_by))
    if job.state in _NEXT_COMMAND:
        facts.append(("next", f"ip2p-batch {_NEXT_COMMAND[job.state]} {job.id}"))
    return formatting.facts(facts)


def _print(lines: list[str]) -> None:
    for line in lines:
        terminal.say(line)


def _write(status: JobStatus) -> None:
    terminal.say_json(status)
