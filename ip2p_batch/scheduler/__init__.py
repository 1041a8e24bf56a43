"""Start, follow, resume and cancel a job. Everything is read from and written to the job folder.

Whoever finishes a chunk calls :func:`advance`, so a detached job goes from wave to wave and into
its output without anybody watching. :func:`follow` watches, and also makes up for what a queue
can lose: a chunk that nobody holds and no queue has is handed over again.
"""

from __future__ import annotations

from ..jobs.registry import find_job, list_jobs
from ..jobs.status import JobStatus, read_status
from ..planning.prepare import EditRequest, PreparedJob, Report, prepare_job
from .create import create_job
from .dispatch import dispatch_next, submit_job, unpause
from .follow import ending, follow_job, is_followed, summary, watch_job
from .retry import retry_job

__all__ = [
    "EditRequest",
    "JobStatus",
    "PreparedJob",
    "Report",
    "create_job",
    "dispatch_next",
    "ending",
    "find_job",
    "follow_job",
    "is_followed",
    "list_jobs",
    "prepare_job",
    "read_status",
    "retry_job",
    "submit_job",
    "summary",
    "unpause",
    "watch_job",
]
