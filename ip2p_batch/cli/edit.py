"""``edit`` and ``resume``: the commands that make pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError
from .drive import detach, drive, report_end
from .layout import CREW
from .options import Crew, Look, Reports, Result, recipe_from
from .report import reporter

SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT",
        help="A video, a picture, a folder of pictures, or a .csv / .jsonl list of pictures"
        " (path,instruction[,output,seed,negative_prompt]).",
    ),
]
InstructionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="INSTRUCTION",
        help="What to change, in a sentence. Not needed where the recipe file or the list has it.",
        show_default=False,
    ),
]
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, the start of it, or its folder.", show_default=False
    ),
]
DetachOption = Annotated[
    bool,
    typer.Option(
        "--detach",
        help="Hand the job to the broker's workers and return at once.",
        rich_help_panel=CREW,
    ),
]
MixedOption = Annotated[
    bool,
    typer.Option(
        "--mixed-workers",
        help="Let workers of several kinds take part (other GPUs, torch, precision), although"
        " they round differently.",
        rich_help_panel=CREW,
    ),
]


def edit(
    source: SourceArgument,
    look: Look,
    result: Result,
    crew: Crew,
    reports: Reports,
    instruction: InstructionArgument = None,
    detached: DetachOption = False,
    mixed: MixedOption = False,
) -> int:
    """Edit a video, a picture or a folder of pictures by a sentence.

    Sound, subtitles, chapters and metadata of a video are copied as they are; pictures keep
    their names, folders and formats. Ctrl-C leaves a job that `resume`, or the same command
    again, goes on with.

    Examples:
      ip2p-batch edit clip.mp4 "make it a watercolor painting" -o out.mp4
      ip2p-batch edit catalog/ "make it snow" -o edited/
      ip2p-batch edit photo.jpg "make it night" -g 9 -i 1.2 -o night.jpg
      ip2p-batch edit film.mkv --recipe look.toml --start 1:30 --end 2:00
      ip2p-batch edit list.csv -o edited/ --broker redis://host/0 --detach
    """
    from .. import run

    if detached:
        _need_broker(crew)
    say = reporter(json=reports.json, quiet=reports.quiet)
    request = run.Request(
        source=source,
        recipe=recipe_from(instruction, look),
        output=result.output,
        encoding=result.encoding(),
        start=result.start,
        end=result.end,
        overwrite=result.overwrite,
        mixed_workers=mixed,
    )
    try:
        folder = run.create(request, crew.settings(), say)
    finally:
        say.close()
    return detach(folder, crew, say) if detached else drive(folder, crew, say)


def resume(
    job: JobArgument,
    crew: Crew,
    reports: Reports,
    detached: DetachOption = False,
    mixed: MixedOption = False,
) -> int:
    """Go on with a job that was stopped, failed or cancelled.

    Chunks that have a receipt are not done again.

    Examples:
      ip2p-batch resume clip-1a2b3c4d
      ip2p-batch resume clip --broker redis://host/0
    """
    from .. import run

    if detached:
        _need_broker(crew)
    folder = run.find_job(job, crew.settings())
    say = reporter(json=reports.json, quiet=reports.quiet)
    if folder.result() is not None:
        say.noun = "frame" if folder.job().source.is_video else "picture"
        say.say(f"job {folder.path.name} is finished already.")
        return report_end(folder, say)
    if mixed:
        folder.allow_mixed_workers()
    return detach(folder, crew, say) if detached else drive(folder, crew, say)


def _need_broker(crew: Crew) -> None:
    if crew.settings().broker_url is None:
        raise RecipeError(
            "--detach needs a broker whose workers go on.",
            hint="Give --broker redis://host/0, or set IP2P_BROKER_URL.",
        )
