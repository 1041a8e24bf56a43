"""Prepare a job: resolve paths, probe the source, plan. Reads the source and writes nothing.

Loads no torch, so that ``plan`` is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from ..errors import OutputError, RecipeError, SourceError
from ..jobs.coding import Encoding
from ..jobs.companion import MASK
from ..jobs.history import FindHistory, History, read_history
from ..jobs.results import files_of
from ..jobs.spec import Source
from ..jobs.video_facts import VideoFacts
from ..masks.planned import digest
from ..media.frames import index_frames
from ..media.images.naming import is_text, printable
from ..media.images.writer import output_suffix
from ..media.resize import Resize
from ..media.sequence import output as sequence_output
from ..media.source import SourceKind, classify_source, source_stamp
from ..media.video import animated_output, hdr
from ..media.video import output as video_output
from ..media.video.result_format import kept_bits
from ..media.video.timestamps import frame_range
from ..models import catalog
from ..models.kinds import check_scheduler
from ..settings import Settings
from ..storage.publish import path_stamp
from ..storage.sequence import is_sequence, pattern_of
from . import companions, guard
from .hints import check_hints, depth_digests
from .job_identity import named, size_table, with_reference
from .loras import check_loras
from .mask_files import planned_masks
from .nets import check_nets, net_digests, net_notes
from .planner import plan_video
from .prepare_images import prepare_images
from .repeat import options_digest
from .request import (
    EditRequest,
    PreparedJob,
    Report,
    absolute_path,
    check_instruction,
    files_read,
    planned_job,
    stage_reporter,
    with_absolute_paths,
)


def prepare_job(
    request: EditRequest,
    report: Report = lambda _: None,
    find_history: FindHistory | None = None,
    *,
    loads_nets: bool = True,
) -> PreparedJob:
    """Probe the source and plan its job. Reads the source, writes nothing.

    Args:
        report: called with ``planning`` events.
        find_history: what earlier jobs wrote; None asks the jobs of this user.
        loads_nets: False if only the hints of the control nets are needed.

    Raises:
        SourceError: the source cannot be read, or nothing in it can be edited.
        RecipeError: an instruction is missing, or an option does not fit this source.
        ModelError: the model is of a kind that is not supported, its table of edit sizes is
            damaged, or a control net or LoRA does not fit it.
        OutputError: the container of the output cannot store the source's streams.
    """
    request = msgspec.structs.replace(request, recipe=with_absolute_paths(request.recipe))
    catalog.check_supported(request.recipe.model)
    check_scheduler(catalog.family(request.recipe.model), request.recipe.scheduler)
    check_hints(request.recipe)
    if loads_nets:
        check_nets(request.recipe)
    check_loras(request.recipe)
    size_table(request.recipe)  # Reading a video takes long: a damaged table is found before.
    source = absolute_path(request.source)
    kind = classify_source(source)
    output = resolve_paths(source, kind, request)
    if kind == "video":
        return _prepare_video(request, source, output, report)
    return prepare_images(request, source, output, kind, report, find_history or own_history)


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
    if kind == "video" and is_sequence(source):
        return sequence_output.default_output(source, encoding)
    if kind == "video":
        name = video_output.output_name(source, encoding)
        return source.with_name(f"{source.stem}-edited{Path(name).suffix}")
    suffix = output_suffix(source, encoding) if kind == "still" else source.suffix
    return source.with_name(f"{source.stem}-edited{suffix}")


def _prepare_video(request: EditRequest, path: Path, output: Path, report: Report) -> PreparedJob:
    recipe = request.recipe
    check_instruction(recipe.instruction, path.name)
    if request.encoding.format is not None:
        raise RecipeError(
            "--format is for images.",
            hint="Use --codec for a video; the suffix of -o decides the format of a sequence.",
        )
    if output.is_dir() or (is_sequence(path) and not output.suffix):
        output = output / sequence_output.output_name(path, request.encoding)
    guard.check_file(guard.SourceGuard(path, output, files_read(request)), output)
    index = index_frames(
        path, decoding=request.decoding, scenes=recipe.scenes, progress=stage_reporter(report)
    )
    facts, options = index.facts, video_options(request)
    start, stop = frame_range(facts, index.pts, request.start, request.end)
    source = Source(path=str(path), stamp=source_stamp(path), video=facts, start=start, stop=stop)
    check = _check_sequence if pattern_of(output) is not None else _check_video
    encoding, notes = check(request, source, output)
    if pattern_of(output) is None:
        video_output.check_times(output, facts, index.pts[start:stop])
        notes += animated_output.timing_notes(output, facts, index.pts, start, stop)
    request = msgspec.structs.replace(request, encoding=encoding)
    warnings = [*facts.notes, *_depth_notes(facts, request), *notes, *net_notes(recipe)]
    results = list(files_of(str(output), source))
    replaces = "\n".join(map(path_stamp, results)) if request.overwrite else ""
    job, reference = with_reference(planned_job(request, source, output), [facts.upright])
    own = companions.of_video(recipe, source, index.pts)
    job = msgspec.structs.replace(job, companions=own, replaces=replaces, options=options)
    resize = Resize.of_video(facts, job.edit_size(*facts.upright))
    plan = plan_video(start, stop, index.cuts, recipe, (resize.width, resize.height), warnings)
    masks, mask_notes = planned_masks(
        recipe, source, index, plan.shots, job.companion(MASK), _mask_progress(report, source)
    )
    if masks:
        job = msgspec.structs.replace(job, mask_digest=digest(masks))
        plan = msgspec.structs.replace(plan, warnings=(*plan.warnings, *mask_notes))
    return PreparedJob(
        masks=masks,
        job=named(job),
        plan=plan,
        frames=np.asarray(index.pts, dtype=np.int64),
        frame_ids=index.ids,
        reference=reference,
    )


def _mask_progress(report: Report, source: Source) -> Callable[[int], None]:
    progress = stage_reporter(report)
    return lambda number: progress("following the mask", number - source.start, source.stop)


def _check_video(request: EditRequest, source: Source, output: Path) -> tuple[Encoding, list[str]]:
    """The encoding of a result that is a video file, and notes on what it does not hold.

    Raises:
        OutputError, RecipeError: it cannot be written as requested.
    """
    facts, requested = source.video, request.encoding
    assert facts is not None
    encoding = video_output.resolved_encoding(output, facts, requested)
    notes = video_output.alpha_notes(output, facts, requested)
    notes += hdr.check_hdr(output, facts, encoding)
    if facts.keeps_hdr and request.recipe.detail == "tiles":
        raise RecipeError(
            "--detail tiles draws in SDR and cannot keep HDR.", hint="Omit --hdr keep, or --detail."
        )
    notes += video_output.check_output(Path(source.path), output, facts, encoding)
    notes += video_output.format_notes(facts, encoding)
    notes += video_output.odd_size_notes(facts, encoding)
    notes += video_output.field_notes(facts, encoding)
    notes += video_output.caption_notes(facts, encoding)
    return encoding, notes


def _check_sequence(
    request: EditRequest, source: Source, output: Path
) -> tuple[Encoding, list[str]]:
    """As :func:`_check_video`, of a result that is an image sequence.

    Raises:
        OutputError, RecipeError: as there, or a frame would replace a file that the job reads.
    """
    facts = source.video
    assert facts is not None
    encoding = sequence_output.plan_sequence(output, facts, request.encoding)
    reads = guard.SourceGuard(Path(source.path), output, files_read(request))
    for result in files_of(str(output), source):
        guard.check_file(reads, Path(result))
    return encoding, sequence_output.sequence_notes(output, facts, encoding)


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


def own_history(output: Path) -> History:
    """What the jobs of this user have written to an output."""
    return read_history(Settings.from_env(), output)


def video_options(request: EditRequest) -> str:
    """Fingerprint of all options that determine the result of a video."""
    resolved = with_absolute_paths(request.recipe)
    recipe = msgspec.structs.replace(resolved, reference_image=None)
    files = (companions.stamps(recipe), net_digests(recipe), depth_digests(recipe))
    options = (recipe, size_table(recipe), files, request.decoding, request.encoding)
    return options_digest((options, request.start, request.end), resolved.reference_image)
