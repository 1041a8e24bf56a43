"""Real workers of two kinds on one Redis: one thread and two give other bits."""

import msgspec
import pytest

from ip2p_batch import run
from ip2p_batch.broker import PrivateRedis
from ip2p_batch.remote import CeleryExecutor

from .celery_helpers import run_launcher, stills_job, wait_for


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker with two threads, the name of its log, and the executor."""
    log = tmp_path_factory.mktemp("fleet") / "log"
    with PrivateRedis() as redis, run_launcher(redis.url, log, IP2P_THREADS="2"):
        executor = CeleryExecutor(redis.url)
        yield redis.url, log, executor
        executor.close()


def done_by(fleet, folder):
    """A receipt of the worker, whose model is loaded by then."""
    _, _, executor = fleet
    job = stills_job(folder, 1, model="tiny")
    run.advance(job, executor)
    wait_for(job.result, 90)
    return next(job.receipts())


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_chunks_are_left_to_the_kind_that_began_and_the_job_fails_where_there_is_none(
    fleet, tmp_path
):
    url, log, executor = fleet
    first = done_by(fleet, tmp_path / "first")
    two = first.worker.identity
    assert two.threads == 2 and first.unlike == ()
    one = msgspec.structs.replace(two, threads=1)

    # Nobody of the kind that began: the follower is told, the job fails, and says what to do.
    job = stills_job(tmp_path / "alone", 3, model="tiny")
    job.fix_identity(one)
    done, *left = (c.id for c in job.plan().chunks)
    fingerprint = job.job().fingerprint()
    job.write_receipt(msgspec.structs.replace(first, chunk=done, fingerprint=fingerprint))
    events = list(run.follow(job, executor))
    told = [e.message for e in events if e.kind == "warning"]
    assert len(told) == 1 and "torch threads 2 instead of 1" in told[0]
    assert events[-1].kind == "failed"
    assert events[-1].data["chunks"] == left and events[-1].data["error"] == "UnlikeWorker"
    assert "torch threads 2 instead of 1" in events[-1].message
    assert "--mixed-workers" in events[-1].data["hint"]
    assert job.finished() == {done}
    status = run.status(job)
    assert (status.state, status.identity, status.refused) == ("failed", one, (told[0],))
    said = log.read_text()
    assert said.count("are left to other workers") == 1
    assert "Traceback" not in said and "dropped" not in said

    # Allowed to mix, it is done after all.
    job.allow_mixed_workers()
    assert list(run.follow(job, executor))[-1].kind == "done"
    assert run.summary(job).warnings == (
        "2 pictures were edited on another kind of worker: torch threads 2 instead of 1.",
    )

    # With a worker of that kind, that one does everything, however late it comes.
    job = stills_job(tmp_path / "both", 3, model="tiny")
    job.fix_identity(one)
    run.advance(job, executor)
    wait_for(lambda: list(job.refusals()))
    with run_launcher(url, log, IP2P_THREADS="1"):
        wait_for(job.result, 120)
    assert {r.worker.identity for r in job.receipts()} == {one}
