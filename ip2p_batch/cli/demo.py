"""``demo``: the whole way once, with what comes in the package: a clip, a model, no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import exits
from .help_format import LOOK, RESULT
from .options import RecipeOptions, ReportOptions, WorkerOptions, recipe_from
from .report import reporter
from .run import run_job

if TYPE_CHECKING:
    from ..frame import Image
    from ..jobs.folder import JobFolder

FOLDER = Path(__file__).parents[1] / "demo"
INSTRUCTION = "make it winter with snow"
#: Longest side at which the bundled model edits here: sharper than its default, and a minute still.
SIZE = 384
#: Frames shown on the sheet.
SHOWN = 4


def demo(
    reports: ReportOptions,
    worker_options: WorkerOptions,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the results.", rich_help_panel=RESULT
        ),
    ] = Path("demo"),
    instruction: Annotated[
        str,
        typer.Option("--instruction", metavar="TEXT", help="What to change.", rich_help_panel=LOOK),
    ] = INSTRUCTION,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", help="As for `edit`.", rich_help_panel=LOOK),
    ] = "tiny",
) -> int:
    """Edit the bundled clip with the bundled model: offline, about a minute on two cores.

    Leaves DIR/out.mp4 and DIR/sheet.png, the source beside the result.

    Examples:
      ip2p-batch demo
      ip2p-batch demo -o /tmp/demo --instruction "make it a sunset"
    """
    from .. import scheduler

    say = reporter(json=reports.json, quiet=reports.quiet)
    request = scheduler.EditRequest(
        source=FOLDER / "clip.mp4",
        recipe=recipe_from(
            instruction, RecipeOptions(model=model, size=SIZE if model == "tiny" else None)
        ),
        output=output / "out.mp4",
        overwrite=True,
    )
    try:
        folder = scheduler.create_job(request, worker_options.settings(), say)
    finally:
        say.close()
    code = run_job(folder, worker_options, say)
    if code == exits.DONE:
        sheet = output / "sheet.png"
        draw_sheet(folder, sheet)
        if not (reports.json or reports.quiet):
            typer.echo(f"{sheet.absolute()}: source left, result right")
            typer.echo((FOLDER / "ATTRIBUTION.txt").read_text(encoding="utf-8").strip())
    return code


def draw_sheet(folder: JobFolder, path: Path, shown: int = SHOWN) -> None:
    """A picture of ``shown`` frames of a finished video job, before and after.

    Raises:
        SourceError: source or result cannot be read.
        OutputError: the picture cannot be written.
    """
    from ..media import contact_sheet
    from ..media.video import probe
    from ..media.video.reader import VideoReader

    job = folder.job()
    source, facts = job.source, job.source.video
    assert facts is not None
    index = probe.index_video(Path(job.output), scenes=False)
    numbers = spread_over(source.start, source.stop, shown)
    with (
        VideoReader(Path(source.path), facts, folder.frame_table()) as before,
        VideoReader(Path(job.output), index.facts, index.pts) as after,
    ):
        rows: list[tuple[Image, Image]] = [
            (before.frame(n).image, after.frame(n - source.start).image) for n in numbers
        ]
    rate = facts.frame_rate[0] / facts.frame_rate[1]
    captions = [f"{number / rate:.1f} s" for number in numbers]
    contact_sheet.write_before_after(rows, path, title=job.recipe.instruction, captions=captions)


def spread_over(start: int, stop: int, count: int) -> list[int]:
    """The middles of ``count`` equal parts of ``[start, stop)``; fewer where it has fewer."""
    count = min(count, stop - start)
    return [start + (2 * i + 1) * (stop - start) // (2 * count) for i in range(count)]
