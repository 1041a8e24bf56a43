"""``edit`` and ``resume``: the commands that make pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RecipeError
from . import formatting
from .help_format import CREW
from .options import (
    PRIORITIES,
    JobArgument,
    RecipeOptions,
    ReportOptions,
    Result,
    WorkerOptions,
    recipe_from,
)
from .param_types import choice
from .report import reporter
from .run import detach, report_end, run_job

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
PriorityOption = Annotated[
    Any,  # a Priority, or None where it was not given
    typer.Option(
        "--priority",
        metavar="NAME",
        help=f"Before or after the other jobs of the broker: {', '.join(PRIORITIES)}."
        " [default: normal]",
        **choice(PRIORITIES),
        rich_help_panel=CREW,
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
        "--allow-mixed-hardware",
        help="Let workers of several kinds take part (other GPUs, torch, precision), although"
        " they round differently.",
        rich_help_panel=CREW,
    ),
]


def edit(
    source: SourceArgument,
    look: RecipeOptions,
    result: Result,
    worker_options: WorkerOptions,
    reports: ReportOptions,
    instruction: InstructionArgument = None,
    priority: PriorityOption = None,
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
      ip2p-batch edit film.mkv "make it autumn" --detach --priority low
    """
    from .. import scheduler

    if detached:
        _need_broker(worker_options)
    say = reporter(json=reports.json, quiet=reports.quiet)
    request = scheduler.EditRequest(
        source=source,
        recipe=recipe_from(instruction, look),
        output=result.output,
        encoding=result.encoding(),
        start=result.start,
        end=result.end,
        overwrite=result.overwrite,
        allow_mixed_hardware=mixed,
        priority=priority,
    )
    try:
        folder = scheduler.create_job(request, worker_options.settings(), say)
    finally:
        say.close()
    return detach(folder, worker_options, say) if detached else run_job(folder, worker_options, say)


def retry(
    job: JobArgument,
    worker_options: WorkerOptions,
    reports: ReportOptions,
    priority: PriorityOption = None,
    detached: DetachOption = False,
) -> int:
    """Do again what failed of a job, and only that: pictures mended since, chunks given up.

    What is done already is left alone, and the job's result is written anew. For a manifest, rows
    that were mended count, too; for pictures that are new, run `edit` again. A job that has not
    ended goes on with the rest of it.

    Examples:
      ip2p-batch retry catalog-1a2b3c4d
      ip2p-batch retry catalog --broker redis://host/0 --detach
    """
    from .. import scheduler

    if detached:
        _need_broker(worker_options)
    folder = scheduler.find_job(job, worker_options.settings())
    say = reporter(json=reports.json, quiet=reports.quiet)
    say.noun = folder.job().source.noun
    count = scheduler.retry_job(folder)
    if not count and folder.ended:
        say.say(f"job {folder.path.name}: there is nothing that could be done again.")
        return report_end(folder, say)
    if priority is not None:
        folder.set_priority(priority)
    say.say(f"job {folder.path.name}: {formatting.plural(count, say.noun)} to do.")
    return detach(folder, worker_options, say) if detached else run_job(folder, worker_options, say)


def resume(
    job: JobArgument,
    worker_options: WorkerOptions,
    reports: ReportOptions,
    priority: PriorityOption = None,
    detached: DetachOption = False,
    mixed: MixedOption = False,
) -> int:
    """Go on with a job that was stopped, paused, failed or cancelled.

    Chunks that have a receipt are not done again.

    Examples:
      ip2p-batch resume clip-1a2b3c4d
      ip2p-batch resume clip --broker redis://host/0
      ip2p-batch resume clip --detach --priority high
    """
    from .. import scheduler

    if detached:
        _need_broker(worker_options)
    folder = scheduler.find_job(job, worker_options.settings())
    say = reporter(json=reports.json, quiet=reports.quiet)
    if (result := folder.result()) is not None:
        say.noun = folder.job().source.noun
        failed = " `ip2p-batch retry` does again what failed." if result.failed else ""
        say.say(f"job {folder.path.name} is finished already.{failed}")
        return report_end(folder, say)
    if mixed:
        folder.permit_mixed_hardware()
    if priority is not None:
        folder.set_priority(priority)
    return detach(folder, worker_options, say) if detached else run_job(folder, worker_options, say)


def _need_broker(worker_options: WorkerOptions) -> None:
    if worker_options.settings().broker_url is None:
        raise RecipeError(
            "--detach needs a broker whose workers go on.",
            hint="Give --broker redis://host/0, or set IP2P_BROKER_URL.",
        )
