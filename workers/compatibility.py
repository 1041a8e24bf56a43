"""Return chunks to the queue that this worker may not edit, since its results would differ.

Another worker takes the message. A job fails, and names the differences, once every worker that
answers has refused it and no worker edits a chunk of it. Where no chunk of it is finished, it
starts again with any worker instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ip2p_batch.errors import BrokerError, IncompatibleWorker
from ip2p_batch.execution.attempt import give_up
from ip2p_batch.jobs.attempts import live_heartbeats
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import Chunk
from ip2p_batch.jobs.records import ComputeProfile, Refusal, WorkerInfo
from ip2p_batch.queue.celery_executor import CeleryExecutor

log = logging.getLogger(__name__)

#: Seconds between two rounds through the messages of a refused job; they grow with each round.
_ROUND_DELAYS = (1.0, 2.0, 3.0, 5.0, 8.0)
#: Rounds in a row without a worker that could do the job, after which it fails.
_MAX_ROUNDS_WITHOUT_WORKER = 3
_MAX_JOBS = 64


@dataclass
class _RefusedJob:
    """A job that this process refused, for as long as the job keeps its compute profile."""

    compute_profile: ComputeProfile | None
    error: IncompatibleWorker
    seen: set[str] = field(default_factory=set)  # chunks of the present round
    rounds: int = 0
    rounds_without_worker: int = 0


class RefusedJobs:
    """The jobs that one process refused.

    Args:
        sleep: called with the seconds between two rounds.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._jobs: dict[tuple[str, str], _RefusedJob] = {}

    def check(self, folder: JobFolder, fingerprint: str) -> None:
        """Refuse again what was refused before, without loading the model for it.

        Raises:
            IncompatibleWorker: nothing has changed since this process refused the job.
        """
        key = (str(folder.path), fingerprint)
        refused = self._jobs.get(key)
        if refused is None:
            return
        mixed = folder.job().allow_mixed_hardware
        if mixed or folder.hardware.profile() != refused.compute_profile:
            del self._jobs[key]
            return
        raise refused.error

    def pass_on(
        self,
        folder: JobFolder,
        fingerprint: str,
        chunk: Chunk,
        error: IncompatibleWorker,
        *,
        node: str,
        worker: WorkerInfo,
        executor: CeleryExecutor,
    ) -> bool:
        """Record that this worker refuses a chunk; return whether to requeue its message.

        Waits after each round through the messages of the job, and fails the job where no worker
        is left that could do it.

        Args:
            node: the worker's name in Celery.
        """
        if folder.ended or folder.is_settled(chunk.id):
            return False
        refused = self._refuse(folder, fingerprint, error)
        if not any(refusal.node == node for refusal in folder.hardware.refusals()):
            folder.hardware.add_refusal(
                Refusal(node=node, worker=worker, mismatches=error.mismatches)
            )
        if chunk.id not in refused.seen:
            refused.seen.add(chunk.id)
            if len(refused.seen) > 1:
                return True
        if _every_worker_refused(folder, node, executor):
            refused.rounds_without_worker += 1
        else:
            refused.rounds_without_worker = 0
        if refused.rounds_without_worker >= _MAX_ROUNDS_WITHOUT_WORKER:
            refused.rounds = refused.rounds_without_worker = 0  # a resume starts from zero
            return _start_again_or_fail(folder, chunk, error, worker)
        refused.seen = {chunk.id}
        self._sleep(_ROUND_DELAYS[min(refused.rounds, len(_ROUND_DELAYS) - 1)])
        refused.rounds += 1
        return True

    def _refuse(
        self, folder: JobFolder, fingerprint: str, error: IncompatibleWorker
    ) -> _RefusedJob:
        key = (str(folder.path), fingerprint)
        refused = self._jobs.get(key)
        if refused is None:
            if len(self._jobs) >= _MAX_JOBS:
                self._jobs.clear()  # most of them have ended long ago
            refused = self._jobs[key] = _RefusedJob(folder.hardware.profile(), error)
            log.warning("chunks of %s are left to other workers: %s", folder.path, error.message)
        return refused


def _start_again_or_fail(
    folder: JobFolder, chunk: Chunk, error: IncompatibleWorker, worker: WorkerInfo
) -> bool:
    """Free a job without finished chunks for any worker, and return True; else fail its chunks."""
    if not folder.receipts.ids():
        folder.hardware.clear()  # the worker that fixed the profile died at its first chunk
        return True
    for pending in folder.pending(folder.plan(), chunk.wave):
        give_up(folder, pending.id, error, attempts=1, worker=worker)
    return False


def _every_worker_refused(folder: JobFolder, node: str, executor: CeleryExecutor) -> bool:
    """Return whether all workers that answer refused the job, and none edits a chunk of it."""
    if live_heartbeats(folder, ()):
        return False
    try:
        alive = set(executor.workers(timeout=2.0))
    except BrokerError:
        return False
    # A worker that does not hear its own answer may miss those of others, too.
    return node in alive and alive <= {refusal.node for refusal in folder.hardware.refusals()}
