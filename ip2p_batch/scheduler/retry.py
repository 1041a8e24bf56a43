"""Retry what failed: images that were fixed since, and chunks that failed.

Numbers of items and ids of chunks do not change, so receipts keep their meaning. An image that is
retried gets a new chunk, and the chunk in which it failed excludes it from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import JobError
from ..jobs.activity import running_heartbeats
from ..jobs.folder import JobFolder
from ..jobs.plan import ImageRun, Plan
from ..jobs.spec import Item, Job
from ..media.resize import Resize
from ..planning.images import image_warnings, rescan
from ..planning.planner import IMAGES_PER_CHUNK
from ..recipe import Recipe
from .outputs import require_current


def retry_job(folder: JobFolder) -> int:
    """Plan the failed parts of a job again; the number of frames or images to edit now.

    Run the job afterwards with :func:`submit_job` or :func:`follow_job`. A job without failed
    parts is left as it is.

    Raises:
        JobError: workers are processing the job, or another job writes the same results since.
        SourceError: the folder or the list of images cannot be read any more.
    """
    require_current(folder)
    with folder.locked() as is_locked:
        is_running = not folder.ended and running_heartbeats(folder)
        if not is_locked or is_running:
            name = folder.path.name
            raise JobError(
                f"Workers are processing job {name}.",
                hint=f"Wait for its end (`ip2p-batch watch {name}`), or cancel it first.",
            )
        if not folder.job().source.is_video:
            _replan(folder)
        plan, finished = folder.plan(), folder.receipts.ids()
        pending = [chunk for chunk in plan.chunks if chunk.id not in finished]
        if pending:
            folder.drop_result()
        return sum(plan.frames_by_chunk.get(chunk.id, 1) for chunk in pending)


def _replan(folder: JobFolder) -> None:
    """Check failed images again, and plan chunks for those that can be edited now."""
    job, plan = folder.job(), folder.plan()
    items = list(folder.items())
    failed = _failed_images(folder, plan)
    planned = {n for c in plan.chunks for n in c.numbers}
    numbers = [
        n
        for n, item in enumerate(items)
        if not item.skipped and (n in failed or n not in planned or item.error is not None)
    ]
    rescanned = dict(zip(numbers, rescan(job, [items[n] for n in numbers]), strict=True))
    editable = {n: item for n, item in rescanned.items() if item.error is None}
    if not editable:
        return
    items = [rescanned.get(n, item) for n, item in enumerate(items)]
    folder.write_plan(
        plan.with_retried(failed, _runs(job, editable), image_warnings(items)),
        items,
    )


def _failed_images(folder: JobFolder, plan: Plan) -> dict[int, str]:
    """Numbers of the images that failed while they were edited, each with its chunk's id."""
    return {
        item.index: receipt.chunk
        for receipt in folder.receipts.all()
        for item in plan.valid_items(receipt)
        if item.error
    }


def _runs(job: Job, items: Mapping[int, Item]) -> Iterator[ImageRun]:
    """Runs of consecutive numbers whose images have one edit size and one session."""
    run: list[int] = []
    last: tuple[tuple[int, int], Recipe] = (0, 0), job.recipe
    for number in sorted(items):
        item = items[number]
        resize = Resize.of_item(item, job.edit_size(item.width, item.height))
        key = (resize.width, resize.height), item.session_recipe(job.recipe)
        if run and (number != run[-1] + 1 or key != last or len(run) == IMAGES_PER_CHUNK):
            yield _run(run, *last)
            run = []
        run.append(number)
        last = key
    if run:
        yield _run(run, *last)


def _run(numbers: Sequence[int], size: tuple[int, int], recipe: Recipe) -> ImageRun:
    return ImageRun(numbers[0], numbers[-1] + 1, size, recipe.num_inference_steps)
