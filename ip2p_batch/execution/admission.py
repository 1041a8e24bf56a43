"""Whether this worker may do a chunk: all chunks of a job are to have the same kind of bits."""

from __future__ import annotations

from ..errors import IncompatibleWorker
from ..jobs.compatibility import differences
from ..jobs.folder import JobFolder
from ..jobs.records import ComputeProfile
from ..jobs.spec import Job


def require_compatible(folder: JobFolder, job: Job, mine: ComputeProfile | None) -> tuple[str, ...]:
    """Fix the job's identity if nobody has, else hold this worker's against it.

    Args:
        mine: None for an editor that has no model: its bits are the same everywhere.

    Returns:
        In what this worker differs, where the job allows that.

    Raises:
        IncompatibleWorker: it differs.
        OutputError: the job folder cannot be written.
    """
    if mine is None:
        return ()
    mismatches = differences(mine, folder.fix_compute_profile(mine))
    if mismatches and not job.allow_mixed_hardware:
        raise IncompatibleWorker(
            f"This worker is of another kind than the chunks of {job.id}: {', '.join(mismatches)}.",
            mismatches=mismatches,
            hint="Go on with workers like the first one, or allow others:"
            f" `ip2p-batch resume {job.id} --allow-mixed-hardware`.",
        )
    return mismatches
