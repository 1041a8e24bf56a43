"""From a request to a planned job in its folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import OutputError
from ..execution.assemble import assemble
from ..jobs.events import Event
from ..jobs.folder import JobFolder
from ..jobs.plan import Plan
from ..jobs.registry import job_path, register
from ..models import catalog
from ..planning.prepare import EditRequest, Report, prepare_job
from ..settings import Settings


def create_job(
    request: EditRequest, settings: Settings, report: Report = lambda _: None
) -> JobFolder:
    """Plan a job and write its folder.

    The same request on the same source finds its unfinished job again, so that running a command
    twice goes on where the first run stopped.

    Raises:
        OutputError: the output exists (and ``overwrite`` is off), or cannot be written.
        ModelError: the model is not on the list of ``IP2P_ALLOWED_MODELS``.
        OutsideRoots: workers elsewhere are to do it, and ``IP2P_ALLOWED_ROOTS`` is set here as it
        is there.
        Ip2pError: whatever :func:`survey` raises.
    """
    catalog.check_allowed(request.recipe.model, request.recipe.revision, settings.allowed_models)
    if request.recipe.tiny_vae:
        catalog.check_tiny_vae(request.recipe.model, settings.allowed_models)
    found = prepare_job(request, report)
    job = found.job
    output = Path(job.output)
    folder = JobFolder(job_path(settings, job.id, output))
    if settings.broker_url is not None:
        for path in (job.source.path, job.output, folder.path.absolute()):
            settings.allowed_roots.allow(path)
    unfinished = folder.exists() and folder.result() is None
    if job.source.is_video or len(found.items) == 1:
        _check_free(output, overwrite=request.overwrite)
    _check_writable(output if not job.source.is_video and len(found.items) > 1 else output.parent)
    if not unfinished:
        shutil.rmtree(folder.path, ignore_errors=True)
        folder = JobFolder.create(
            folder.path,
            job,
            found.plan,
            frames=found.frames,
            items=found.items,
            reference=found.reference,
        )
    else:
        if request.allow_mixed_hardware:
            folder.permit_mixed_hardware()
        if request.priority is not None:
            folder.set_priority(request.priority)
    register(settings, folder)
    if not found.plan.chunks:
        assemble(folder)  # nothing is left to do: no workers are needed to say so
    report(
        Event(
            kind="planned",
            job=job.id,
            total=found.plan.frames,
            message=_planned(found.plan, unfinished=unfinished),
            data={"folder": str(folder.path), "resumed": unfinished},
        )
    )
    for warning in found.plan.warnings:
        report(Event(kind="warning", job=job.id, message=warning))
    return folder


def _planned(plan: Plan, *, unfinished: bool) -> str:
    noun = "frame" if plan.shots else "picture"
    text = f"{_count(plan.frames, noun)} in {_count(len(plan.chunks), 'chunk')}"
    if plan.shots:
        text += f" of {_count(len(plan.shots), 'shot')}"
    return f"going on with {text}" if unfinished else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _check_free(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output} exists already.",
            path=output,
            hint="Give --overwrite to replace it, or choose another name with -o.",
        )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass  # never has a name that a killed command could leave behind
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror}.",
            path=folder,
            hint="Choose another place with -o.",
        ) from None
