"""What one worker process keeps from task to task."""

from __future__ import annotations

import logging
import os
import platform
import signal
from functools import cached_property
from importlib.metadata import version

from celery import signals

from ip2p_batch.execution.timeout import HangDetector
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.planning.cost import MIN_CHUNK_SECONDS
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.settings import Settings

from .app import app
from .compatibility import RefusedJobs
from .editor_cache import EditorCache
from .job_folders import JobFolders

log = logging.getLogger(__name__)


class WorkerState:
    """Editors, caches and connections of one process; each is made when it is first used.

    Celery's main process has one, too: it records the failure of a chunk whose process was lost.

    Args:
        settings: as the environment of the process has them.
        broker_url: where messages are sent.

    Attributes:
        editors: loaded models.
        job_folders: which job folders this machine can see.
        refused_jobs: jobs whose results would not be bit-identical on this device.
    """

    def __init__(self, settings: Settings, broker_url: str) -> None:
        self.settings = settings
        self.editors = EditorCache(settings)
        self.job_folders = JobFolders(settings.allowed_roots)
        self.refused_jobs = RefusedJobs()
        self._broker_url = broker_url

    @cached_property
    def executor(self) -> CeleryExecutor:
        """Sends messages to the broker."""
        return CeleryExecutor(self._broker_url)

    @cached_property
    def worker_cache(self) -> WorkerCache:
        """Threads and decoded frames."""
        return WorkerCache(self.settings.cpu_threads)

    @cached_property
    def hang_detector(self) -> HangDetector:
        """Kills this process where a chunk hangs."""
        device = "cuda" if self.settings.device.startswith("cuda") else "cpu"
        minimum = self.settings.chunk_timeout or MIN_CHUNK_SECONDS
        return HangDetector(_kill_this_process, device=device, minimum=minimum)

    def worker_info(self) -> WorkerInfo:
        """Identify this process in heartbeats and receipts."""
        return WorkerInfo(host=platform.node(), pid=os.getpid(), torch=version("torch"))


class _Process:
    """Holds the state of this process, from its start on."""

    state: WorkerState | None = None


@signals.worker_init.connect(weak=False)
@signals.worker_process_init.connect(weak=False)
def make_state(**_: object) -> None:
    """Make the state of this process; Celery calls this in its main process and in its child."""
    _Process.state = WorkerState(Settings.from_env(), app.conf.broker_url)


def process_state() -> WorkerState:
    """Return the state of this process."""
    assert _Process.state is not None, "Celery has not initialised this process"
    return _Process.state


def _kill_this_process(reason: str) -> None:
    """End this process, which hangs; Celery starts another, and the chunk is retried."""
    log.error("%s: its process is killed", reason)
    os.kill(os.getpid(), signal.SIGKILL)
