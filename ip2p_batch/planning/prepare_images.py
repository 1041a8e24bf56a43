"""Plan a job of images. Reads the headers of all images and writes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import RecipeError
from ..jobs.coding import Decoding
from ..jobs.events import Event
from ..jobs.history import FindHistory, History
from ..jobs.spec import Source
from ..media.images.listing import measure_items
from ..media.resize import Resize
from ..media.source import SourceKind
from . import companions, guard, images
from .job_identity import named, with_reference
from .nets import net_notes
from .planner import plan_images
from .repeat import settle_outputs
from .request import (
    EditRequest,
    PreparedJob,
    Report,
    check_instruction,
    files_read,
    planned_job,
    stage_reporter,
)


def prepare_images(
    request: EditRequest,
    path: Path,
    output: Path,
    kind: SourceKind,
    report: Report,
    find_history: FindHistory,
) -> PreparedJob:
    """List and measure the images of a source and plan their job.

    Args:
        path, output: absolute.
        find_history: what earlier jobs wrote to an output.

    Raises:
        SourceError: nothing in the source can be edited.
        RecipeError: an instruction is missing, or an option is for videos.
    """
    recipe = request.recipe
    if request.start is not None or request.end is not None:
        raise RecipeError("--start and --end are for videos.", hint="Omit them.")
    if request.decoding != Decoding(follow_links=request.decoding.follow_links):
        raise RecipeError(
            "--follow-links is the only option for how images are read.",
            hint="Omit the others under Source.",
        )
    report(Event(kind="planning", stage="listing images"))
    listed = request.listing
    if listed is None:
        listed = images.list_images(path, output, kind, request.encoding, request.decoding)
    items = listed.items
    if not any(item.instruction or item.error for item in items):
        check_instruction(recipe.instruction, path.name)
    items = images.without_session(images.without_instruction(items, recipe), recipe)
    items = measure_items(items, progress=stage_reporter(report))
    own, items = companions.of_items(recipe, path, kind, items)
    stamp = images.digest(items)
    files = [*files_read(request), *(item.source for item in items)]
    items = guard.guard_items(guard.SourceGuard(path, output, files), items)
    job = planned_job(request, Source(path=str(path), stamp=stamp, items=len(items)), output)
    job = msgspec.structs.replace(job, companions=own)
    job, reference = with_reference(job, [(item.width, item.height) for item in items])
    history = History() if request.overwrite else find_history(output)
    settled = settle_outputs(items, job, history, overwrite=request.overwrite)
    items = settled.items
    editable = [item for item in items if item.error is None]
    others = [item for item in items if item.error is not None]
    if not editable and not any(item.skipped for item in others):
        raise images.nothing_to_edit(path, others)
    resizes = [Resize.of_item(i, job.edit_size(i.width, i.height)) for i in editable]
    sizes = [(resize.width, resize.height) for resize in resizes]
    recipes = [item.session_recipe(recipe) for item in editable]
    notes = (*listed.notes, *settled.notes, *net_notes(recipe))
    plan, order = plan_images(sizes, images.image_warnings(items, notes), recipes)
    return PreparedJob(
        job=named(job),
        plan=plan,
        items=(*(editable[i] for i in order), *others),
        reference=reference,
        records=settled.records,
    )
