"""Create, dispatch, follow, reconcile and retry jobs. All state is in the job folder.

Workers call :func:`dispatch_next` after each chunk, so a detached job runs from wave to wave to
its output while no process follows it. :func:`follow_job` also repairs what a queue can lose: it
requeues chunks that no worker has and no queue holds. Also exports what callers need to prepare,
find and read jobs.
"""

from __future__ import annotations

from ..jobs.registry import find_job, list_jobs
from ..jobs.status import JobStatus, read_status
from ..planning.prepare import prepare_job
from ..planning.request import EditRequest, PreparedJob, Report
from ..planning.sources import ForSources, prepare_jobs
from .create import create_job, create_jobs
from .dispatch import dispatch_next, submit_job
from .follow import continue_paused, done_event, follow_job, read_result, watch_job
from .reconcile import ReconcileLimits
from .retry import retry_job

__all__ = [
    "EditRequest",
    "ForSources",
    "JobStatus",
    "PreparedJob",
    "ReconcileLimits",
    "Report",
    "continue_paused",
    "create_job",
    "create_jobs",
    "dispatch_next",
    "done_event",
    "find_job",
    "follow_job",
    "list_jobs",
    "prepare_job",
    "prepare_jobs",
    "read_result",
    "read_status",
    "retry_job",
    "submit_job",
    "watch_job",
]
