"""The item table of a job: one row for each image, or for the video, with what became of it."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from ..errors import Ip2pError
from ..recipe import Recipe
from ..storage.atomic import atomic_path
from .codec import FrozenStruct
from .folder import JobFolder
from .plan import Plan
from .records import ItemResult
from .spec import Item, Job

ItemState = Literal["done", "failed", "skipped", "waiting"]

#: Digits of a recipe's fingerprint in the table: enough to compare, and short to read.
_FINGERPRINT_DIGITS = 16


class ItemStatus(FrozenStruct, frozen=True, kw_only=True):
    """One image, or the video of a job, at one moment.

    Attributes:
        source, output: absolute paths; the output is empty where none could be named.
        state: ``skipped`` means that the output existed.
        reason: why it failed or was skipped; empty otherwise.
        warning: what was lost where it is done.
        seconds: wall time of work on it; for an image, its share of its chunk's. None before that.
        recipe: the first 16 hexadecimal digits of :meth:`Recipe.fingerprint`, with the image's own
            values.
        instruction, seed: that it is edited with.
        negative_prompt, num_inference_steps, guidance_scale, image_guidance_scale: of its own;
            None is the recipe's.
    """

    source: str
    output: str
    state: ItemState
    reason: str = ""
    warning: str = ""
    seconds: float | None = None
    recipe: str = ""
    instruction: str = ""
    seed: int | None = None
    negative_prompt: str | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    image_guidance_scale: float | None = None


#: Columns of the table as CSV. A list of sources may have the first group; see
#: ``media/images/manifest.py``.
LIST_COLUMNS = (
    "path", "output", "instruction", "seed", "negative_prompt", "num_inference_steps",
    "guidance_scale", "image_guidance_scale",
)  # fmt: skip
STATE_COLUMNS = ("state", "reason", "warning", "seconds", "recipe")


def read_items(folder: JobFolder) -> list[ItemStatus]:
    """The rows of a job: of its images, sorted by their sources, or of its video.

    Reads every receipt: about a second for 100 000 images on a local disk.

    Raises:
        JobError: not a job folder, or a file in it is damaged.
    """
    job = folder.job()
    if job.source.is_video:
        return [_video(folder, job)]
    return sorted(_images(folder, job), key=lambda row: (row.source, row.output))


def _images(folder: JobFolder, job: Job) -> Iterator[ItemStatus]:
    plan = folder.plan()
    results, seconds = _results(folder, job, plan)
    failures = {f.chunk: f.message for f in folder.failures.all()}
    failed = {n: failures[c.id] for c in plan.chunks if c.id in failures for n in c.numbers}
    fingerprints = _Fingerprints(job.recipe)
    for number, item in enumerate(folder.items()):
        row = _row(fingerprints, item)
        result = results.get(number)
        if item.skipped:
            yield _with(row, "skipped", item.error)
        elif item.error is not None:
            yield _with(row, "failed", item.error)
        elif result is not None:
            state: ItemState = "failed" if result.error else "done"
            yield msgspec.structs.replace(
                row,
                state=state,
                reason=result.error,
                warning=result.warning.replace("\n", "; "),
                seconds=seconds[number],
            )
        elif number in failed:
            yield _with(row, "failed", failed[number])
        else:
            yield row


def jobless_item(
    source: str, output: str, recipe: Recipe, state: ItemState, reason: str
) -> ItemStatus:
    """The row of a source that got no job."""
    return ItemStatus(
        source=source,
        output=output,
        state=state,
        reason=reason,
        recipe=_Fingerprints(recipe).of({}),
        instruction=recipe.instruction,
        seed=recipe.seed,
    )


def write_csv(rows: Iterable[ItemStatus], file: TextIO, base: Path) -> None:
    """Write a table that a command takes as a list of its sources.

    Args:
        base: folder of the results; outputs inside are written relative to it.
    """
    writer = csv.writer(file, lineterminator="\n")
    # Python 3.11 does not quote a carriage return, which ends a line for every reader.
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow([*LIST_COLUMNS, *STATE_COLUMNS])
    start = os.path.join(base, "")  # noqa: PTH118 - text
    for row in rows:
        own = [getattr(row, name) for name in LIST_COLUMNS[2:]]
        state = [getattr(row, name) for name in STATE_COLUMNS]
        output = row.output.removeprefix(start)
        if output != output.strip():  # lists are read without spaces around names
            output = f"./{output}"
        cells = [row.source, output, *own, *state]
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)
        (quoting if has_return else writer).writerow(cells)


def table_path(output: Path) -> Path:
    """The table next to a folder of results: ``edited/`` -> ``edited-items.csv``."""
    return output.with_name(f"{output.name}-items.csv")


def job_table_path(folder: JobFolder) -> Path | None:
    """The table that belongs next to a job's folder of results.

    None where the result is one file, and where results are next to their sources.
    """
    job = folder.job()
    if job.source.is_video or Path(job.source.path).is_relative_to(job.output):
        return None
    first = next(folder.items(0, 1), None)
    if job.source.items == 1 and first is not None and first.output == job.output:
        return None
    return table_path(Path(job.output))


def write_table(rows: Iterable[ItemStatus], path: Path, base: Path, reads: Iterable[Path]) -> str:
    """Write ``path``, unless a file has that name that is a source or no such table.

    Args:
        base: as for :func:`write_csv`.
        reads: the sources.

    Returns:
        why it was not written; empty if it was.
    """
    try:
        if path.exists() and any(path.samefile(source) for source in reads if source.exists()):
            return "it is the list of the sources"
        if path.exists() and not _is_table(path):
            return "a file of another kind has its name"
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            write_csv(rows, file, base)
    except Ip2pError as error:
        return error.message.rstrip(".")
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _is_table(path: Path) -> bool:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer forever
        return False
    with path.open("rb") as file:
        head = file.read(1000).partition(b"\n")[0]
    return head == ",".join([*LIST_COLUMNS, *STATE_COLUMNS]).encode()


def _results(
    folder: JobFolder, job: Job, plan: Plan
) -> tuple[dict[int, ItemResult], dict[int, float]]:
    """Results and seconds of images by their numbers."""
    fingerprint = job.fingerprint()
    results: dict[int, ItemResult] = {}
    seconds: dict[int, float] = {}
    for receipt in folder.receipts.all():
        if receipt.fingerprint != fingerprint:
            continue
        share = receipt.seconds.get("total", 0.0) / max(1, len(receipt.items))
        for item in plan.valid_items(receipt):
            results[item.index] = item
            seconds[item.index] = round(share, 3)
    return results, seconds


def _row(fingerprints: _Fingerprints, item: Item) -> ItemStatus:
    own, recipe = item.own_values(), fingerprints.recipe
    return ItemStatus(
        source=item.source,
        output=item.output,
        state="waiting",
        recipe=fingerprints.of(own),
        **{"instruction": recipe.instruction, "seed": recipe.seed, **own},
    )


def _with(row: ItemStatus, state: ItemState, reason: str | None) -> ItemStatus:
    return msgspec.structs.replace(row, state=state, reason=reason or "")


class _Fingerprints:
    """Fingerprints of a recipe with other values in some fields.

    A Recipe is not made for each image, since checking its fields takes as long as ten rows.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._plain = recipe.fingerprint()[:_FINGERPRINT_DIGITS]
        self._fields = msgspec.to_builtins(recipe)

    def of(self, own: dict[str, Any]) -> str:
        """The digits of the fingerprint with these values, as Recipe.fingerprint has them."""
        if not own:
            return self._plain
        encoded = msgspec.json.encode({**self._fields, **own}, order="sorted")
        return hashlib.sha256(encoded).hexdigest()[:_FINGERPRINT_DIGITS]


def _video(folder: JobFolder, job: Job) -> ItemStatus:
    row = ItemStatus(
        source=job.source.path,
        output=job.output,
        state="waiting",
        recipe=_Fingerprints(job.recipe).of({}),
        instruction=job.recipe.instruction,
        seed=job.recipe.seed,
    )
    if (result := folder.result()) is not None:
        warning = "; ".join(result.warnings)
        return msgspec.structs.replace(row, state="done", seconds=result.seconds, warning=warning)
    finished = folder.receipts.ids()
    for failure in folder.failures.all():
        if failure.chunk not in finished:
            return _with(row, "failed", failure.message)
    return row
