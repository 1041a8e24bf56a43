"""A chunk in hand as the worker's main process sees it: how long it may take, and its giving back.

Uses private parts of Celery 5.7; its version is pinned.
"""

from __future__ import annotations

import logging
import platform
from typing import Any

from celery.worker.request import Request

from ip2p_batch.errors import Ip2pError
from ip2p_batch.jobs.attempts import release
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.queue.executor import ASSEMBLY
from ip2p_batch.queue.messages import TIME_LIMIT, read_message
from ip2p_batch.settings import Settings

log = logging.getLogger(__name__)


#: The longest that this worker lets a chunk take, whatever its message says.
_longest: float = TIME_LIMIT


def limit_to(seconds: float) -> None:
    """Let no chunk of this worker take longer than that, nor than its message allows."""
    global _longest
    _longest = seconds


class ChunkRequest(Request):
    """Celery's, which is killed in time, and notes in the job folder what ends on purpose."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The message keeps its own: it may go on to another worker, with other limits.
        self.time_limits = (min(self.time_limits[0] or TIME_LIMIT, _longest), None)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """End the process in which a chunk is done; its message goes to another worker."""
        super().cancel(pool, signal, emit_retry)
        if not self.worker_pid:
            return
        try:
            told = read_message(self.kwargs)
            folder = JobFolder(told.job, Settings.from_env().allowed_roots)
            release(folder, told.chunk or ASSEMBLY, host=platform.node(), pid=int(self.worker_pid))
        except (Ip2pError, OSError) as error:
            log.warning("%s", error)  # then it counts as a death, of which one does no harm
