"""A detached job whose disk is full for a while is finished without a command that follows it."""

import json
import resource

import pytest

from ip2p_batch import scheduler
from ip2p_batch.queue import redis_url

from .faults.rig import children
from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher


def returned(redis):
    """Whether a worker has returned a message to the queue."""
    client = redis_url.connect(redis.url)
    try:
        raw = [*client.lrange("ip2p:chunks:3", 0, -1), *client.hvals("ip2p:unacked")]
    finally:
        client.close()
    messages = [json.loads(text) for text in raw]
    messages = [m[0] if isinstance(m, list) else m for m in messages]
    return any(m["headers"].get("redelivered") for m in messages)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_detached_job_waits_in_the_queue_for_its_disk(tmp_path, redis, executor):
    job = image_job(tmp_path, 3)
    log = tmp_path / "log"
    with run_launcher(redis.url, log) as launcher:
        wait_for(lambda: executor.workers(0.5))
        (worker,) = children(launcher.pid)

        def allow(size):
            for pid in (worker, *children(worker)):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        allow(0)
        scheduler.dispatch_next(job, executor)
        wait_for(lambda: returned(redis))
        # Neither finished nor failed nor lost: unacknowledged, or in the queue.
        assert executor.queue_length() == 3
        assert not job.receipts.ids() and not job.failures.chunk_ids()
        assert not list(tmp_path.rglob(".ip2p-*"))
        allow(resource.RLIM_INFINITY)
        assert wait_for(job.result, 60).frames == 3
    assert len(list((tmp_path / "out").iterdir())) == 3
