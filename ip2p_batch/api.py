"""The Python API: edit, plan, submit, open a job.

Every function here does what the command of the same name does, with the same job folder, and
raises :class:`~ip2p_batch.errors.Ip2pError` where the command prints an error. A job that one of
them started can be followed by the other.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .errors import BrokerError, JobCancelled, JobError, JobFailed, OutputError
from .jobs.coding import Decoding, Encoding
from .jobs.events import Event
from .jobs.folder import JobFolder
from .jobs.items import ItemStatus, read_items
from .jobs.records import Result
from .jobs.registry import find_job
from .jobs.spec import Priority
from .jobs.status import JobStatus, read_status
from .planning.prepare import prepare_job
from .planning.recipes import resolve_recipe
from .planning.request import EditRequest, PreparedJob
from .queue.celery_executor import connect_executor
from .recipe import Recipe
from .scheduler import create_job, read_result, watch_job
from .scheduler.local_run import WorkerSelection, run_in_process, run_job, send_to_broker
from .settings import Settings

if TYPE_CHECKING:
    from .editing.editor import Editor
    from .queue.executor import Executor

#: Called for every event of a job, in the caller's thread.
Progress = Callable[[Event], None]
#: Path of a video, an image, a folder of images, or a CSV / JSONL list of images.
SourcePath = str | os.PathLike[str]


def edit(
    source: SourcePath,
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
) -> Result:
    """Edit a video, an image, a folder or a list of images, and wait for the result.

    The same call on the same source continues an unfinished job: finished chunks are kept.

    Args:
        source: what to edit; ``seq/f_%05d.png`` names an image sequence.
        instruction: what to change, in a sentence; None where the recipe or the list has it.
        output: file or folder of the result; None is next to the source, with ``-edited``.
        recipe: everything that determines pixels; None is the default model with its defaults.
            See :func:`~ip2p_batch.planning.recipes.recipe_for`.
        workers: local worker processes; None chooses by GPUs and cores.
        broker: URL of a Redis with workers; None is ``IP2P_BROKER_URL``, else a private Redis and
            local workers for this call.
        progress: called for every :class:`~ip2p_batch.jobs.events.Event`.
        decoding: how a source is read; None is the main stream of a video, and of a folder what
            is inside of it.
        encoding: codec, pixel format and quality of the result; None is chosen by the output's
            suffix, or is each image's own format.
        start, end: seconds from the first frame of a video; None is from its start, to its end.
        overwrite: replace an output that exists.
        devices: ``auto``, ``cpu`` or GPU numbers such as ``0,1``, for local workers.
        editor: an editor of your own; it runs in this process and no worker is started.
        settings: broker, device, folders and allowed models of this call; None reads the
            environment. Local workers read the rest (threads, timeouts) from ``IP2P_*``.

    Returns:
        What was written. ``result.failed`` lists images that could not be edited.

    Raises:
        SourceError, OutputError, RecipeError, ModelError: the job cannot start as asked.
        BrokerError: Redis cannot be started or reached, or no worker answers.
        JobFailed: a chunk failed after its retries. Finished chunks are kept.
        JobCancelled: the job was cancelled.
    """
    settings = effective_settings(settings, broker)
    request = edit_request(
        source,
        instruction,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=encoding,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    report = progress or _ignore
    folder = create_job(request, settings, report)
    if folder.result() is not None:  # every image had its output already
        return read_result(folder)
    if editor is not None:
        events = run_in_process(folder, editor)
    else:
        selection = WorkerSelection(
            broker=settings.broker_url, workers=workers, devices=devices or settings.device
        )
        events = run_job(folder, selection)
    return _result(folder, events, report)


def plan(
    source: SourcePath,
    instruction: str | None = None,
    *,
    output: SourcePath | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    decoding: Decoding | None = None,
    encoding: Encoding | None = None,
    start: float | None = None,
    end: float | None = None,
) -> PreparedJob:
    """Plan a job without running it: shots, chunks, waves, images that cannot be edited.

    Loads no model and writes nothing. Arguments as for :func:`edit`.

    Raises:
        SourceError, OutputError, RecipeError, ModelError: the job cannot start as asked.
    """
    request = edit_request(
        source,
        instruction,
        output=output,
        recipe=recipe,
        decoding=decoding,
        encoding=encoding,
        start=start,
        end=end,
    )
    return prepare_job(request, progress or _ignore)


def submit(
    source: SourcePath,
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
) -> JobHandle:
    """Plan a job, enqueue it for the workers of a broker, and return its handle at once.

    The job needs no further attention from this process: workers take it from wave to wave.
    Arguments as for :func:`edit`.

    Args:
        priority: ``high``, ``normal`` or ``low``, among the jobs of the broker.

    Raises:
        BrokerError: there is no broker, or it cannot be reached.
        SourceError, OutputError, RecipeError, ModelError: the job cannot start as asked.
    """
    settings = effective_settings(settings, broker)
    if settings.broker_url is None:
        raise BrokerError(
            "submit() needs a broker.",
            hint="Pass broker='redis://host/0' or set IP2P_BROKER_URL; edit() needs none.",
        )
    request = edit_request(
        source,
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
    handle = JobHandle(create_job(request, settings, progress or _ignore), settings)
    if not handle.folder.ended:
        handle.resume()
    return handle


def open_job(
    name: SourcePath, *, broker: str | None = None, settings: Settings | None = None
) -> JobHandle:
    """The handle of a job that exists: by id, by the start of an id, or by its folder.

    Raises:
        JobError: no job has that name, or more than one.
    """
    settings = effective_settings(settings, broker)
    return JobHandle(find_job(os.fspath(name), settings), settings)


class JobHandle:
    """A job by its folder. Reads everything from disk; made by :func:`submit`, :func:`open_job`.

    Attributes:
        folder: the job folder.
    """

    def __init__(self, folder: JobFolder, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings

    def __repr__(self) -> str:
        return f"JobHandle({str(self.folder.path)!r})"

    @property
    def id(self) -> str:
        """The job's id, as the command line shows it."""
        return self.folder.path.name

    def status(self) -> JobStatus:
        """State, progress, pace and workers at this moment.

        Raises:
            JobError: the job folder is missing or damaged.
        """
        return read_status(self.folder)

    def items(self) -> list[ItemStatus]:
        """What became of each image, or of the video: one row each, sorted by their sources.

        Raises:
            JobError: the job folder is missing or damaged.
        """
        return read_items(self.folder)

    def events(self, *, check: Callable[[], None] = lambda: None) -> Generator[Event, None, None]:
        """Yield the job's events until it is done, failed or cancelled.

        With a broker, this also repairs: chunks whose messages were lost are requeued.

        Args:
            check: called about once a second; raises to stop.
        """
        if self._settings.broker_url is None:
            yield from watch_job(self.folder, None, check=check)
            return
        with self._executor() as executor:
            yield from watch_job(self.folder, executor, check=check)

    def result(self, *, timeout: float | None = None, progress: Progress | None = None) -> Result:
        """Wait for the job to end.

        Args:
            timeout: seconds; None waits without limit.
            progress: called for every event.

        Raises:
            TimeoutError: the job has not ended in time. It continues.
            JobFailed: a chunk failed after its retries.
            JobCancelled: the job was cancelled.
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def check() -> None:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Job {self.id} has not ended within {timeout:g} s.")

        return _result(self.folder, self.events(check=check), progress or _ignore)

    def cancel(self) -> None:
        """Stop the job before its next denoising step. Finished chunks are kept."""
        self.folder.cancel()

    def pause(self) -> None:
        """Pause the job: workers finish their chunks and take no more of it."""
        self.folder.pause()

    def resume(self) -> None:
        """Enqueue what is left of a paused, cancelled, failed or new job.

        Raises:
            BrokerError: there is no broker, or it cannot be reached.
            ResumeMismatch: the source changed since the plan was made.
        """
        with self._executor() as executor:
            send_to_broker(self.folder, executor)

    def _executor(self) -> AbstractContextManager[Executor]:
        url = self._settings.broker_url
        if url is None:
            raise BrokerError(
                f"Job {self.id} was opened without a broker.",
                hint="Pass broker='redis://host/0' to open_job(), or set IP2P_BROKER_URL.",
            )
        return connect_executor(url)


def effective_settings(settings: Settings | None, broker: str | None) -> Settings:
    """The settings of a call: those given or the environment's, with this broker."""
    settings = settings or Settings.from_env()
    return settings if broker is None else dataclasses.replace(settings, broker_url=broker)


def edit_request(
    source: SourcePath,
    instruction: str | None,
    *,
    output: SourcePath | None,
    recipe: Recipe | None,
    decoding: Decoding | None,
    encoding: Encoding | None,
    start: float | None,
    end: float | None,
    overwrite: bool = False,
    priority: Priority | None = None,
) -> EditRequest:
    """The request of a call.

    Raises:
        OutputError: ``output`` is an empty text.
    """
    if output is not None and not os.fspath(output):
        raise OutputError("The output has an empty name.", hint="None chooses one.")
    recipe = resolve_recipe({}) if recipe is None else recipe
    if instruction is not None:
        recipe = msgspec.structs.replace(recipe, instruction=instruction)
    return EditRequest(
        source=Path(source),
        recipe=recipe,
        output=None if output is None else Path(output),
        decoding=decoding or Decoding(),
        encoding=encoding or Encoding(),
        start=start,
        end=end,
        overwrite=overwrite,
        priority=priority,
    )


def _result(folder: JobFolder, events: Generator[Event, None, None], report: Progress) -> Result:
    """Pass on all events and return how the job ended."""
    last: Event | None = None
    with closing(events) as stream:
        for last in stream:
            report(last)
    if last is not None and last.kind == "done":
        return read_result(folder)
    if last is not None and last.kind == "failed":
        raise JobFailed(
            last.message,
            error=str(last.data.get("error", "")),
            hint=str(last.data.get("hint", "")),
        )
    if last is not None and last.kind == "cancelled":
        raise JobCancelled(
            f"Job {folder.path.name} was cancelled.",
            hint="Run the same call again to continue it.",
            survives="Finished chunks are kept.",
        )
    raise JobError(f"The events of job {folder.path.name} ended early.")


def _ignore(event: Event) -> None:
    """Drop an event."""
