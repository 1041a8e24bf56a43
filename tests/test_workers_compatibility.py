"""Real workers of two kinds on one Redis.

One is held to instructions that this CPU has or lacks anyway, so it is as fast as the other; but it
is not known to be alike.
"""

import msgspec
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.compute_profile import cpu_kind
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.private_redis import PrivateRedis

from .worker_processes import run_launcher, stills_job, wait_for

OTHER = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker of its own kind, the name of its log, and the executor."""
    log = tmp_path_factory.mktemp("fleet") / "log"
    with PrivateRedis() as redis, run_launcher(redis.url, log, **OTHER):
        executor = CeleryExecutor(redis.url)
        yield redis.url, log, executor
        executor.close()


def done_by(fleet, folder):
    """A receipt of the worker, whose model is loaded by then."""
    _, _, executor = fleet
    job = stills_job(folder, 1, model="tiny")
    scheduler.dispatch_next(job, executor)
    wait_for(job.result, 90)
    return next(job.receipts.all())


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_chunks_are_left_to_the_kind_that_began_and_the_job_fails_where_there_is_none(
    fleet, tmp_path
):
    url, log, executor = fleet
    first = done_by(fleet, tmp_path / "first")
    theirs = first.worker.compute_profile
    one = msgspec.structs.replace(theirs, device=cpu_kind())
    differs = f"device {theirs.device} instead of {one.device}"
    assert theirs != one and first.mismatches == ()

    # Nobody of the kind that began: the follower is told, the job fails, and says what to do.
    job = begun(tmp_path / "alone", one, first)
    done, *left = (c.id for c in job.plan().chunks)
    events = list(scheduler.follow_job(job, executor))
    told = [e.message for e in events if e.kind == "warning"]
    assert len(told) == 1 and differs in told[0]
    assert events[-1].kind == "failed"
    assert events[-1].data["chunks"] == left and events[-1].data["error"] == "IncompatibleWorker"
    assert differs in events[-1].message
    assert "--allow-mixed-hardware" in events[-1].data["hint"]
    assert job.receipts.ids() == {done}
    status = scheduler.read_status(job)
    assert (status.state, status.compute_profile, status.refused) == ("failed", one, (told[0],))
    said = log.read_text()
    assert said.count("are left to other workers") == 1
    assert "Traceback" not in said and "dropped" not in said

    # Allowed to mix, it is done after all.
    job.permit_mixed_hardware()
    assert list(scheduler.follow_job(job, executor))[-1].kind == "done"
    assert scheduler.read_result(job).warnings == (
        f"2 pictures were edited on other hardware: {differs}.",
    )

    # With a worker of that kind, that one does the rest, however late it comes.
    job = begun(tmp_path / "both", one, first)
    scheduler.dispatch_next(job, executor)
    wait_for(lambda: list(job.hardware.refusals()))
    with run_launcher(url, log):
        wait_for(job.result, 120)
    rest = [r for r in job.receipts.all() if r.digest != first.digest or r.worker != first.worker]
    assert len(rest) == 2 and {r.worker.compute_profile for r in rest} == {one}

    # Nothing was finished by the kind that began, and it is gone: it is anybody's.
    job = stills_job(tmp_path / "anew", 1, model="tiny")
    job.hardware.fix_profile(one)
    scheduler.dispatch_next(job, executor)
    wait_for(job.result, 120)
    assert job.hardware.profile() == theirs and not list(job.hardware.refusals())


def begun(folder, kind, receipt):
    """A job of three chunks, one of which ``kind`` has finished."""
    job = stills_job(folder, 3, model="tiny")
    job.hardware.fix_profile(kind)
    fingerprint, done = job.job().fingerprint(), job.plan().chunks[0].id
    job.receipts.write(msgspec.structs.replace(receipt, chunk=done, fingerprint=fingerprint))
    return job
