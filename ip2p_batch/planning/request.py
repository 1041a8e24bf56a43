"""What a command requests, and the job that planning makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ..editing.lora import files as lora_files
from ..errors import RecipeError
from ..frame import FrameTable
from ..jobs.coding import Decoding, Encoding
from ..jobs.events import Event
from ..jobs.plan import Plan
from ..jobs.publications import Publication
from ..jobs.spec import Item, Job, Priority, Source
from ..media.images.listing import Listing
from ..models import catalog
from ..recipe import Recipe
from . import companions
from .hints import depth_digests
from .job_identity import size_table, tile_size
from .nets import net_digests, with_absolute_nets

Report = Callable[[Event], None]


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to edit, how, and where the result goes.

    Attributes:
        source: a video, an image sequence (``seq/f_%05d.png``), an image, a folder of images, or
            a manifest.
        output: path of the result; None means next to the source, with ``-edited`` in the name.
        start, end: seconds from the first frame of a video; None means its start or end.
        overwrite: replace an output that exists.
        allow_mixed_hardware: let workers edit whose results are not bit-identical.
        reads: files that the command reads in addition, such as the recipe file; no result
            replaces one.
        priority: None means normal, or the priority of the unfinished job that is continued.
        listing: images and videos of the source, where they were listed before; only its images
            are edited.
    """

    source: Path
    recipe: Recipe
    output: Path | None = None
    decoding: Decoding = Decoding()
    encoding: Encoding = Encoding()
    start: float | None = None
    end: float | None = None
    overwrite: bool = False
    allow_mixed_hardware: bool = False
    reads: tuple[Path, ...] = ()
    priority: Priority | None = None
    listing: Listing | None = None


class PreparedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, its plan, and what else its job folder will contain.

    Attributes:
        frames: presentation times of all frames of a video, in ticks, ascending;
            None for images.
        frame_ids: what identifies the frames in the source; None: their times.
        items: images in the order of the plan's chunks, then those that cannot be edited.
        reference: the reference image as PNG; empty without one.
        masks: those that planning made, see :mod:`ip2p_batch.masks.planned`; empty without any.
        records: of the outputs that exist; the job folder keeps them.
    """

    job: Job
    plan: Plan
    frames: FrameTable | None = None
    frame_ids: FrameTable | None = None
    items: tuple[Item, ...] = ()
    reference: bytes = b""
    masks: bytes = b""
    records: tuple[Publication, ...] = ()


def absolute_path(path: Path) -> Path:
    """An absolute path without ``..``, whose last part is the name of the file or folder."""
    path = path.expanduser()
    return path.resolve() if ".." in path.parts else path.absolute()


def check_instruction(text: str, where: str) -> None:
    """Refuse an empty instruction.

    Raises:
        RecipeError: ``text`` is empty or only white space.
    """
    if not text.strip():
        raise RecipeError(
            f"The instruction for {where} is empty.",
            hint='Say what to change, for example: ip2p-batch edit clip.mp4 "make it snow".',
        )


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Make the paths in a recipe absolute, since workers have another working folder.

    LoRAs also get the digests of their files.

    Raises:
        ModelError: a LoRA's file is not there, is no safetensors file, or is not the one whose
            digest the recipe has.
    """
    if recipe.lora:
        recipe = msgspec.structs.replace(recipe, lora=tuple(map(lora_files.pinned, recipe.lora)))
    if recipe.reference_image is not None:
        path = Path(recipe.reference_image).expanduser().absolute()
        recipe = msgspec.structs.replace(recipe, reference_image=str(path))
    recipe = with_absolute_nets(companions.with_absolute_paths(recipe))
    if recipe.model in catalog.BUNDLED:
        return recipe
    return msgspec.structs.replace(recipe, model=catalog.locate(recipe.model))


def files_read(request: EditRequest) -> list[Path | str]:
    """The files that a job reads in addition to its source."""
    reference = request.recipe.reference_image
    own = companions.files_read(request.recipe)
    return [*request.reads, *([] if reference is None else [reference]), *own]


def stage_reporter(report: Report) -> Callable[[str, int, int], None]:
    """A function of stage, done and total that reports ``planning`` events."""

    def progress(stage: str, done: int, total: int) -> None:
        report(Event(kind="planning", stage=stage, done=done, total=total))

    return progress


def planned_job(request: EditRequest, source: Source, output: Path) -> Job:
    """The job of a request, without its id, reference image, companions and masks."""
    return Job(
        id="",
        source=source,
        recipe=request.recipe,
        output=str(output),
        size_table=size_table(request.recipe),
        tile_size=tile_size(request.recipe),
        net_digests=net_digests(request.recipe),
        depth_digests=depth_digests(request.recipe),
        decoding=request.decoding,
        encoding=request.encoding,
        overwrite=request.overwrite,
        allow_mixed_hardware=request.allow_mixed_hardware,
        priority=request.priority or "normal",
    )
