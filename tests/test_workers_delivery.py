"""Chunks are redelivered however their workers end, and none is edited twice without need."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ip2p_batch import scheduler
from ip2p_batch.jobs import attempts
from ip2p_batch.queue import celery_executor
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.messages import MIN_TIME_LIMIT, TIME_LIMIT
from ip2p_batch.settings import Settings

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import running, worker_env

LAUNCH = """
import sys
from workers.launcher import Launcher, Slot
slots = [Slot(f"test{n}", {}, int(sys.argv[3])) for n in range(int(sys.argv[1]))]
sys.exit(Launcher(slots, soft_shutdown=float(sys.argv[2])).run(exit_with_parent=False))
"""


@contextmanager
def run_workers(redis, log, *, workers=1, soft_shutdown=30.0, time_limit=TIME_LIMIT, **env):
    """A launcher with workers whose messages are redelivered two seconds after their death."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(workers), str(soft_shutdown), str(time_limit)],
            env=worker_env(redis.url, IP2P_DEVICE="cpu", IP2P_VISIBILITY_TIMEOUT="2", **env),
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def process_at_work(job):
    """Wait until a process edits a chunk; return its pid."""
    return wait_for(lambda: [c.worker.pid for c in job.heartbeats.all()])[0]


def group(pid):
    return os.getpgid(pid)


def failed_pictures(job):
    result = wait_for(job.result, 60)
    return [Path(path).name for path, _ in result.failed]


def assert_retried_after_a_crash(job):
    """Wait for the second attempt at the second chunk; the first one counts as a crash."""
    wait_for(lambda: attempts_by_chunk(job).count("1-000001") == 2)
    assert attempts.history(job, "1-000001").crashes == 2, "one crashed, one is running"
    assert list(job.failures.all()) == []


def attempts_by_chunk(job):
    """Chunk ids of all attempts at a job that has not ended."""
    return sorted(p.name.split(".")[0] for p in (job.path / "attempts").glob("*.json"))


def test_an_image_that_kills_its_process_is_skipped_and_the_job_ends(tmp_path, redis, executor):
    job = image_job(tmp_path, 2, model="identity:crash=1")
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log"):
        assert failed_pictures(job) == ["1.png"]
    assert list(job.failures.all()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_image_that_kills_its_whole_worker_is_skipped_too(tmp_path, redis, executor):
    """No command follows the job: Redis alone redelivers the messages."""
    job = image_job(tmp_path, 2, model="identity:crash-group=1")
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log"):
        assert failed_pictures(job) == ["1.png"]


def test_a_chunk_that_hangs_is_killed_by_its_own_process(tmp_path, redis, executor):
    job = image_job(tmp_path, 2, model="identity:hang=1")
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log", IP2P_CHUNK_TIMEOUT="1"):
        assert_retried_after_a_crash(job)
    assert "has made no progress for" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_chunk_that_hangs_is_killed_by_its_worker_at_the_launchers_limit(
    tmp_path, redis, executor
):
    """... which applies although the message allows an hour; and the chunk is retried."""
    job = image_job(tmp_path, 2, model="identity:hang=1")
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log", time_limit=2):
        assert_retried_after_a_crash(job)
    assert "Hard time limit (2" in (tmp_path / "log").read_text()


def test_a_long_chunk_is_edited_once_though_its_message_is_queued_twice(tmp_path, redis, executor):
    job = image_job(tmp_path, 1, model="identity:slow=4")
    (chunk,) = job.plan().chunks
    with run_workers(redis, tmp_path / "log", workers=2):
        wait_for(lambda: len(executor.workers(timeout=1.0)) == 2)
        scheduler.dispatch_next(job, executor)
        executor.enqueue(job, [chunk])
        holder = process_at_work(job)
        wait_for(lambda: job.receipts.get(chunk.id))
        assert job.receipts.get(chunk.id).worker.pid == holder
        wait_for(job.result)
        wait_for(lambda: executor.queue_length() == 0)
    assert "A live worker holds chunk" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_stopped_worker_cannot_overwrite_another_workers_files(tmp_path, redis, executor):
    job = image_job(tmp_path, 2, model="identity:slow=2", each=2)
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log"):
        stopped = process_at_work(job)
        for pid in (stopped, group(stopped)):
            os.kill(pid, signal.SIGSTOP)
        try:
            with run_workers(redis, tmp_path / "log"):
                receipt = wait_for(lambda: job.receipts.get("1-000000"), 60)
                wait_for(job.result)
            written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
        finally:
            for pid in (stopped, group(stopped)):
                os.kill(pid, signal.SIGCONT)
        wait_for(
            lambda: "Another worker holds chunk 1-000000 now" in (tmp_path / "log").read_text()
        )
        wait_for(lambda: executor.queue_length() == 0)
        assert running(stopped)
    assert receipt.worker.pid != stopped
    assert job.receipts.get("1-000000") == receipt
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == written
    assert list(job.failures.all()) == []


def test_a_released_chunk_counts_no_crash(tmp_path, redis, executor):
    job = image_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with run_workers(redis, tmp_path / "log", soft_shutdown=0.5) as launcher:
        process_at_work(job)
        assert attempts.history(job, "1-000000").crashes == 1, "the attempt has not ended"
        launcher.terminate()
        assert launcher.wait(30) == 0
    assert attempts.history(job, "1-000000").crashes == 0
    assert attempts_by_chunk(job) == ["1-000000"]
    assert executor.queue_length() == 1


# -- limits -----------------------------------------------------------------------------------


def test_a_dead_workers_message_is_redelivered_within_two_minutes():
    app = make_app("redis://localhost")
    options = app.conf.broker_transport_options
    between = options["unacked_restore_interval"] * options["unacked_restore_throttle"]
    assert options["visibility_timeout"] + between <= 110  # and some seconds until Kombu notices
    app.close()


def test_the_time_limit_of_a_message_follows_its_chunk(tmp_path):
    small = image_job(tmp_path / "small", 2)
    large = image_job(tmp_path / "large", 64, each=64, size=2048)
    assert celery_executor.time_limit(small, small.plan().chunks[0]) == MIN_TIME_LIMIT
    assert celery_executor.time_limit(large, large.plan().chunks[0]) == TIME_LIMIT


def test_seconds_in_the_environment_are_read_and_checked():
    from ip2p_batch.errors import RecipeError

    assert Settings.from_env({"IP2P_VISIBILITY_TIMEOUT": "30"}).visibility_timeout == 30.0
    assert Settings.from_env({"IP2P_CHUNK_TIMEOUT": "7200"}).chunk_timeout == 7200.0
    assert Settings.from_env({}).visibility_timeout is None
    for wrong in ("1", "soon", "-5", "nan", "1e9"):
        with pytest.raises(RecipeError, match="IP2P_VISIBILITY_TIMEOUT"):
            Settings.from_env({"IP2P_VISIBILITY_TIMEOUT": wrong})
