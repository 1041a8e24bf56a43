"""Find job folders: by id, by the start of an id, or by path."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from ..errors import JobError
from ..settings import Settings
from .folder import JobFolder

#: Folder of the jobs of a broker, next to their outputs.
SHARED_JOBS = ".ip2p-jobs"


def job_path(settings: Settings, job_id: str, output: Path) -> Path:
    """The folder for a new job.

    ``IP2P_JOBS_DIR`` if set; with a broker, next to the output, which the workers of other hosts
    see; else the user's state folder.
    """
    if settings.jobs_dir is not None:
        return settings.jobs_dir / job_id
    if settings.broker_url is not None:
        return output.parent / SHARED_JOBS / job_id
    return _index(settings) / job_id


def register(settings: Settings, folder: JobFolder) -> None:
    """Register a job folder, so that :func:`find_job` finds it by id on this host."""
    index = _index(settings)
    link = index / folder.path.name
    if folder.path.parent.absolute() == index.absolute():
        return
    index.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(folder.path.absolute(), target_is_directory=True)


def remove(settings: Settings, folder: JobFolder) -> None:
    """Delete a job folder and its registration."""
    shutil.rmtree(folder.path, ignore_errors=True)
    link = _index(settings) / folder.path.name
    if link.is_symlink() and not link.exists():
        link.unlink(missing_ok=True)


def list_jobs(settings: Settings) -> list[JobFolder]:
    """All jobs of this user on this host, oldest first."""
    found: dict[Path, JobFolder] = {}
    roots = [_index(settings), *([settings.jobs_dir] if settings.jobs_dir else [])]
    for root in roots:
        if not root.is_dir():
            continue
        for entry in root.iterdir():
            folder = JobFolder(entry.resolve())
            if folder.exists():
                found[folder.path] = folder
    return sorted(found.values(), key=lambda folder: folder.created)


def known_jobs(settings: Settings, output: Path) -> list[JobFolder]:
    """The jobs of :func:`list_jobs`, and those of other users or hosts next to an output.

    Their paths have no links in them.
    """
    if settings.state is None:
        return []  # a user without a home folder can plan, but not record jobs
    found = {job.path: job for job in list_jobs(settings)}
    for place in (output.parent / SHARED_JOBS, output / SHARED_JOBS):
        with suppress(OSError):
            for entry in place.iterdir():
                if (folder := JobFolder(entry.resolve())).path not in found and folder.exists():
                    found[folder.path] = folder
    return list(found.values())


def find_job(name: str, settings: Settings) -> JobFolder:
    """The job with that id, with the only id that starts so, or in that folder.

    Raises:
        JobError: no job has that name, or more than one.
    """
    if not name:
        raise JobError("The job id is empty.", hint="List your jobs with `ip2p-batch jobs`.")
    as_path = JobFolder(Path(name).expanduser())
    if as_path.exists():
        return JobFolder(as_path.path.absolute())
    jobs = list_jobs(settings)
    exact = [j for j in jobs if j.path.name == name]
    matches = exact or [j for j in jobs if j.path.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(j.path.name for j in matches)
        raise JobError(f"{name!r} matches several jobs: {names}.", hint="Give more of the id.")
    raise JobError(f"No job {name!r} on this host.", hint="List your jobs with `ip2p-batch jobs`.")


def _index(settings: Settings) -> Path:
    return settings.state_folder() / "jobs"
