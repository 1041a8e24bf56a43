"""``score``: measure the temporal consistency of an edited video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..jobs.events import Event
from ..jobs.plan import VideoChunk
from ..models import catalog
from ..settings import Settings
from . import exits, formatting
from .command import OptionGroup
from .help_format import COMPARISON, OUTPUT
from .options import ReportOptions, option
from .report import reporter_for

if TYPE_CHECKING:
    from ..evaluation.clip import ClipScores
    from ..evaluation.video import FrameScores, Score, ScoreRequest
    from ..jobs.folder import JobFolder

#: Frames that CLIP compares.
_CLIP_FRAMES = 32


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
            help="Longest side, in pixels, at which frames are compared.",
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
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The source video.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The edited video.")],
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
    """Measure flicker and consistency of an edited video against its source.

    A video without any edit gets the best warp error and flicker: compare only results that show
    the edit equally well.

    Examples:
      ip2p-batch score clip.mp4 clip-edited.mp4 --plot score.png
      ip2p-batch score clip.mp4 clip-edited.mp4 --json
    """
    from ..evaluation.plot import draw_plot

    request = _request(source, output, comparison)
    scores, frame_scores = _compare(request, report_options)
    clip_scores = _clip_scores(request, comparison) if comparison.clip is not None else None
    if plot is not None:
        draw_plot(scores, frame_scores, plot, f"{output.name} compared with {source.name}")
    if report_options.json:
        facts = msgspec.to_builtins(scores)
        facts["clip"] = msgspec.to_builtins(clip_scores) if clip_scores is not None else None
        facts["pairs"] = msgspec.to_builtins([pair._asdict() for pair in frame_scores.pairs])
        typer.echo(msgspec.json.encode(facts))
        return exits.DONE
    for line in describe(scores, clip_scores):
        typer.echo(line)
    if plot is not None:
        typer.echo(f"{plot.absolute()}: scores of each frame")
    return exits.DONE


def _request(source: Path, output: Path, comparison: ComparisonOptions) -> ScoreRequest:
    from ..evaluation.video import ScoreRequest

    folder = _job(comparison.job, output)
    request = ScoreRequest(
        source=source, output=output, size=comparison.size, first=comparison.first
    )
    return request if folder is None else _with_job(request, folder, comparison.first)


def _compare(request: ScoreRequest, report_options: ReportOptions) -> tuple[Score, FrameScores]:
    """Score the video, with progress where the output is not one JSON object."""
    from ..evaluation.video import score_video

    reporter = reporter_for(ReportOptions(quiet=report_options.quiet or report_options.json))

    def progress(done: int, total: int) -> None:
        reporter(Event(kind="planning", stage="comparing frames", done=done, total=total))

    try:
        return score_video(request, progress)
    finally:
        reporter.close()


def describe(score: Score, clip_scores: ClipScores | None) -> list[str]:
    """The scores as text."""
    seam = "-" if score.seam_ratio is None else f"{score.seam_ratio:.3f}"
    rows = [
        (
            "warp error x 1000",
            f"{score.warp_error:.3f}",
            "0 is steady, along the source's motion",
        ),
        ("  of the source", f"{score.source_warp_error:.3f}", ""),
        ("  added by the edit", f"{score.excess:+.3f}", ""),
        (
            "seam ratio",
            seam,
            f"at {formatting.plural(len(score.seams), 'chunk border')}; 1 is no seam",
        ),
        (
            "flicker (VBench)",
            f"{score.flicker:.4f}",
            f"1 is a still image; source {score.source_flicker:.4f}",
        ),
        ("SSIM to the source", f"{score.source_ssim:.3f}", "1 has the structure of the source"),
    ]
    if clip_scores is not None:
        for name, value in (
            ("CLIP: frame to frame", clip_scores.temporal_consistency),
            ("CLIP: to the caption", clip_scores.text_similarity),
            ("CLIP: direction", clip_scores.directional_similarity),
        ):
            if value is not None:
                rows.append((name, f"{value:.3f}", f"over {clip_scores.frames} frames"))
    cuts = formatting.plural(len(score.cuts), "cut")
    head = f"{score.frames} frames at {score.width}x{score.height}, {cuts}"
    return [head, "", *formatting.table(("MEASURE", "VALUE", ""), rows)]


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

    start = folder.job().source.start if first is None else first
    plan = folder.plan()
    starts = sorted(chunk.start for chunk in plan.chunks if isinstance(chunk, VideoChunk))
    return msgspec.structs.replace(
        request,
        first=start,
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
