"""``score``: how steady an edited video is, in numbers and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..jobs.events import Event
from ..jobs.plan import VideoChunk
from ..models import catalog
from ..settings import Settings
from . import exits, formatting
from .help_format import COMPARISON, RESULT
from .options import ReportOptions
from .report import reporter

if TYPE_CHECKING:
    from ..evaluation.clip import ClipScores
    from ..evaluation.video import Score, ScoreRequest
    from ..jobs.folder import JobFolder

#: Frames that CLIP looks at.
_LOOKED_AT = 32


def score(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The video that was edited.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="What became of it.")],
    reports: ReportOptions,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Draw the figures over the frames, with chunk borders and cuts.",
            rich_help_panel=RESULT,
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            "--job",
            metavar="JOB",
            help="The job that made OUTPUT, for its chunk borders and cuts."
            " [default: the last one here that wrote OUTPUT]",
            rich_help_panel=COMPARISON,
            show_default=False,
        ),
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(
            "--first",
            metavar="N",
            help="Frame of SOURCE that OUTPUT begins with. [default: the job's, or 0]",
            rich_help_panel=COMPARISON,
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            "--size", metavar="PIXELS", help="Longest side compared.", rich_help_panel=COMPARISON
        ),
    ] = 512,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="MODEL",
            help="A CLIP model, hub id or folder, for similarities of meaning"
            " (openai/clip-vit-large-patch14 is the usual one).",
            rich_help_panel=COMPARISON,
            show_default=False,
        ),
    ] = None,
    caption: Annotated[
        str,
        typer.Option(
            "--caption", metavar="TEXT", help="What OUTPUT should show.", rich_help_panel=COMPARISON
        ),
    ] = "",
    source_caption: Annotated[
        str,
        typer.Option(
            "--source-caption",
            metavar="TEXT",
            help="What SOURCE shows.",
            rich_help_panel=COMPARISON,
        ),
    ] = "",
) -> int:
    """Measure how steady an edited video is, beside its source.

    Warp error and flicker reward doing nothing: read them together with what the edit changed.

    Examples:
      ip2p-batch score clip.mp4 clip-edited.mp4 --plot score.png
      ip2p-batch score clip.mp4 clip-edited.mp4 --json
    """
    from ..evaluation.plot import draw_plot
    from ..evaluation.video import ScoreRequest, score_video

    folder = _job(job, output)
    request = ScoreRequest(source=source, output=output, size=size, first=first)
    if folder is not None:
        request = _with_job(request, folder, first)
    say = reporter(json=False, quiet=reports.quiet or reports.json)
    try:
        found, frame_scores = score_video(
            request,
            lambda done, total: say(
                Event(kind="planning", stage="comparing frames", done=done, total=total)
            ),
        )
    finally:
        say.close()
    sense = None
    if clip is not None:
        sense = _clip_scores(request, clip, source_caption, caption)
    if plot is not None:
        draw_plot(found, frame_scores, plot, f"{output.name} beside {source.name}")
    if reports.json:
        facts = msgspec.to_builtins(found)
        facts["clip"] = msgspec.to_builtins(sense) if sense is not None else None
        facts["pairs"] = msgspec.to_builtins([pair._asdict() for pair in frame_scores.pairs])
        typer.echo(msgspec.json.encode(facts))
        return exits.DONE
    for line in describe(found, sense):
        typer.echo(line)
    if plot is not None:
        typer.echo(f"{plot.absolute()}: by frame")
    return exits.DONE


def describe(score: Score, sense: ClipScores | None) -> list[str]:
    """The figures for a reader."""
    seam = "-" if score.seam_ratio is None else f"{score.seam_ratio:.3f}"
    rows = [
        ("warp error x 1000", f"{score.warp_error:.3f}", "0 is steady; along the source's motion"),
        ("  the source's own", f"{score.source_warp_error:.3f}", ""),
        ("  added by the edit", f"{score.excess:+.3f}", ""),
        (
            "seam ratio",
            seam,
            f"1 is no seam; {formatting.plural(len(score.seams), 'chunk border')}",
        ),
        ("flicker (VBench)", f"{score.flicker:.4f}", f"1 is a still; source {_f(score)}"),
        ("SSIM to the source", f"{score.source_ssim:.3f}", "1 is the source's own structure"),
    ]
    if sense is not None:
        for name, value in (
            ("CLIP: frame to frame", sense.temporal_consistency),
            ("CLIP: to the caption", sense.text_similarity),
            ("CLIP: direction", sense.directional_similarity),
        ):
            if value is not None:
                rows.append((name, f"{value:.3f}", f"over {sense.frames} frames"))
    cuts = formatting.plural(len(score.cuts), "cut")
    head = f"{score.frames} frames at {score.width}x{score.height}, {cuts}"
    return [head, "", *formatting.table(("MEASURE", "VALUE", ""), rows)]


def _f(score: Score) -> str:
    return f"{score.source_flicker:.4f}"


def _job(name: str | None, output: Path) -> JobFolder | None:
    """The job that is named, or the last one on this host that wrote ``output``."""
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

    begins = folder.job().source.start if first is None else first
    plan = folder.plan()
    starts = sorted(chunk.start for chunk in plan.chunks if isinstance(chunk, VideoChunk))
    return msgspec.structs.replace(
        request,
        first=begins,
        seams=to_output_frames(starts, begins),
        cuts=to_output_frames([shot.start for shot in plan.shots], begins),
    )


def _clip_scores(request: ScoreRequest, clip: str, source_caption: str, caption: str) -> ClipScores:
    from ..evaluation.clip import compute_clip_scores
    from ..evaluation.video import sample_frames

    catalog.check_allowed(clip, None, Settings.from_env().allowed_models)
    sources, outputs = sample_frames(request, _LOOKED_AT)
    return compute_clip_scores(
        sources, outputs, model=clip, source_caption=source_caption, caption=caption
    )
