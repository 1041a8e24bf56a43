"""From what the user typed to a job and its plan: probes the source, writes nothing.

No torch is loaded here, so that a dry run is quick.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from ..errors import OutputError, RecipeError, SourceError
from ..frame import FrameTable
from ..jobs.events import Event
from ..jobs.plan import Plan
from ..jobs.spec import Encoding, Item, Job, Priority, Source
from ..media import reference_image
from ..media.images import listing
from ..media.images.codec import output_suffix
from ..media.images.formats import SUFFIXES, suffix_format
from ..media.images.naming import is_text, printable
from ..media.resize import Resize
from ..media.source import SourceKind, classify_source, file_stamp
from ..media.video import output as video_output
from ..media.video import probe
from ..media.video.timestamps import frame_range
from ..models import catalog
from ..recipe import Recipe
from .planner import plan_stills, plan_video

Report = Callable[[Event], None]


class EditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for.

    Attributes:
        output: where the result goes; None means beside the source, with ``-edited`` in the name.
        start, end: seconds from the first frame of a video; None means from / to its end.
        allow_mixed_hardware: whether workers that give other last bits may take part.
        priority: None means normal, or what an unfinished job has that is found again.
    """

    source: Path
    recipe: Recipe
    output: Path | None = None
    encoding: Encoding = Encoding()
    start: float | None = None
    end: float | None = None
    overwrite: bool = False
    allow_mixed_hardware: bool = False
    priority: Priority | None = None


class PreparedJob(msgspec.Struct, frozen=True, kw_only=True):
    """What planning found out: the job, its plan, and what the job folder will hold.

    Attributes:
        frames: presentation times of all frames of a video, sorted; None for pictures.
        items: pictures in the order of the plan's chunks, then those that cannot be edited.
        reference: the reference image as PNG; empty without one.
    """

    job: Job
    plan: Plan
    frames: FrameTable | None = None
    items: tuple[Item, ...] = ()
    reference: bytes = b""


def prepare_job(request: EditRequest, report: Report = lambda _: None) -> PreparedJob:
    """Probe the source and plan its job. Reads the source, writes nothing.

    Raises:
        SourceError: the source cannot be read, or nothing in it can be edited.
        RecipeError: an instruction is missing, or an option does not fit this source.
        OutputError: the result's container cannot hold what the source has.
    """
    request = msgspec.structs.replace(request, recipe=_located(request.recipe))
    source = request.source.expanduser().absolute()
    kind = classify_source(source)
    output = request.output or default_output(source, kind, request.encoding)
    output = output.expanduser().absolute()
    if not is_text(str(source)):
        raise SourceError(
            f"{printable(source)}: its path is not UTF-8, which job folders are written in.",
            path=printable(source),
            hint="Rename it, or the folder it is in.",
        )
    if not is_text(str(output)):
        raise OutputError(
            f"{printable(output)}: this path is not UTF-8, which job folders are written in.",
            path=printable(output),
            hint="Choose another name with -o.",
        )
    if output == source:
        raise OutputError(
            f"{output} is the source itself.", path=output, hint="Choose another name with -o."
        )
    if kind == "video":
        found = _survey_video(request, source, output, report)
    else:
        found = _survey_stills(request, source, output, kind, report)
    return _with_look(found)


def _with_look(found: PreparedJob) -> PreparedJob:
    """The survey with the picture that its frames look at, if the recipe names one."""
    recipe = found.job.recipe
    if recipe.reference_image is None:
        return found
    reference = reference_image.read_reference_image(Path(recipe.reference_image), recipe.size)
    job = msgspec.structs.replace(found.job, reference_digest=reference_image.digest(reference))
    return msgspec.structs.replace(
        found, job=_named(job), reference=reference_image.to_png(reference)
    )


def default_output(source: Path, kind: SourceKind, encoding: Encoding) -> Path:
    """``clip.mp4`` -> ``clip-edited.mp4``; ``catalog/`` -> ``catalog-edited/``."""
    if kind == "manifest":
        return source.with_name(f"{source.stem}-edited")
    if kind == "video":
        return source.with_name(
            f"{source.stem}-edited{video_output.output_suffix(source.suffix, encoding)}"
        )
    return source.with_name(f"{source.stem}-edited{source.suffix}")


def _located(recipe: Recipe) -> Recipe:
    """The recipe with full paths of model and look: workers have another working folder."""
    if recipe.reference_image is not None:
        place = Path(recipe.reference_image).expanduser().absolute()
        recipe = msgspec.structs.replace(recipe, reference_image=str(place))
    if recipe.model in catalog.BUNDLED:
        return recipe
    return msgspec.structs.replace(recipe, model=catalog.locate(recipe.model))


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


def _survey_video(request: EditRequest, path: Path, output: Path, report: Report) -> PreparedJob:
    recipe = request.recipe
    check_instruction(recipe.instruction, path.name)
    if request.encoding.format is not None:
        raise RecipeError("--format is for pictures.", hint="Use --codec for a video.")
    if output.is_dir():
        output = output / path.name

    def progress(stage: str, done: int, total: int) -> None:
        report(Event(kind="planning", stage=stage, done=done, total=total))

    index = probe.index_video(path, scenes=recipe.scenes, progress=progress)
    facts = index.facts
    warnings = [*facts.notes]
    warnings += video_output.check_output(path, output, facts, request.encoding)
    start, stop = frame_range(facts, index.pts, request.start, request.end)
    resize = Resize.of_video(facts, recipe.size)
    source = Source(path=str(path), stamp=file_stamp(path), video=facts, start=start, stop=stop)
    plan = plan_video(start, stop, index.cuts, recipe, (resize.width, resize.height), warnings)
    return PreparedJob(
        job=_job(request, source, output), plan=plan, frames=np.asarray(index.pts, dtype=np.int64)
    )


def _survey_stills(
    request: EditRequest, path: Path, output: Path, kind: SourceKind, report: Report
) -> PreparedJob:
    recipe, encoding = request.recipe, request.encoding
    if request.start is not None or request.end is not None:
        raise RecipeError("--start and --end are for videos.", hint="Leave them out.")
    report(Event(kind="planning", stage="listing pictures"))
    items = _listed(path, output, kind, encoding)
    if not items:
        raise SourceError(
            f"{path} holds no pictures.",
            path=path,
            hint="JPEG, PNG, WebP, TIFF, BMP and AVIF files are looked for, in all subfolders.",
        )
    if not recipe.instruction.strip() and not all(i.instruction or i.error for i in items):
        check_instruction("", path.name)

    def progress(stage: str, done: int, total: int) -> None:
        report(Event(kind="planning", stage=stage, done=done, total=total))

    items = listing.measure_items(items, progress=progress)
    # Before outputs are looked at: half of a job done must not make it another job.
    stamp = _stamp_items(items)
    if not request.overwrite:
        items = [_refuse_existing(item) for item in items]
    good = [item for item in items if item.error is None]
    bad = [item for item in items if item.error is not None]
    if not good and not any(item.skipped for item in bad):
        raise _nothing_to_edit(path, bad)
    resizes = [Resize.of_item(item, recipe.size) for item in good]
    plan, order = plan_stills([(r.width, r.height) for r in resizes], picture_warnings(items))
    ordered = (*(good[i] for i in order), *bad)
    source = Source(path=str(path), stamp=stamp, items=len(items))
    return PreparedJob(job=_job(request, source, output), plan=plan, items=ordered)


def _listed(path: Path, output: Path, kind: SourceKind, encoding: Encoding) -> list[Item]:
    if kind == "folder":
        return listing.find_items(path, output, format=encoding.format)
    if kind == "manifest":
        return listing.read_manifest(path, output, format=encoding.format)
    return [Item(source=str(path), output=str(_single_output(path, output, encoding)))]


def picture_warnings(items: Sequence[Item]) -> list[str]:
    """What a user should know of the pictures that are not edited, one line each."""
    skipped = sum(item.skipped for item in items)
    bad = sum(item.error is not None for item in items) - skipped
    warnings = []
    if bad:
        warnings.append(f"{bad} of {len(items)} pictures cannot be edited.")
    if skipped:
        warnings.append(f"{skipped} pictures have their output already (--overwrite redoes them).")
    return warnings


def look_again(job: Job, items: Sequence[Item]) -> list[Item]:
    """Pictures of a job as they are now, in the same order.

    One that is not to be found in its folder or list any more is given back as it was.

    Raises:
        SourceError: the folder or the list cannot be read.
    """
    path, output = Path(job.source.path), Path(job.output)
    kind = classify_source(path)
    if kind == "still":
        there = [msgspec.structs.replace(item, error=None) for item in items]
    else:
        there = _listed(path, output, kind, job.encoding)
    by_both = {(os.path.normpath(i.source), i.output): i for i in there}
    by_source = {os.path.normpath(i.source): i for i in there}
    found = []
    for item in items:
        source = os.path.normpath(item.source)
        # Of a row or a file at fault, the output may not have been known.
        now = by_both.get((source, item.output))
        if now is None and item.error is not None:
            now = by_source.get(source)
        if now is not None and not (job.recipe.instruction.strip() or now.instruction or now.error):
            now = msgspec.structs.replace(now, error="it has no instruction")
        found.append(item if now is None else now)
    measured = listing.measure_items(found)
    return measured if job.overwrite else [_refuse_existing(item) for item in measured]


def _nothing_to_edit(path: Path, bad: Sequence[Item]) -> SourceError:
    """The one picture's own reason, or the first of many."""
    if len(bad) == 1 and bad[0].source == str(path):
        return SourceError(f"{path}: {bad[0].error}.", path=path, hint="Check the file.")
    more = f", and {len(bad) - 1} others likewise" if len(bad) > 1 else ""
    return SourceError(
        f"Nothing in {path} can be edited: {bad[0].source}: {bad[0].error}{more}.",
        path=path,
        hint="Check the files named.",
    )


def _single_output(path: Path, output: Path, encoding: Encoding) -> Path:
    """The output file of one picture; a folder given as output keeps the picture's name."""
    if output.is_dir() or not output.suffix:
        return output / (path.stem + output_suffix(path, encoding))
    if suffix_format(output) is None:
        raise OutputError(
            f"{output.name}: no picture format is called {output.suffix!r}.",
            path=output,
            hint=f"Use one of: {', '.join(SUFFIXES)}.",
        )
    return output


def _refuse_existing(item: Item) -> Item:
    if item.error is None and os.path.lexists(item.output):
        why = f"{item.output} exists already (--overwrite replaces it)"
        return msgspec.structs.replace(item, error=why, skipped=True)
    return item


def _stamp_items(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(msgspec.json.encode(item))
        try:
            stat = Path(item.source).stat()
        except OSError:
            continue
        digest.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def _job(request: EditRequest, source: Source, output: Path) -> Job:
    job = Job(
        id="",
        source=source,
        recipe=request.recipe,
        output=str(output),
        encoding=request.encoding,
        overwrite=request.overwrite,
        allow_mixed_hardware=request.allow_mixed_hardware,
        priority=request.priority or "normal",
    )
    return _named(job)


def _named(job: Job) -> Job:
    """The job with its id, which is the same for the same request on the same source."""
    seed = msgspec.json.encode((job.source.path, job.output, job.fingerprint()))
    stem = re.sub(r"[^a-z0-9]+", "-", Path(job.source.path).stem.lower()).strip("-")[:24] or "job"
    return msgspec.structs.replace(job, id=f"{stem}-{hashlib.sha256(seed).hexdigest()[:8]}")
