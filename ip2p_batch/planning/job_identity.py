"""What a job gets from its model and its source's size: edit sizes, tiles, reference image, id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..jobs.spec import Job
from ..media import reference_image
from ..models import catalog
from ..recipe import Recipe


def size_table(recipe: Recipe) -> tuple[tuple[int, int], ...]:
    """The table of a job's edit sizes; empty for a size in pixels."""
    return catalog.edit_sizes(recipe.model).table() if recipe.size == "auto" else ()


def tile_size(recipe: Recipe) -> int:
    """The side of a job's tiles in pixels; 0 without tiles."""
    if recipe.detail != "tiles":
        return 0
    return max(64, catalog.edit_sizes(recipe.model).training_size // 64 * 64)


def with_reference(job: Job, sizes: Iterable[tuple[int, int]]) -> tuple[Job, bytes]:
    """The job and its reference image as PNG, if the recipe names one; else no bytes.

    Args:
        sizes: ``(width, height)`` of its frames or images, in pixels. Images that cannot be opened
            have no size; they count as the smallest.
    """
    path = job.recipe.reference_image
    if path is None:
        return job, b""
    longest = max(job.edit_size(*size) for size in sizes)
    reference = reference_image.read_reference_image(Path(path), longest)
    digest = reference_image.digest(reference)
    job = msgspec.structs.replace(job, reference_digest=digest)
    return job, reference_image.to_png(reference)


def named(job: Job) -> Job:
    """Give a job its id, which is equal for equal requests on the same source.

    The id depends on all that determines the result, so it comes last.
    """
    seed = msgspec.json.encode((job.source.path, job.output, job.fingerprint()))
    stem = re.sub(r"[^a-z0-9]+", "-", Path(job.source.path).stem.lower()).strip("-")[:24] or "job"
    return msgspec.structs.replace(job, id=f"{stem}-{hashlib.sha256(seed).hexdigest()[:8]}")
