"""Do again what failed, and only that: pictures that were mended, chunks that were given up.

Numbers of items and ids of chunks stay, so that receipts keep their meaning. A picture that is
tried again gets a chunk of its own beside the one that failed at it, which leaves it out from
now on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import JobError
from ..jobs.attempts import live_heartbeats
from ..jobs.folder import JobFolder
from ..jobs.plan import Plan
from ..jobs.spec import Item
from ..media.resize import Resize
from ..planning.planner import STILLS_PER_CHUNK
from ..planning.prepare import look_again, picture_warnings


def retry_job(folder: JobFolder) -> int:
    """Plan anew what failed of a job; the frames or pictures that are to be done now.

    Afterwards the job is one to be taken up, as after a stop: :func:`submit` or :func:`follow`.
    Where there is nothing to do again, it is left as it is.

    Raises:
        JobError: workers are at it now.
        SourceError: the folder or the list of the pictures cannot be read any more.
    """
    with folder.locked() as mine:
        if not mine or (not folder.ended and live_heartbeats(folder, folder.receipts.ids())):
            name = folder.path.name
            raise JobError(
                f"Workers are at job {name} now.",
                hint=f"Wait for its end (`ip2p-batch watch {name}`), or cancel it first.",
            )
        if not folder.job().source.is_video:
            _plan_again(folder)
        plan, done = folder.plan(), folder.receipts.ids()
        open_ = [chunk for chunk in plan.chunks if chunk.id not in done]
        if open_:
            folder.drop_result()
        return sum(plan.frames_by_chunk.get(chunk.id, 1) for chunk in open_)


def _plan_again(folder: JobFolder) -> None:
    """Look at the pictures that failed once more, and plan chunks for those that may be edited."""
    job, plan = folder.job(), folder.plan()
    items = list(folder.items())
    failed_at = _failed_in_work(folder, plan)
    planned = {n for c in plan.chunks for n in c.numbers}
    left = [
        n
        for n, item in enumerate(items)
        if not item.skipped and (n in failed_at or n not in planned or item.error is not None)
    ]
    again = dict(zip(left, look_again(job, [items[n] for n in left]), strict=True))
    mended = {n: item for n, item in again.items() if item.error is None}
    if not mended:
        return
    items = [again.get(n, item) for n, item in enumerate(items)]
    folder.replan(
        plan.with_retried(failed_at, _runs(mended, job.recipe.size), picture_warnings(items)),
        items,
    )


def _failed_in_work(folder: JobFolder, plan: Plan) -> dict[int, str]:
    """Numbers of the pictures that receipts call failed, each with its chunk."""
    return {
        item.index: receipt.chunk
        for receipt in folder.receipts.all()
        for item in plan.valid_items(receipt)
        if item.error
    }


def _runs(items: Mapping[int, Item], size: int) -> Iterator[tuple[int, int]]:
    """Ranges of neighbouring numbers whose pictures are edited at one size."""
    run: list[int] = []
    shape = (0, 0)
    for number in sorted(items):
        resize = Resize.of_item(items[number], size)
        own = (resize.width, resize.height)
        if run and (number != run[-1] + 1 or own != shape or len(run) == STILLS_PER_CHUNK):
            yield run[0], run[-1] + 1
            run = []
        run.append(number)
        shape = own
    if run:
        yield run[0], run[-1] + 1
