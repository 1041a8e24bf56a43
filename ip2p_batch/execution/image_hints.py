"""Hints of single images: of a job's images, and of its reference image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..frame import Image
from ..hints.depth import Estimate, depth_hint, scale_of
from ..hints.make import make_hint
from ..jobs.companion import hints_use
from ..jobs.spec import Item, Job
from ..media.companion.items import read_item_companion
from ..media.resize import Resize
from ..recipe_parts import Control
from .depth import job_estimator


def image_hints(
    job: Job, item: Item, image: Image, resize: Resize, allow: Callable[[Path | str], Path]
) -> tuple[Image, ...]:
    """The hints of one image, one for each control net of the job.

    Args:
        image: resized.
        resize: of its source.

    Raises:
        SourceError: its companion image cannot be read, or has changed since the job was planned.
        OutsideRoots: its companion image may not be read here.
        ModelError: a depth estimator cannot be loaded.
    """
    hints = []
    for n, net in enumerate(job.recipe.control):
        own = item.companion(hints_use(n))
        if own is None:
            hints.append(_hint(net, image, job_estimator(job, n, allow)))
        else:
            drawn = read_item_companion(own, allow)
            hints.append(resize.of_companion(drawn).apply(drawn))
    return tuple(hints)


def reference_hints(
    job: Job, image: Image | None, allow: Callable[[Path | str], Path]
) -> tuple[Image, ...]:
    """The hints of the reference image; empty without one, and if a net has hints of one's own."""
    nets = job.recipe.control
    if image is None or any(net.hints is not None for net in nets):
        return ()
    return tuple(_hint(net, image, job_estimator(job, n, allow)) for n, net in enumerate(nets))


def _hint(net: Control, image: Image, estimate: Estimate | None) -> Image:
    if estimate is None:
        return make_hint(net.kind, image)
    depth = estimate(image)
    return depth_hint(depth, scale_of([depth]), image)
