"""``edit``, ``resume`` and ``retry``: the commands that edit videos and images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from ..errors import RecipeError
from ..jobs.spec import Priority
from . import formatting
from .control import watch_until_end
from .help_format import WORKERS
from .inputs import InputArguments, request_from, split_arguments
from .many import GroupedWarnings, detach_jobs, run_jobs
from .media_options import OutputOptions, SourceOptions
from .options import PRIORITIES, JobArgument, ReportOptions, WorkerOptions, option
from .param_types import choice
from .recipe_options import RecipeOptions
from .report import reporter_for
from .run import detach, report_end, run_job

PriorityOption = Annotated[
    Priority | None,
    option(
        "--priority",
        metavar="NAME",
        help="Place among the jobs of one broker.",
        values=PRIORITIES,
        **choice(PRIORITIES),
        panel=WORKERS,
        default="normal",
    ),
]
DetachOption = Annotated[
    bool,
    option("--detach", help="Submit the job to the broker's workers and return.", panel=WORKERS),
]
MixedHardwareOption = Annotated[
    bool,
    option(
        "--allow-mixed-hardware",
        help="Accept workers with different GPUs, torch versions or precisions. The result is then"
        " not bit-identical from run to run.",
        panel=WORKERS,
    ),
]


def edit(
    inputs: InputArguments,
    recipe_options: RecipeOptions,
    source_options: SourceOptions,
    output_options: OutputOptions,
    worker_options: WorkerOptions,
    report_options: ReportOptions,
    priority: PriorityOption = None,
    detached: DetachOption = False,
    mixed_hardware: MixedHardwareOption = False,
) -> int:
    """Edit videos, images and folders of them with a one-sentence instruction.

    Audio, subtitles, chapters and metadata of a video are kept. Images keep their names,
    folders and formats. Several videos are edited one after another, by the same workers. Stop
    with Ctrl-C; continue with `resume`, or run the same command again. On a folder, a list or
    several videos, a command that is run again edits only what is new or changed.

    Examples:
      ip2p-batch edit clip.mp4 "make it a watercolor painting" -o out.mp4
      ip2p-batch edit catalog/ "make it snow" -o edited/
      ip2p-batch edit a.mp4 b.mov photos/ "make it snow" -o edited/
      ip2p-batch edit photo.jpg "make it night" -g 9 -i 1.2 -o night.jpg
      ip2p-batch edit film.mkv --recipe snow.toml --start 1:30 --end 2:00
      ip2p-batch edit shot/f_%05d.png "make it night" --fps 24 -o night/f_%05d.png
      ip2p-batch edit list.csv -o edited/ --broker redis://host/0 --detach
    """
    from .. import scheduler

    if detached:
        _require_broker(worker_options)
    reporter = reporter_for(report_options)
    arguments = split_arguments(inputs)
    request = request_from(arguments, recipe_options, source_options, output_options)
    request = msgspec.structs.replace(
        request, allow_mixed_hardware=mixed_hardware, priority=priority
    )
    settings = worker_options.settings()
    warnings = GroupedWarnings(reporter)
    try:
        jobs = scheduler.create_jobs(request, arguments.sources, settings, warnings)
        warnings.flush({f.path.name: Path(f.job().source.path).name for f in jobs.made})
    finally:
        reporter.close()
    if not jobs.is_single:
        run = detach_jobs if detached else run_jobs
        return run(jobs, worker_options, reporter)
    (folder,) = jobs.made
    if detached:
        return detach(folder, worker_options, reporter)
    return run_job(folder, worker_options, reporter)


def retry(
    job: JobArgument,
    worker_options: WorkerOptions,
    report_options: ReportOptions,
    priority: PriorityOption = None,
    detached: DetachOption = False,
) -> int:
    """Edit the failed images and chunks of a job again, and nothing else.

    Use it after you fix the images, or the rows of the list, that failed. Finished work is
    kept, and the job's result is updated. For new images, run `edit` again. If the job has not
    ended, its remaining chunks are edited, too.

    Examples:
      ip2p-batch retry catalog-1a2b3c4d
      ip2p-batch retry catalog --broker redis://host/0 --detach
    """
    from .. import scheduler

    if detached:
        _require_broker(worker_options)
    folder = scheduler.find_job(job, worker_options.settings())
    reporter = reporter_for(report_options)
    reporter.noun = folder.job().source.noun
    count = scheduler.retry_job(folder)
    if not count and folder.ended:
        reporter.print_line(f"job {folder.path.name}: no failed {reporter.noun}s can be retried.")
        return report_end(folder, reporter)
    if priority is not None:
        folder.set_priority(priority)
    reporter.print_line(
        f"job {folder.path.name}: {formatting.plural(count, reporter.noun)} to edit."
    )
    if detached:
        return detach(folder, worker_options, reporter)
    return run_job(folder, worker_options, reporter)


def resume(
    job: JobArgument,
    worker_options: WorkerOptions,
    report_options: ReportOptions,
    priority: PriorityOption = None,
    detached: DetachOption = False,
    mixed_hardware: MixedHardwareOption = False,
) -> int:
    """Continue a job that was stopped or paused, failed, or was cancelled.

    Finished chunks are kept. If the command that started a paused job is still running, that
    command continues the job with its own workers, and `resume` only follows it.

    Examples:
      ip2p-batch resume clip-1a2b3c4d
      ip2p-batch resume clip --broker redis://host/0
      ip2p-batch resume clip --detach --priority high
    """
    from .. import scheduler

    if detached:
        _require_broker(worker_options)
    folder = scheduler.find_job(job, worker_options.settings())
    reporter = reporter_for(report_options)
    reporter.noun = folder.job().source.noun
    if (result := folder.result()) is not None:
        failed = " Edit what failed again with `ip2p-batch retry`." if result.failed else ""
        reporter.print_line(f"job {folder.path.name} is finished.{failed}")
        return report_end(folder, reporter)
    if mixed_hardware:
        folder.permit_mixed_hardware()
    if priority is not None:
        folder.set_priority(priority)
    if detached:
        return detach(folder, worker_options, reporter)
    if folder.paused and scheduler.continue_paused(folder):
        return watch_until_end(folder, None, reporter)
    return run_job(folder, worker_options, reporter)


def _require_broker(worker_options: WorkerOptions) -> None:
    if worker_options.settings().broker_url is None:
        raise RecipeError(
            "--detach needs a broker with workers.",
            hint="Give --broker redis://host/0, or set IP2P_BROKER_URL.",
        )
