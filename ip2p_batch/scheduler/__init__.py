"""Start, follow, resume and cancel a job. Everything is read from and written to the job folder.

Whoever finishes a chunk calls :func:`advance`, so a detached job goes from wave to wave and into
its output without anybody watching. :func:`follow` watches, and also makes up for what a queue
can lose: a chunk that nobody holds and no queue has is handed over again.
"""

from __future__ import annotations

from ..jobs.orders import cancel, pause
from ..jobs.registry import find_job, list_jobs
from ..jobs.status import JobStatus, status
from ..planning.prepare import EditRequest, PreparedJob, Report, survey
from .create import create
from .dispatch import advance, submit, unpause
from .follow import ending, follow, summary, watch
from .retry import retry

__all__ = [
    "EditRequest",
    "JobStatus",
    "PreparedJob",
    "Report",
    "advance",
    "cancel",
    "create",
    "ending",
    "find_job",
    "follow",
    "list_jobs",
    "pause",
    "retry",
    "status",
    "submit",
    "summary",
    "survey",
    "unpause",
    "watch",
]
