"""``score``: measure the consistency and sharpness of edited videos and images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..errors import RecipeError
from ..jobs.events import Event
from ..jobs.plan import VideoChunk
from ..models import catalog
from ..settings import Settings
from ..threads import CpuPool
from . import exits, terminal
from .command import OptionGroup
from .help_format import COMPARISON, OUTPUT
from .options import ReportOptions, option
from .report import reporter_for
from .score_text import describe_images, describe_video

if TYPE_CHECKING:
    from ..evaluation.clip import ClipScores
    from ..evaluation.video import ScoreRequest
    from ..jobs.folder import JobFolder

#: Frames that CLIP compares.
_CLIP_FRAMES = 32
#: Threads that compare single frames; each holds one frame of both videos.
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions(OptionGroup):
    """Which frames are compared, and how."""

    job: Annotated[
        str | None,
        option(
            "--job",
            metavar="JOB",
            help="The job that made OUTPUT; its chunk borders and cuts are used.",
            panel=COMPARISON,
            default="the last job here that wrote OUTPUT",
        ),
    ] = None
    first: Annotated[
        int | None,
        option(
            "--first",
            metavar="N",
            help="Frame of SOURCE that is the first of OUTPUT.",
            panel=COMPARISON,
            default="the job's, or 0",
        ),
    ] = None
    size: Annotated[
        int,
        option(
            "--size",
            metavar="PX",
            help="Longest side, in pixels, at which flicker is measured.",
            panel=COMPARISON,
            default="512",
        ),
    ] = 512
    clip: Annotated[
        str | None,
        option(
            "--clip",
            metavar="MODEL",
            help="Also compute CLIP scores with this model, a hub id or a folder, such as"
            " openai/clip-vit-large-patch14.",
            panel=COMPARISON,
        ),
    ] = None
    caption: Annotated[
        str,
        option(
            "--caption",
            metavar="TEXT",
            help="What OUTPUT shows, for CLIP scores.",
            panel=COMPARISON,
        ),
    ] = ""
    source_caption: Annotated[
        str,
        option(
            "--source-caption",
            metavar="TEXT",
            help="What SOURCE shows, for CLIP scores.",
            panel=COMPARISON,
        ),
    ] = ""


def score(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            readable=False,
            help="The source: a video, an image, a folder of images or a manifest.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", readable=False, help="The edited video or image, or the folder."
        ),
    ],
    comparison: ComparisonOptions,
    report_options: ReportOptions,
    plot: Annotated[
        Path | None,
        option(
            "--plot",
            metavar="FILE.png",
            help="Plot the scores of each frame, with chunk borders and cuts.",
            panel=OUTPUT,
        ),
    ] = None,
) -> int:
    """Measure sharpness, and flicker of videos, of an edit against its source.

    Sharpness, edge F1 and SSIM are measured at the source's full size. Options under Comparison
    and --plot are for videos.

    A video without any edit gets the best scores: compare only results that show the edit equally
    well.

    Examples:
      ip2p-batch score clip.mp4 clip-edited.mp4 --plot score.png
      ip2p-batch score clip.mp4 clip-edited.mp4 --json
      ip2p-batch score photos/ photos-edited/
    """
    from ..media.source import classify_source

    if classify_source(source) == "video":
        return _score_video(_request(source, output, comparison), comparison, report_options, plot)
    _check_options_of_images(comparison, plot)
    return _score_images(source, output, report_options)


def _score_video(
    request: ScoreRequest,
    comparison: ComparisonOptions,
    report_options: ReportOptions,
    plot: Path | None,
) -> int:
    from ..evaluation.plot import draw_plot
    from ..evaluation.video import score_video

    cpu_pool = CpuPool(min(_THREADS, os.cpu_count() or 1))
    with _progress(report_options, "comparing frames") as progress:
        scores, frame_scores = score_video(request, progress, cpu_pool)
    clip_scores = _clip_scores(request, comparison) if comparison.clip is not None else None
    if plot is not None:
        title = f"{request.output.name} compared with {request.source.name}"
        draw_plot(scores, frame_scores, plot, title)
    if report_options.json:
        facts = msgspec.to_builtins(scores)
        facts["clip"] = msgspec.to_builtins(clip_scores) if clip_scores is not None else None
        facts["pairs"] = msgspec.to_builtins([pair._asdict() for pair in frame_scores.pairs])
        terminal.say_json(facts)
        return exits.DONE
    for line in describe_video(scores, clip_scores):
        terminal.say(line)
    if plot is not None:
        terminal.say(f"{plot.absolute()}: scores of each frame")
    return exits.DONE


def _score_images(source: Path, output: Path, report_options: ReportOptions) -> int:
    from ..evaluation.images import score_images

    with _progress(report_options, "comparing images") as progress:
        scores = score_images(source, output, progress)
    if report_options.json:
        terminal.say_json(scores)
    else:
        for line in describe_images(scores):
            terminal.say(line)
    return exits.SOME_FAILED if scores.left_out else exits.DONE


def _check_options_of_images(comparison: ComparisonOptions, plot: Path | None) -> None:
    """Refuse options that need frames in an order.

    Raises:
        RecipeError: there is one.
    """
    given = {
        "--plot": plot,
        "--job": comparison.job,
        "--first": comparison.first,
        "--clip": comparison.clip,
    }
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise RecipeError(
            f"{' and '.join(names)}: only for a video, and SOURCE has images.",
            hint="Leave out the option, or give the source and the output video.",
        )


@contextmanager
def _progress(report_options: ReportOptions, stage: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, unless the output is one JSON object."""
    reporter = reporter_for(ReportOptions(quiet=report_options.quiet or report_options.json))
    try:
        yield lambda done, total: reporter(
            Event(kind="planning", stage=stage, done=done, total=total)
        )
    finally:
        reporter.close()


def _request(source: Path, output: Path, comparison: ComparisonOptions) -> ScoreRequest:
    from ..evaluation.video import ScoreRequest

    folder = _job(comparison.job, output)
    request = ScoreRequest(
        source=source, output=output, size=comparison.size, first=comparison.first
    )
    return request if folder is None else _with_job(request, folder, comparison.first)


def _job(name: str | None, output: Path) -> JobFolder | None:
    """The named job, or the last one on this host that wrote ``output``; None if neither exists."""
    from .. import scheduler
    from ..errors import JobError

    settings = Settings.from_env()
    if name is not None:
        return scheduler.find_job(name, settings)
    for folder in reversed(scheduler.list_jobs(settings)):
        try:
            if Path(folder.job().output) == output.absolute():
                return folder
        except JobError:  # a damaged folder of another job
            continue
    return None


def _with_job(request: ScoreRequest, folder: JobFolder, first: int | None) -> ScoreRequest:
    from ..evaluation.video import to_output_frames

    job = folder.job()
    start = job.source.start if first is None else first
    plan = folder.plan()
    starts = sorted(chunk.start for chunk in plan.chunks if isinstance(chunk, VideoChunk))
    return msgspec.structs.replace(
        request,
        first=start,
        decoding=job.decoding,
        seams=to_output_frames(starts, start),
        cuts=to_output_frames([shot.start for shot in plan.shots], start),
    )


def _clip_scores(request: ScoreRequest, comparison: ComparisonOptions) -> ClipScores:
    from ..evaluation.clip import compute_clip_scores
    from ..evaluation.video import sample_frames

    assert comparison.clip is not None
    catalog.check_allowed(comparison.clip, None, Settings.from_env().allowed_models)
    sources, outputs = sample_frames(request, _CLIP_FRAMES)
    return compute_clip_scores(
        sources,
        outputs,
        model=comparison.clip,
        source_caption=comparison.source_caption,
        caption=comparison.caption,
    )
