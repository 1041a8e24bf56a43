"""A detached job whose disk is full for a while is finished without a command that follows it."""

import resource
import time

import pytest

from ip2p_batch import scheduler

from .faults.rig import children
from .jobs import stills_job
from .waiting import wait_for
from .worker_processes import run_launcher


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_detached_job_waits_in_the_queue_for_its_disk(tmp_path, redis, executor):
    job = stills_job(tmp_path, 3)
    log = tmp_path / "log"
    with run_launcher(redis.url, log) as launcher:
        wait_for(lambda: executor.workers(0.5))
        (worker,) = children(launcher.pid)

        def allow(size):
            for pid in (worker, *children(worker)):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        allow(0)
        scheduler.dispatch_next(job, executor)
        wait_for(lambda: executor.queue_length() == 3)
        time.sleep(7)
        # Neither finished nor failed nor lost: unacknowledged, or in the queue.
        assert executor.queue_length() == 3
        assert not job.receipts.ids() and not job.failures.chunk_ids()
        assert not list(tmp_path.rglob(".ip2p-*"))
        allow(resource.RLIM_INFINITY)
        assert wait_for(job.result, 60).frames == 3
    assert len(list((tmp_path / "out").iterdir())) == 3
