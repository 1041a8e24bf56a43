"""A delivered message in Celery's main process: its time limit, and its release.

Uses private parts of Celery 5.7, whose version is pinned.
"""

from __future__ import annotations

import logging
import platform
from typing import Any

from celery.worker.request import Request

from ip2p_batch.errors import Ip2pError
from ip2p_batch.jobs.attempts import release
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.log import chunk_log
from ip2p_batch.queue.messages import read_message
from ip2p_batch.settings import Settings

log = logging.getLogger(__name__)


class ChunkRequest(Request):
    """Applies the worker's own time limit, and records chunks that are stopped on purpose.

    A chunk runs no longer than ``task_time_limit`` of the app, nor than its message allows.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert self.app is not None
        worker_limit = self.app.conf.task_time_limit
        # Only here: a requeued message keeps its own limit, for workers with a higher one.
        self.time_limits = (min(self.time_limits[0] or worker_limit, worker_limit), None)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """End the process that edits the chunk; the message returns to the queue."""
        super().cancel(pool, signal, emit_retry)
        if not self.worker_pid:
            return
        try:
            message = read_message(self.kwargs)
            folder = JobFolder(message.job, Settings.from_env().allowed_roots)
            release(folder, message.chunk, host=platform.node(), pid=int(self.worker_pid))
            chunk_log(log, folder, message.chunk, "released", pid=self.worker_pid)
        except (Ip2pError, OSError) as error:
            log.warning("%s", error)  # it counts as a crash then, and a single one does no harm
