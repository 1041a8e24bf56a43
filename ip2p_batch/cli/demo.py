"""``demo``: edit the bundled clip with the bundled model, offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from . import exits, terminal
from .help_format import OUTPUT, RECIPE
from .options import ReportOptions, WorkerOptions, option
from .recipe_options import RecipeOptions, recipe_from
from .report import reporter_for
from .run import run_job

if TYPE_CHECKING:
    from ..frame import Image
    from ..jobs.folder import JobFolder
    from ..settings import Settings

FOLDER = Path(__file__).parents[1] / "demo"
INSTRUCTION = "make it winter with snow"
#: Frames on the contact sheet.
SHEET_FRAMES = 4


def demo(
    report_options: ReportOptions,
    worker_options: WorkerOptions,
    output: Annotated[
        Path,
        option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the results.",
            panel=OUTPUT,
            default="demo",
        ),
    ] = Path("demo"),
    instruction: Annotated[
        str,
        option(
            "--instruction",
            metavar="TEXT",
            help="What to change.",
            panel=RECIPE,
            default=INSTRUCTION,
        ),
    ] = INSTRUCTION,
    model: Annotated[
        str,
        option(
            "--model", "-m", metavar="MODEL", help="As for `edit`.", panel=RECIPE, default="tiny"
        ),
    ] = "tiny",
) -> int:
    """Edit the bundled clip with the bundled model: offline, about a minute on two cores.

    Writes DIR/out.mp4 and DIR/sheet.png, a contact sheet of frames before and after the edit.

    Examples:
      ip2p-batch demo
      ip2p-batch demo -o /tmp/demo --instruction "make it a sunset"
    """
    from .. import scheduler

    reporter, settings = reporter_for(report_options), worker_options.settings()
    request = scheduler.EditRequest(
        source=FOLDER / "clip.mp4",
        recipe=recipe_from(instruction, RecipeOptions(model=model)),
        output=output / "out.mp4",
        overwrite=_is_ours(output / "out.mp4", settings),
    )
    try:
        folder = scheduler.create_job(request, settings, reporter)
    finally:
        reporter.close()
    code = run_job(folder, worker_options, reporter)
    if code == exits.DONE:
        sheet = output / "sheet.png"
        draw_sheet(folder, sheet)
        if not (report_options.json or report_options.quiet):
            terminal.say(f"{sheet.absolute()}: frames before (left) and after (right)")
            for line in (FOLDER / "ATTRIBUTION.txt").read_text(encoding="utf-8").splitlines():
                terminal.say(line)
    return code


def _is_ours(path: Path, settings: Settings) -> bool:
    """Whether there is a result of an earlier demo, which the next one replaces.

    Raises:
        OutputError: there is another file.
    """
    from ..errors import OutputError
    from ..jobs.history import read_history

    path = path.expanduser().absolute()
    if not os.path.lexists(path):
        return False
    if read_history(settings, path).record_of(str(path)) is None:
        raise OutputError(
            f"{path} exists already, and is not the result of a known demo.",
            path=path,
            hint="Delete it, or choose another folder with -o.",
        )
    return True


def draw_sheet(folder: JobFolder, path: Path, count: int = SHEET_FRAMES) -> None:
    """Draw a contact sheet of ``count`` frames of a finished video job, before and after.

    Raises:
        SourceError: the source or the result cannot be read.
        OutputError: the sheet cannot be written.
    """
    from ..media import contact_sheet
    from ..media.video import probe
    from ..media.video.reader import VideoReader

    job = folder.job()
    source, facts = job.source, job.source.video
    assert facts is not None
    index = probe.index_video(Path(job.output), scenes=False)
    numbers = spread_over(source.start, source.stop, count)
    with (
        VideoReader(Path(source.path), facts, folder.frame_table(), folder.frame_ids()) as before,
        VideoReader(Path(job.output), index.facts, index.pts, index.ids) as after,
    ):
        rows: list[tuple[Image, Image]] = [
            (before.frame(n).image, after.frame(n - source.start).image) for n in numbers
        ]
    rate = facts.frame_rate[0] / facts.frame_rate[1]
    captions = [f"{number / rate:.1f} s" for number in numbers]
    contact_sheet.write_before_after(rows, path, title=job.recipe.instruction, captions=captions)


def spread_over(start: int, stop: int, count: int) -> list[int]:
    """The middles of ``count`` equal parts of ``[start, stop)``, or all of a shorter range."""
    count = min(count, stop - start)
    return [start + (2 * i + 1) * (stop - start) // (2 * count) for i in range(count)]
