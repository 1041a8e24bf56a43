"""Whether this worker may do a chunk: all chunks of a job are to have the same kind of bits."""

from __future__ import annotations

from ..errors import UnlikeWorker
from ..jobs.compatibility import differences
from ..jobs.folder import JobDir
from ..jobs.records import Identity
from ..jobs.spec import Job


def admit(folder: JobDir, job: Job, mine: Identity | None) -> tuple[str, ...]:
    """Fix the job's identity if nobody has, else hold this worker's against it.

    Args:
        mine: None for an editor that has no model: its bits are the same everywhere.

    Returns:
        In what this worker differs, where the job allows that.

    Raises:
        UnlikeWorker: it differs.
        OutputError: the job folder cannot be written.
    """
    if mine is None:
        return ()
    unlike = differences(mine, folder.fix_identity(mine))
    if unlike and not job.mixed_workers:
        raise UnlikeWorker(
            f"This worker is of another kind than the chunks of {job.id}: {', '.join(unlike)}.",
            unlike=unlike,
            hint="Go on with workers like the first one, or allow others:"
            f" `ip2p-batch resume {job.id} --mixed-workers`.",
        )
    return unlike
