"""The depth estimators of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..editing.depth import load_estimator
from ..errors import ModelError
from ..hints.depth import Estimate
from ..hints.depth_model import estimator_digest, estimator_of
from ..jobs.spec import Job


def job_estimator(job: Job, net: int, allow: Callable[[Path | str], Path]) -> Estimate | None:
    """The estimator that makes the hints of a job's net; None if none does.

    Args:
        net: place of the net in the recipe.
        allow: resolves its folder; see :class:`~ip2p_batch.storage.roots.Roots`.

    Raises:
        ModelError: it cannot be loaded, or is not the one that the job was planned with.
        OutsideRoots: it may not be read here.
    """
    place = estimator_of(job.recipe.control[net])
    if place is None:
        return None
    if Path(place).is_absolute():
        place = str(allow(place))
        if estimator_digest(place) != job.depth_digests[net]:
            raise ModelError(
                f"{place} is not the depth estimator that job {job.id} was planned with.",
                hint="Restore its files, or start a new job with `ip2p-batch edit`.",
            )
    return load_estimator(place)
