"""The outputs of jobs: which jobs write the same files, and what a stopped job has left there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import Ip2pError, JobError, OutputError
from ..jobs.activity import is_active, is_followed
from ..jobs.folder import JobFolder
from ..jobs.registry import known_jobs
from ..jobs.results import result_files, result_place
from ..jobs.spec import Item, Job
from ..settings import Settings
from ..storage.atomic import remove_temp_files
from ..storage.identity import RealPaths
from ..storage.locks import lock_file

_CREATE_LOCK = ".create.lock"
#: Workers of a command that was killed end within this time.
DYING_SECONDS = 5.0


@contextmanager
def creation_lock(settings: Settings, path: Path) -> Iterator[None]:
    """Block until no other command on this host, or on the share of ``path``, creates a job.

    Args:
        path: the folder of the new job.

    Raises:
        OutputError: the folder of all jobs cannot be written.
    """
    state = settings.state_folder()
    shared = [] if path.is_relative_to(state) else [path.parent]
    with ExitStack() as stack:
        for folder in (state, *shared):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = os.open(folder / _CREATE_LOCK, os.O_RDWR | os.O_CREAT, 0o666)
                stack.callback(os.close, file)
                lock_file(file, wait=True)
            except OSError as error:
                raise OutputError(
                    f"Jobs cannot be recorded: {folder} cannot be written: {error.strerror}.",
                    path=folder,
                    hint="Fix its permissions, or set XDG_STATE_HOME or IP2P_JOBS_DIR to another"
                    " folder.",
                ) from error
        yield


def supersede_others(
    settings: Settings, folder: JobFolder, job: Job, items: Iterable[Item]
) -> None:
    """Refuse a new job whose results another one is writing; end stopped jobs that wrote them.

    Args:
        folder: the new job's own folder, which may not exist yet.

    Raises:
        OutputError: a job that may still write has results in common; nothing was changed.
    """
    others = list(_with_common_results(settings, folder, job, items))
    for other in others:
        if _stays_active(other):
            name = other.path.name
            raise OutputError(
                f"{job.output} is being written by job {name}.",
                path=job.output,
                hint=f"Wait for its end (`ip2p-batch watch {name}`), stop it (`ip2p-batch cancel"
                f" {name}`), or choose another name with -o.",
            )
    for other in others:
        other.supersede(job.id)


def remove_parts(folder: JobFolder) -> None:
    """Delete the hidden files that killed workers of a job have left next to its results.

    Does nothing while the job may still write.
    """
    with suppress(Ip2pError, OSError):
        if not is_active(folder):
            remove_temp_files(Path(output) for output in _results(folder.job(), folder))


def require_current(folder: JobFolder) -> None:
    """Refuse to continue a job that was superseded.

    Raises:
        JobError: names the other job.
    """
    if (superseded := folder.superseded) is not None:
        name = folder.path.name
        raise JobError(
            f"Job {name} was superseded by job {superseded.by}, which writes the same results.",
            hint=f"See `ip2p-batch status {superseded.by}`; `ip2p-batch jobs --drop {name}` deletes"
            " the old one.",
        )


def _with_common_results(
    settings: Settings, folder: JobFolder, job: Job, items: Iterable[Item]
) -> Iterator[JobFolder]:
    """Unfinished jobs, except for ``folder``, that write a file which the new job writes."""
    real = RealPaths()
    ours = {real.of(output) for output in _outputs(job, items)}
    for other in known_jobs(settings, Path(job.output)):
        with suppress(Ip2pError, OSError):  # a damaged folder does not run
            if other.path == folder.path.resolve() or other.ended or other.superseded is not None:
                continue
            theirs = other.job()
            if not real.related(result_place(theirs), result_place(job)):
                continue
            if any(real.of(output) in ours for output in _results(theirs, other)):
                yield other


def _results(job: Job, folder: JobFolder) -> list[str]:
    return list(_outputs(job, () if job.source.is_video else folder.items()))


def _outputs(job: Job, items: Iterable[Item]) -> Iterator[str]:
    if job.source.is_video:
        yield from result_files(job)
    else:
        yield from (item.output for item in items if item.error is None)


def _stays_active(folder: JobFolder) -> bool:
    deadline = time.monotonic() + DYING_SECONDS
    while is_active(folder):
        if is_followed(folder) or time.monotonic() >= deadline:
            return True
        time.sleep(0.1)
    return False
