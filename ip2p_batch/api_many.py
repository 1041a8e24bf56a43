"""The Python API for several sources in one call: several videos, folders with videos, mixed lists.

Arguments are those of :mod:`ip2p_batch.api`. Each video, and the images of each folder or list,
become a job of their own. The jobs run one after another on the same workers, so models are loaded
once. A job that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .api import JobHandle, Progress, SourcePath, edit_request, effective_settings
from .errors import BrokerError
from .jobs.coding import Decoding, Encoding
from .jobs.events import Event
from .jobs.folder import JobFolder
from .jobs.records import Result
from .jobs.spec import Priority
from .planning.request import PreparedJob
from .planning.sources import ForSources, prepare_jobs
from .recipe import Recipe
from .scheduler import create_jobs, read_result
from .scheduler.items import write_all_items
from .scheduler.local_run import WorkerSelection, run_all_in_process, run_jobs
from .settings import Settings

if TYPE_CHECKING:
    from .editing.editor import Editor


class ManyResults(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`edit_many` wrote, and what it could not.

    Attributes:
        results: of each job that ended, in the order of the sources.
        failed: ``(path, reason)`` of each video and each image that was not edited.
        skipped: videos and images whose output existed.
    """

    results: tuple[Result, ...]
    failed: tuple[tuple[str, str], ...] = ()
    skipped: int = 0


def edit_many(
    sources: Sequence[SourcePath],
    instruction: str | None = None,
    *,
    output: SourcePath | None = None,
    recipe: Recipe | None = None,
    workers: int | None = None,
    broker: str | None = None,
    progress: Progress | None = None,
    decoding: Decoding | None = None,
    encoding: Encoding | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
    devices: str | None = None,
    editor: Editor | None = None,
    settings: Settings | None = None,
) -> ManyResults:
    """Edit several videos, images, folders and lists, and wait for all results.

    Folders may contain videos, images, or both. The same call continues what is unfinished and
    skips what is finished.

    Args:
        sources: at least one.
        output: folder of the results, which have the names of the sources; None is next to each
            source, with ``-edited``. For a single source as for :func:`~ip2p_batch.api.edit`.
        progress: called for every event; ``event.job`` says of which job.

    Raises:
        SourceError, OutputError: the only source cannot be edited, or the output is no folder.
        RecipeError, ModelError: the recipe cannot be used.
        BrokerError: Redis cannot be started or reached, or no worker answers.
    """
    settings = effective_settings(settings, broker)
    report = progress or _ignore
    request = edit_request(
        sources[0],
        instruction,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=encoding,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    jobs = create_jobs(request, [Path(source) for source in sources], settings, report)
    if editor is not None:
        events = run_all_in_process(jobs.made, editor)
    else:
        selection = WorkerSelection(
            broker=settings.broker_url, workers=workers, devices=devices or settings.device
        )
        events = run_jobs(jobs.made, selection)
    failed = [(source.path, source.reason) for source in jobs.refused]
    results = []
    folders = {folder.path.name: folder for folder in jobs.made}
    with closing(events) as stream:
        for event in stream:
            report(event)
            if event.kind == "done":
                results.append(read_result(folders[event.job]))
                failed += results[-1].failed
            elif event.kind in ("failed", "cancelled"):
                failed.append(_failure(folders[event.job], event))
    if warning := write_all_items(jobs):
        report(Event(kind="warning", message=warning))
    skipped = len(jobs.skipped) + sum(result.skipped for result in results)
    return ManyResults(results=tuple(results), failed=tuple(failed), skipped=skipped)


def plan_many(
    sources: Sequence[SourcePath],
    instruction: str | None = None,
    *,
    output: SourcePath | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    decoding: Decoding | None = None,
    encoding: Encoding | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
) -> ForSources[PreparedJob]:
    """Plan the jobs of :func:`edit_many` without running them.

    Raises:
        Ip2pError: as for :func:`edit_many`.
    """
    request = edit_request(
        sources[0],
        instruction,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=encoding,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    return prepare_jobs(request, [Path(source) for source in sources], progress or _ignore)


def submit_many(
    sources: Sequence[SourcePath],
    instruction: str | None = None,
    *,
    output: SourcePath | None = None,
    recipe: Recipe | None = None,
    broker: str | None = None,
    progress: Progress | None = None,
    decoding: Decoding | None = None,
    encoding: Encoding | None = None,
    start: float | None = None,
    end: float | None = None,
    overwrite: bool = False,
    priority: Priority | None = None,
    settings: Settings | None = None,
) -> ForSources[JobHandle]:
    """Plan the jobs of :func:`edit_many` and enqueue them for the workers of a broker.

    Raises:
        BrokerError: there is no broker, or it cannot be reached.
        Ip2pError: as for :func:`edit_many`.
    """
    settings = effective_settings(settings, broker)
    if settings.broker_url is None:
        raise BrokerError(
            "submit_many() needs a broker.",
            hint="Pass broker='redis://host/0' or set IP2P_BROKER_URL; edit_many() needs none.",
        )
    request = edit_request(
        sources[0],
        instruction,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=encoding,
        start=start,
        end=end,
        overwrite=overwrite,
        priority=priority,
    )
    jobs = create_jobs(request, [Path(source) for source in sources], settings, progress or _ignore)
    handles = tuple(JobHandle(folder, settings) for folder in jobs.made)
    for handle in handles:
        if not handle.folder.ended:
            handle.resume()
    return ForSources(handles, jobs.refused, jobs.skipped, jobs.folder, jobs.sources)


def _failure(folder: JobFolder, event: Event) -> tuple[str, str]:
    return folder.job().source.path, event.message or "the job was cancelled"


def _ignore(event: Event) -> None:
    """Drop an event."""
