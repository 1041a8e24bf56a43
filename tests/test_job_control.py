"""Control of running jobs, and fair sharing: one real worker, several jobs."""

import json
import os
import signal
import time

import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.messages import MAX_RETRIES, TASK_CHUNK, build_message
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.recipe import Recipe

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher

SLOW = "identity:slow=0.3"


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """A Redis with one worker."""
    folder = tmp_path_factory.mktemp("worker")
    with PrivateRedis() as redis, run_launcher(redis.url, folder / "log") as worker:
        worker.url = redis.url
        worker.executor = CeleryExecutor(redis.url)
        yield worker
        worker.executor.close()


def busy(tmp_path, worker, seconds=1.5):
    """Start a job of one chunk that keeps the worker busy, and wait until it runs."""
    job = image_job(tmp_path / "busy", 1, model=f"identity:slow={seconds}")
    scheduler.submit_job(job, worker.executor)
    wait_for(lambda: list(job.heartbeats.all()))


def times(job):
    return [receipt.finished for receipt in job.receipts.all()]


def wait_until_idle(worker):
    return wait_for(lambda: worker.executor.queue_length() == 0)


def test_a_short_job_does_not_wait_for_a_long_one(tmp_path, worker):
    long, small = image_job(tmp_path / "long", 40, model=SLOW), image_job(tmp_path / "s", 3)
    scheduler.submit_job(long, worker.executor)
    wait_for(lambda: list(long.heartbeats.all()))
    scheduler.submit_job(small, worker.executor)
    wait_for(small.result)
    assert len(long.receipts.ids()) < 15
    long.cancel()
    wait_until_idle(worker)
    assert not long.ended


def test_two_long_jobs_take_turns(tmp_path, worker):
    first, second = image_job(tmp_path / "1", 12, model=SLOW), image_job(tmp_path / "2", 12)
    busy(tmp_path, worker)
    scheduler.submit_job(first, worker.executor)
    scheduler.submit_job(second, worker.executor)
    wait_for(lambda: first.result() and second.result())
    middle = sorted(times(first))[6]
    assert 2 < sum(moment < middle for moment in times(second)) < 11
    wait_until_idle(worker)


def test_all_chunks_of_a_higher_priority_job_run_first(tmp_path, worker):
    jobs = {}
    busy(tmp_path, worker, 3)
    for priority in ("low", "normal", "high"):
        jobs[priority] = image_job(tmp_path / priority, 6)  # more than a window
        jobs[priority].set_priority(priority)
        scheduler.submit_job(jobs[priority], worker.executor)
    wait_for(lambda: all(job.result() for job in jobs.values()))
    assert max(times(jobs["high"])) < min(times(jobs["normal"]))
    assert max(times(jobs["normal"])) < min(times(jobs["low"]))
    wait_until_idle(worker)


def test_a_requeued_message_keeps_its_priority(tmp_path, worker):
    job = image_job(tmp_path, 1)
    sent = build_message(job, job.plan().chunks[0].id, job.job().fingerprint())
    job.path.rename(tmp_path / "aside")
    unseen = tmp_path / "share" / "jobs" / "catalog"
    with make_app(worker.url) as app:
        app.send_task(TASK_CHUNK, kwargs=sent | {"job": str(unseen)}, priority=6)
    client = redis_url.connect(worker.url)

    def requeued():
        found = [json.loads(raw)[0] for raw in client.hvals("ip2p:unacked")]
        return [m for m in found if m["headers"].get("ip2p_folder_missing")]

    (again,) = wait_for(requeued)
    client.close()
    assert again["properties"]["priority"] == 6
    unseen.parent.mkdir(parents=True)
    (tmp_path / "aside").rename(unseen)
    wait_for(lambda: (unseen / "result.json").exists())
    wait_until_idle(worker)


def test_a_paused_job_finishes_its_running_chunks_and_other_jobs_continue(tmp_path, worker):
    job, other = image_job(tmp_path / "a", 12, model=SLOW), image_job(tmp_path / "b", 3)
    scheduler.submit_job(job, worker.executor)
    wait_for(job.receipts.ids)
    held = {heartbeat.chunk for heartbeat in wait_for(lambda: list(job.heartbeats.all()))}
    job.pause()
    wait_until_idle(worker)  # the worker does not turn its messages round and round
    assert held <= job.receipts.ids() and not list(job.heartbeats.all())
    assert scheduler.read_status(job).state == "paused"
    scheduler.submit_job(other, worker.executor)
    wait_for(other.result)
    stamps = {c: (job.path / f"receipts/{c}.json").stat().st_mtime_ns for c in job.receipts.ids()}
    assert len(stamps) < 12
    scheduler.submit_job(job, worker.executor)
    assert wait_for(job.result).frames == 12  # without a follower
    for chunk, stamp in stamps.items():
        assert (job.path / f"receipts/{chunk}.json").stat().st_mtime_ns == stamp
    wait_until_idle(worker)


def test_a_cancelled_job_can_be_resumed_without_a_follower(tmp_path, worker):
    job = image_job(tmp_path, 12, model=SLOW)
    scheduler.submit_job(job, worker.executor)
    wait_for(job.receipts.ids)
    job.cancel()
    wait_until_idle(worker)
    assert scheduler.read_status(job).state == "cancelled"
    before = job.receipts.ids()
    assert len(before) < 12
    scheduler.submit_job(job, worker.executor)
    assert wait_for(job.result).frames == 12
    wait_until_idle(worker)


@pytest.mark.slow
def test_a_chunk_that_crashes_its_worker_frees_its_place_in_the_queue(tmp_path, worker):
    job = image_job(tmp_path / "job", 8, model="identity:slow=60")
    poisoned, second, third, fourth, fifth, *_ = job.plan().chunks
    busy(tmp_path, worker)
    scheduler.submit_job(job, worker.executor)
    assert worker.executor.queued_chunks(job).waiting == {
        c.id for c in (poisoned, second, third, fourth)
    }
    client = redis_url.connect(worker.url)
    client.delete("ip2p:chunks:3")
    client.close()
    with make_app(worker.url) as app:  # as after more crashes than are isolated
        values = build_message(job, poisoned.id, job.job().fingerprint())
        app.send_task(TASK_CHUNK, kwargs=values, retries=MAX_RETRIES)
    os.kill(wait_for(lambda: [c.worker.pid for c in job.heartbeats.all()])[0], signal.SIGKILL)
    wait_for(lambda: job.failures.chunk_ids() == {poisoned.id})
    # No follower and no worker could have dispatched it.
    wait_for(lambda: [c for c in job.heartbeats.all() if c.chunk == fifth.id])
    job.cancel()
    os.kill(next(c.worker.pid for c in job.heartbeats.all()), signal.SIGKILL)
    wait_until_idle(worker)


@pytest.mark.parametrize("order", [JobFolder.cancel, JobFolder.pause])
def test_a_job_that_is_stopped_and_resumed_at_once_finishes(tmp_path, worker, order):
    job = image_job(tmp_path, 24, model="identity:slow=0.06", each=6)
    scheduler.submit_job(job, worker.executor)
    wait_for(lambda: list(job.heartbeats.all()))
    for pause in range(0, 12, 2):
        order(job)
        time.sleep(pause / 100)  # seen by the worker, or just not, or in this moment
        scheduler.submit_job(job, worker.executor)
        time.sleep(0.03)
    assert wait_for(job.result).frames == 24
    wait_until_idle(worker)


def test_a_fixed_image_is_edited_on_retry_without_a_follower(tmp_path, worker, settings):
    source = tmp_path / "catalog"
    source.mkdir()
    for name in ("a.png", "b.png"):
        Pil.new("RGB", (96, 64)).save(source / name)
    (source / "broken.png").write_bytes(b"not an image")
    recipe = Recipe(instruction="x", model="identity", size=64)
    request = scheduler.EditRequest(source=source, output=tmp_path / "out", recipe=recipe)
    job = scheduler.create_job(request, settings)
    scheduler.submit_job(job, worker.executor)
    assert wait_for(job.result).frames == 2
    before = job.receipts.ids()
    Pil.new("RGB", (64, 96)).save(source / "broken.png")
    assert scheduler.retry_job(job) == 1
    scheduler.submit_job(job, worker.executor)
    assert worker.executor.queued_chunks(job).waiting <= {"1-000001"}
    result = wait_for(job.result)
    assert (result.frames, result.failed) == (3, ())
    assert job.receipts.ids() - before == {"1-000001"}
    wait_until_idle(worker)


def test_lifting_a_pause_at_once_enqueues_nothing_twice(tmp_path, executor):
    job = image_job(tmp_path, 9)
    scheduler.submit_job(job, executor)
    job.pause()
    scheduler.submit_job(job, executor)
    assert executor.queue_length() == 4
    assert not job.paused
