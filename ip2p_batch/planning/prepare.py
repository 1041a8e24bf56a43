"""Prepare a job: resolve paths, probe the source, plan. Reads the source and writes nothing.

Loads no torch, so that ``plan`` is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from ..errors import OutputError, RecipeError, SourceError
from ..frame import FrameTable
from ..jobs.coding import Decoding, Encoding
from ..jobs.events import Event
from ..jobs.history import FindHistory, History, read_history
from ..jobs.plan import Plan
from ..jobs.publications import Publication
from ..jobs.spec import Item, Job, Priority, Source
from ..jobs.video_facts import VideoFacts
from ..media.images.listing import Listing
from ..media.images.naming import is_text, printable
from ..media.images.writer import output_suffix
from ..media.resize import Resize
from ..media.source import SourceKind, classify_source, source_stamp
from ..media.video import hdr, probe
from ..media.video import output as video_output
from ..media.video.result_format import kept_bits
from ..media.video.timestamps import frame_range
from ..models import catalog, layout
from ..recipe import Recipe
from ..settings import Settings
from ..storage.publish import path_stamp
from . import guard, images
from .job_identity import named, size_table, tile_size, with_reference
from .planner import plan_images, plan_video
from .repeat import options_digest, settle_outputs

Report = Callable[[Event], None]


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to edit, how, and where the result goes.

    Attributes:
        source: a video, an image, a folder of images, or a manifest.
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
        records: of the outputs that exist; the job folder keeps them.
    """

    job: Job
    plan: Plan
    frames: FrameTable | None = None
    frame_ids: FrameTable | None = None
    items: tuple[Item, ...] = ()
    reference: bytes = b""
    records: tuple[Publication, ...] = ()


def prepare_job(
    request: EditRequest,
    report: Report = lambda _: None,
    find_history: FindHistory | None = None,
) -> PreparedJob:
    """Probe the source and plan its job. Reads the source, writes nothing.

    Args:
        report: called with ``planning`` events.
        find_history: what earlier jobs wrote; None asks the jobs of this user.

    Raises:
        SourceError: the source cannot be read, or nothing in it can be edited.
        RecipeError: an instruction is missing, or an option does not fit this source.
        ModelError: the model is of a kind that is not supported, or its table of edit sizes is
            damaged.
        OutputError: the container of the output cannot store the source's streams.
    """
    request = msgspec.structs.replace(request, recipe=_resolve_recipe_paths(request.recipe))
    layout.check_supported(request.recipe.model)
    size_table(request.recipe)  # Reading a video takes long: a damaged table is found before.
    source = absolute_path(request.source)
    kind = classify_source(source)
    output = resolve_paths(source, kind, request)
    if kind == "video":
        return _prepare_video(request, source, output, report)
    return _prepare_images(request, source, output, kind, report, find_history or own_history)


def resolve_paths(source: Path, kind: SourceKind, request: EditRequest) -> Path:
    """The absolute output path of a request, checked together with the source's.

    Raises:
        SourceError: the path of the source is not UTF-8.
        OutputError: the output path is not UTF-8, or is the source itself.
    """
    output = absolute_path(request.output or default_output(source, kind, request.encoding))
    if not is_text(str(source)):
        raise SourceError(
            f"{printable(source)}: the path is not UTF-8, and job folders store paths as UTF-8.",
            path=printable(source),
            hint="Rename the file or its folder.",
        )
    if not is_text(str(output)):
        raise OutputError(
            f"{printable(output)}: the path is not UTF-8, and job folders store paths as UTF-8.",
            path=printable(output),
            hint="Choose another name with -o.",
        )
    guard.check_output(source, output)
    return output


def absolute_path(path: Path) -> Path:
    """An absolute path without ``..``, whose last part is the name of the file or folder."""
    path = path.expanduser()
    return path.resolve() if ".." in path.parts else path.absolute()


def default_output(source: Path, kind: SourceKind, encoding: Encoding) -> Path:
    """``clip.mp4`` -> ``clip-edited.mp4``; ``catalog/`` -> ``catalog-edited/``.

    Raises:
        OutputError: the source is the root of a file system, next to which nothing can be.
    """
    if not source.name:
        raise OutputError(
            f"{source} has no name to make one for the output from.",
            path=source,
            hint="Name a folder for the results with -o.",
        )
    if kind == "manifest":
        return source.with_name(f"{source.stem}-edited")
    if kind == "video":
        name = video_output.output_name(source, encoding)
        return source.with_name(f"{source.stem}-edited{Path(name).suffix}")
    suffix = output_suffix(source, encoding) if kind == "still" else source.suffix
    return source.with_name(f"{source.stem}-edited{suffix}")


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


def _resolve_recipe_paths(recipe: Recipe) -> Recipe:
    """Make the paths in a recipe absolute, since workers have another working folder."""
    if recipe.reference_image is not None:
        path = Path(recipe.reference_image).expanduser().absolute()
        recipe = msgspec.structs.replace(recipe, reference_image=str(path))
    if recipe.model in catalog.BUNDLED:
        return recipe
    return msgspec.structs.replace(recipe, model=catalog.locate(recipe.model))


def _prepare_video(request: EditRequest, path: Path, output: Path, report: Report) -> PreparedJob:
    recipe = request.recipe
    check_instruction(recipe.instruction, path.name)
    if request.encoding.format is not None:
        raise RecipeError("--format is for images.", hint="Use --codec for a video.")
    if output.is_dir():
        output = output / video_output.output_name(path, request.encoding)
    guard.check_file(guard.SourceGuard(path, output, _read_too(request)), output)
    index = probe.index_video(
        path, decoding=request.decoding, scenes=recipe.scenes, progress=_progress(report)
    )
    facts, options = index.facts, video_options(request)
    encoding = video_output.resolved_encoding(output, facts, request.encoding)
    transparency = video_output.alpha_notes(output, facts, request.encoding)
    request = msgspec.structs.replace(request, encoding=encoding)
    warnings = [*facts.notes, *_depth_notes(facts, request), *transparency]
    warnings += hdr.check_hdr(output, facts, encoding)
    if facts.keeps_hdr and recipe.detail == "tiles":
        raise RecipeError(
            "--detail tiles draws in SDR and cannot keep HDR.", hint="Omit --hdr keep, or --detail."
        )
    warnings += video_output.check_output(path, output, facts, encoding)
    warnings += video_output.format_notes(facts, encoding)
    warnings += video_output.odd_size_notes(facts, encoding)
    warnings += video_output.field_notes(facts, encoding)
    warnings += video_output.caption_notes(facts, encoding)
    start, stop = frame_range(facts, index.pts, request.start, request.end)
    video_output.check_times(output, facts, index.pts[start:stop])
    source = Source(path=str(path), stamp=source_stamp(path), video=facts, start=start, stop=stop)
    replaces = path_stamp(output) if request.overwrite else ""
    job, reference = with_reference(_job(request, source, output), [facts.upright])
    job = msgspec.structs.replace(job, replaces=replaces, options=options)
    resize = Resize.of_video(facts, job.edit_size(*facts.upright))
    plan = plan_video(start, stop, index.cuts, recipe, (resize.width, resize.height), warnings)
    return PreparedJob(
        job=job,
        plan=plan,
        frames=np.asarray(index.pts, dtype=np.int64),
        frame_ids=index.ids,
        reference=reference,
    )


def _depth_notes(facts: VideoFacts, request: EditRequest) -> list[str]:
    """Notes on what becomes of more than 8 bits a sample."""
    if facts.bit_depth <= 8:
        return []
    if request.recipe.detail == "edit":
        return [
            f"{facts.bit_depth}-bit video is edited in 8 bits; --detail source keeps its depth."
        ]
    bits = kept_bits(facts, request.encoding)
    note = f"The model edits {facts.bit_depth}-bit video in 8 bits; the result has {bits} bits."
    if bits > 8 and request.encoding.codec == "h264":
        note += " Few hardware players support 10-bit H.264; more support --codec hevc."
    return [note]


def _prepare_images(
    request: EditRequest,
    path: Path,
    output: Path,
    kind: SourceKind,
    report: Report,
    find_history: FindHistory,
) -> PreparedJob:
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
    items = images.without_instruction(items, recipe)
    items, stamp = images.check_images(items, _progress(report))
    files = [*_read_too(request), *(item.source for item in items)]
    items = guard.guard_items(guard.SourceGuard(path, output, files), items)
    job = _job(request, Source(path=str(path), stamp=stamp, items=len(items)), output)
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
    plan, order = plan_images(
        sizes, images.image_warnings(items, (*listed.notes, *settled.notes)), recipes
    )
    return PreparedJob(
        job=job,
        plan=plan,
        items=(*(editable[i] for i in order), *others),
        reference=reference,
        records=settled.records,
    )


def own_history(output: Path) -> History:
    """What the jobs of this user have written to an output."""
    return read_history(Settings.from_env(), output)


def video_options(request: EditRequest) -> str:
    """Fingerprint of all options that determine the result of a video."""
    resolved = _resolve_recipe_paths(request.recipe)
    recipe = msgspec.structs.replace(resolved, reference_image=None)
    options = (recipe, size_table(recipe), request.decoding, request.encoding)
    return options_digest((options, request.start, request.end), resolved.reference_image)


def _read_too(request: EditRequest) -> list[Path | str]:
    """The files that a job reads in addition to its source."""
    reference = request.recipe.reference_image
    return [*request.reads, *([] if reference is None else [reference])]


def _progress(report: Report) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        report(Event(kind="planning", stage=stage, done=done, total=total))

    return progress


def _job(request: EditRequest, source: Source, output: Path) -> Job:
    job = Job(
        id="",
        source=source,
        recipe=request.recipe,
        output=str(output),
        size_table=size_table(request.recipe),
        tile_size=tile_size(request.recipe),
        decoding=request.decoding,
        encoding=request.encoding,
        overwrite=request.overwrite,
        allow_mixed_hardware=request.allow_mixed_hardware,
        priority=request.priority or "normal",
    )
    return named(job)
