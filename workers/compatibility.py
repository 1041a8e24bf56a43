"""What becomes of a chunk that this worker may not do, since it would give other bits.

Its message goes back to the queue for another worker. Once every worker that answers has refused
the job, and nobody is at a chunk of it, it fails, and says in what they all differ; or begins anew
with whoever comes first, where nothing of it is finished.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from ip2p_batch.errors import BrokerError, IncompatibleWorker
from ip2p_batch.execution.attempt import give_up
from ip2p_batch.jobs.attempts import live_heartbeats
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import Chunk
from ip2p_batch.jobs.records import ComputeProfile, Refusal, WorkerInfo
from ip2p_batch.queue.celery_executor import CeleryExecutor

log = logging.getLogger(__name__)

#: Seconds between two rounds through the messages of a refused job: they grow from round to round.
_PAUSES = (1.0, 2.0, 3.0, 5.0, 8.0)
#: How often in a row nobody may be found that could do the job, before it fails.
_ROUNDS = 3


@dataclass
class _Refused:
    """A job that this process refused, for as long as its identity stays what it was."""

    compute_profile: ComputeProfile | None
    error: IncompatibleWorker
    seen: set[str] = field(default_factory=set)  # chunks of the present round
    rounds: int = 0
    alone: int = 0


_refused: dict[tuple[str, str], _Refused] = {}


def check(folder: JobFolder, fingerprint: str) -> None:
    """Refuse again what was refused before, without loading the model for it.

    Raises:
        IncompatibleWorker: nothing has changed since this process refused this job.
    """
    known = _refused.get((str(folder.path), fingerprint))
    if known is None:
        return
    if folder.job().allow_mixed_hardware or folder.compute_profile() != known.compute_profile:
        del _refused[str(folder.path), fingerprint]
        return
    raise known.error


def pass_on(
    folder: JobFolder,
    fingerprint: str,
    chunk: Chunk,
    error: IncompatibleWorker,
    *,
    node: str,
    worker: WorkerInfo,
    executor: CeleryExecutor,
) -> bool:
    """See to a chunk that was refused; whether its message is to go back to the queue.

    Waits once all messages of the job have come round, and gives the job up where no worker is
    left that could do it.
    """
    if folder.ended or folder.is_settled(chunk.id):
        return False
    key = (str(folder.path), fingerprint)
    known = _refused.get(key)
    if known is None:
        if len(_refused) > 64:
            _refused.clear()  # jobs that ended long ago
        known = _refused[key] = _Refused(folder.compute_profile(), error)
        log.warning("chunks of %s are left to other workers: %s", folder.path, error.message)
    if not any(refusal.node == node for refusal in folder.refusals()):
        folder.write_refusal(Refusal(node=node, worker=worker, mismatches=error.mismatches))
    if chunk.id not in known.seen:
        known.seen.add(chunk.id)
        if len(known.seen) > 1:
            return True
    known.alone = known.alone + 1 if _nobody_left(folder, node, executor) else 0
    if known.alone >= _ROUNDS:
        known.rounds = known.alone = 0  # a resume asks anew
        if not folder.finished():
            folder.clear_refusals()  # the first worker died at its first chunk: anybody's again
            return True
        for left in folder.pending(folder.plan(), chunk.wave):
            give_up(folder, left.id, error, attempts=1, worker=worker)
        return False
    known.seen = {chunk.id}
    time.sleep(_PAUSES[min(known.rounds, len(_PAUSES) - 1)])
    known.rounds += 1
    return True


def _nobody_left(folder: JobFolder, node: str, executor: CeleryExecutor) -> bool:
    """Whether nobody is at a chunk of the job, and every worker that answers has refused it."""
    if live_heartbeats(folder, ()):
        return False
    try:
        alive = set(executor.workers(timeout=2.0))
    except BrokerError:
        return False
    # One that does not hear of itself hears of no others, either.
    return node in alive and alive <= {refusal.node for refusal in folder.refusals()}
