"""Real workers with two compute profiles on one Redis.

One of them is limited to instructions that make no difference on this CPU, so it is as fast as the
other one, but its profile differs.
"""

import msgspec
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.compute_profile import cpu_kind
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.private_redis import PrivateRedis

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher

OTHER = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker with the other profile: broker URL, log and executor."""
    log = tmp_path_factory.mktemp("fleet") / "log"
    with PrivateRedis() as redis, run_launcher(redis.url, log, **OTHER):
        executor = CeleryExecutor(redis.url)
        yield redis.url, log, executor
        executor.close()


def receipt_of(fleet, folder):
    """A receipt of the worker, whose model is loaded afterwards."""
    _, _, executor = fleet
    job = image_job(folder, 1, model="tiny")
    scheduler.dispatch_next(job, executor)
    wait_for(job.result, 90)
    return next(job.receipts.all())


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_chunks_wait_for_a_compatible_worker_and_the_job_fails_without_one(fleet, tmp_path):
    url, log, executor = fleet
    first = receipt_of(fleet, tmp_path / "first")
    theirs = first.worker.compute_profile
    one = msgspec.structs.replace(theirs, device=cpu_kind())
    differs = f"device {theirs.device} instead of {one.device}"
    assert theirs != one and first.mismatches == ()

    # No compatible worker: the follower is warned, and the job fails with the next step.
    job = started_job(tmp_path / "alone", one, first)
    done, *left = (c.id for c in job.plan().chunks)
    events = list(scheduler.follow_job(job, executor))
    warnings = [e.message for e in events if e.kind == "warning"]
    assert len(warnings) == 1 and differs in warnings[0]
    assert events[-1].kind == "failed"
    assert events[-1].data["chunks"] == left and events[-1].data["error"] == "IncompatibleWorker"
    assert differs in events[-1].message
    assert "--allow-mixed-hardware" in events[-1].data["hint"]
    assert job.receipts.ids() == {done}
    status = scheduler.read_status(job)
    assert (status.state, status.compute_profile, status.refused) == ("failed", one, (warnings[0],))
    text = log.read_text()
    assert text.count("are left to other workers") == 1
    assert "Traceback" not in text and "dropped" not in text

    # With mixed hardware allowed, the job is finished.
    job.permit_mixed_hardware()
    assert list(scheduler.follow_job(job, executor))[-1].kind == "done"
    assert scheduler.read_result(job).warnings == (
        f"2 images were edited on other hardware: {differs}.",
    )

    # A compatible worker edits the rest, however late it starts.
    job = started_job(tmp_path / "both", one, first)
    scheduler.dispatch_next(job, executor)
    wait_for(lambda: list(job.hardware.refusals()))
    with run_launcher(url, log):
        wait_for(job.result, 120)
    rest = [r for r in job.receipts.all() if r.digest != first.digest or r.worker != first.worker]
    assert len(rest) == 2 and {r.worker.compute_profile for r in rest} == {one}

    # A job without finished chunks takes the profile of any worker.
    job = image_job(tmp_path / "anew", 1, model="tiny")
    job.hardware.fix_profile(one)
    scheduler.dispatch_next(job, executor)
    wait_for(job.result, 120)
    assert job.hardware.profile() == theirs and not list(job.hardware.refusals())


def started_job(folder, profile, receipt):
    """A job of three chunks; a worker with ``profile`` has finished one of them."""
    job = image_job(folder, 3, model="tiny")
    job.hardware.fix_profile(profile)
    fingerprint, done = job.job().fingerprint(), job.plan().chunks[0].id
    job.receipts.write(msgspec.structs.replace(receipt, chunk=done, fingerprint=fingerprint))
    return job
