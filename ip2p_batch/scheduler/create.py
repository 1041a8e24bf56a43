"""Create the job folder of a request."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..editing.lora import files as lora_files
from ..errors import OutputError
from ..execution.assemble import assemble
from ..jobs.activity import claim
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..jobs.grouping import counted
from ..jobs.history import read_history
from ..jobs.plan import Plan
from ..jobs.registry import job_path, register
from ..jobs.results import result_files
from ..jobs.spec import Job
from ..models import catalog
from ..planning import nets
from ..planning.prepare import prepare_job
from ..planning.request import EditRequest, PreparedJob, Report
from ..planning.sources import ForSources, for_sources
from ..settings import Settings
from ..storage.publish import content_stamp
from .outputs import creation_lock, remove_parts, supersede_others


def create_jobs(
    request: EditRequest,
    sources: Sequence[Path],
    settings: Settings,
    report: Report = lambda _: None,
) -> ForSources[JobFolder]:
    """Plan a job for each video and each set of images in ``sources``, and write its folder.

    Raises:
        Ip2pError: as for :func:`create_job` and :func:`~ip2p_batch.planning.sources.for_sources`.
    """

    def create(part: EditRequest) -> JobFolder:
        return create_job(part, settings, report)

    return for_sources(
        request, sources, create, report, lambda output: read_history(settings, output)
    )


def create_job(
    request: EditRequest, settings: Settings, report: Report = lambda _: None
) -> JobFolder:
    """Plan a job and write its folder.

    An equal request on the same source finds its unfinished job, so that running a command again
    continues where the first run stopped.

    Raises:
        OutputError: the output exists (and ``overwrite`` is off), another job is writing it, or it
            cannot be written.
        ModelError: the model or a LoRA is not on the list of ``IP2P_ALLOWED_MODELS``, a LoRA does
            not fit the model, or the model's table of edit sizes is damaged.
        OutsideRoots: the job is for the workers of a broker, and a path is outside
            ``IP2P_ALLOWED_ROOTS``.
        SourceError, RecipeError: see :func:`~ip2p_batch.planning.prepare.prepare_job`.
    """
    catalog.check_allowed(request.recipe.model, request.recipe.revision, settings.allowed_models)
    if request.recipe.tiny_vae:
        catalog.check_tiny_vae(request.recipe.model, settings.allowed_models)
    nets.check_allowed(request.recipe, settings, roots=settings.broker_url is not None)
    for lora in request.recipe.lora:
        lora_files.check_allowed(lora, settings.allowed_models)
    prepared = prepare_job(request, report, lambda output: read_history(settings, output))
    job = prepared.job
    output = Path(job.output)
    folder = JobFolder(job_path(settings, job.id, output))
    if settings.broker_url is not None:
        paths = [job.source.path, job.output, str(folder.path.absolute())]
        paths += [companion.path for companion in job.companions]
        paths += map(str, filter(None, map(lora_files.local_file, job.recipe.lora)))
        for path in paths:
            settings.allowed_roots.allow(path)
    if (file := _single_output(prepared)) is not None:
        _check_writable(file.parent)
    else:
        _check_writable(output)
    with creation_lock(settings, folder.path):
        unfinished = _is_unfinished(folder, request)
        if file is not None and not request.overwrite:
            _check_free(job, folder if unfinished else None)
        supersede_others(settings, folder, job, prepared.items)
        folder = _write_folder(folder, prepared, request, unfinished=unfinished)
        claim(folder)
        register(settings, folder)
    remove_parts(folder)
    plan = folder.plan()
    if not plan.chunks:
        assemble(folder)  # nothing to edit, so no worker is needed
    report(
        Event(
            kind="planned",
            job=job.id,
            total=plan.frames,
            message=_planned(plan, unfinished=unfinished),
            data={"folder": str(folder.path), "resumed": unfinished},
        )
    )
    for warning in plan.warnings:
        report(Event(kind="warning", job=job.id, message=warning))
    return folder


def _write_folder(
    folder: JobFolder, prepared: PreparedJob, request: EditRequest, *, unfinished: bool
) -> JobFolder:
    if not unfinished:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder = JobFolder.create(
            folder.path,
            prepared.job,
            prepared.plan,
            frames=prepared.frames,
            frame_ids=prepared.frame_ids,
            items=prepared.items,
            reference=prepared.reference,
            masks=prepared.masks,
        )
        folder.published.inherit(prepared.records)
        return folder
    if request.overwrite and prepared.job.source.is_video:
        folder.permit_replacing(prepared.job.replaces)
    if request.allow_mixed_hardware:
        folder.permit_mixed_hardware()
    if request.priority is not None:
        folder.set_priority(request.priority)
    return folder


def _planned(plan: Plan, *, unfinished: bool) -> str:
    noun = "frame" if plan.shots else "image"
    text = f"{counted(plan.frames, noun)} in {counted(len(plan.chunks), 'chunk')}"
    if plan.shots:
        text += f" of {counted(len(plan.shots), 'shot')}"
    return f"continuing with {text}" if unfinished else text


def _is_unfinished(folder: JobFolder, request: EditRequest) -> bool:
    """Whether the job was started before and can be continued.

    Images are started anew where ``overwrite`` is new: the plan lists those that it left alone.
    """
    if not folder.exists() or folder.ended or folder.superseded is not None:
        return False
    job = folder.job()
    return job.source.is_video or job.overwrite or not request.overwrite


def _single_output(prepared: PreparedJob) -> Path | None:
    """The result of a job that has one; None where the output is a folder."""
    job, items = prepared.job, prepared.items
    alone = job.source.is_video or (len(items) == 1 and items[0].output == job.output)
    return Path(job.output) if alone else None


def _check_free(job: Job, folder: JobFolder | None) -> None:
    """Refuse a job with one result, or one sequence, if another file has the name.

    Args:
        folder: of the job, if it was started before: it may have been ended after it wrote the
            file, and before it could say so.
    """
    written = frozenset() if folder is None else folder.published.stamps()
    for output in result_files(job) if job.source.is_video else (job.output,):
        try:
            stamp = content_stamp(os.lstat(output))
        except OSError:
            continue
        if (output, stamp) not in written:
            raise OutputError(
                f"{output} exists already.",
                path=output,
                hint="Replace it with --overwrite, or choose another name with -o.",
            )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # it has no name, so that a killed command leaves no file
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}.",
            path=folder,
            hint="Choose another place with -o.",
        ) from None
