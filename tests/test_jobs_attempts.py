"""Attempts at a chunk, their leases, and crashes."""

import os
import platform
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import ChunkTaken, JobCancelled, OutputError
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.jobs import attempts
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import Heartbeat, Receipt, WorkerInfo
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.storage.atomic import atomic_path

from .jobs import image_job

HERE = WorkerInfo(host=platform.node(), pid=1)
THERE = WorkerInfo(host="elsewhere", pid=1)
CHUNK = "1-000000"


@pytest.fixture
def job(tmp_path):
    return image_job(tmp_path, 2, each=2)


@pytest.fixture
def soon(monkeypatch):
    """A heartbeat times out after half a second."""
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.5")
    return attempts.LeaseTiming(0.5, min_watch=0.5, poll=0.02)


def die(lease):
    """Act as the kernel does when a process dies: close its file and record no end."""
    os.close(lease._file)


def test_attempts_are_numbered_and_those_that_end_do_not_count_as_crashes(job):
    for number in (1, 2):
        with attempts.acquire(job, CHUNK, HERE) as lease:
            assert lease.number == number
    with pytest.raises(RuntimeError), attempts.acquire(job, CHUNK, HERE):
        raise RuntimeError
    with attempts.acquire(job, CHUNK, HERE) as lease:
        assert lease.number == 4 and lease.earlier.crashes == 0


def test_a_crashed_attempt_counts_and_names_the_frames_that_it_was_editing(job):
    die(attempts.acquire(job, CHUNK, HERE))
    lease = attempts.acquire(job, CHUNK, HERE)
    lease.record_progress(range(100, 140))
    lease.record_progress([7, 8])
    die(lease)
    with attempts.acquire(job, CHUNK, HERE) as lease:
        assert [a.numbers for a in lease.earlier.crashed] == [(), (7, 8)]


def test_a_hung_worker_that_is_made_to_exit_counts_as_a_crash(job):
    with pytest.raises(SystemExit), attempts.acquire(job, CHUNK, HERE):
        raise SystemExit
    assert attempts.history(job, CHUNK).crashes == 1


def test_released_and_forgotten_attempts_do_not_count_as_crashes(job):
    die(attempts.acquire(job, CHUNK, HERE))
    attempts.release(job, CHUNK, host=HERE.host, pid=2)
    assert attempts.history(job, CHUNK).crashes == 1, "that was another process"
    attempts.release(job, CHUNK, host=HERE.host, pid=1)
    assert attempts.history(job, CHUNK).crashes == 0
    die(attempts.acquire(job, CHUNK, HERE))
    job.poisoned.add(3)
    attempts.forget_crashes(job, [CHUNK])
    assert attempts.history(job, CHUNK).crashes == 0 and not job.poisoned.numbers()


def test_release_all_releases_only_dead_attempts_of_this_host_and_job(job, tmp_path):
    other = image_job(tmp_path / "other", 1)
    for folder, worker in ((job, HERE), (other, THERE)):
        die(attempts.acquire(folder, CHUNK, worker))
        folder.heartbeats.write(Heartbeat(chunk=CHUNK, worker=worker, done=0, at=time.time()))
        attempts.release_all(folder, HERE.host)
    assert attempts.history(job, CHUNK).crashes == 0
    assert attempts.history(other, CHUNK).crashes == 1
    with attempts.acquire(job, CHUNK, HERE):
        attempts.release_all(job, HERE.host)
        assert attempts.history(job, CHUNK).crashes == 1, "it is alive"


def test_an_attempt_file_left_empty_counts_as_a_crash_at_an_unknown_frame(job, soon):
    die(attempts.acquire(job, CHUNK, HERE, timing=soon))
    job.attempt_path(CHUNK, 1).write_bytes(b"")
    with attempts.acquire(job, CHUNK, HERE, timing=soon) as lease:
        assert [a.numbers for a in lease.earlier.crashed] == [()]


def test_simultaneous_attempts_at_a_chunk_get_different_numbers(job, soon):
    barrier = threading.Barrier(8)

    def take():
        barrier.wait()
        try:
            return attempts.acquire(JobFolder(job.path), CHUNK, HERE, timing=soon).number
        except ChunkTaken:
            return None

    with ThreadPoolExecutor(8) as pool:
        numbers = [f.result() for f in [pool.submit(take) for _ in range(8)]]
    # Those who came too late to be first wait for a beat, and there is none here.
    given = [n for n in numbers if n is not None]
    assert 1 in given and len(given) == len(set(given))


@contextmanager
def beating(job, worker):
    """Renew the heartbeat of a chunk."""
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            job.heartbeats.write(Heartbeat(chunk=CHUNK, worker=worker, done=0, at=time.time()))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_chunk_held_by_a_live_worker_is_not_taken(job, soon):
    with attempts.acquire(job, CHUNK, THERE, timing=soon) as lease, beating(job, THERE):
        with pytest.raises(ChunkTaken, match="live worker"):
            attempts.acquire(job, CHUNK, HERE, timing=soon)
        assert not lease.superseded()


def test_waiting_for_a_lease_stops_when_the_job_is_cancelled(job, soon):
    def cancelled():
        raise JobCancelled("x")

    with attempts.acquire(job, CHUNK, THERE, timing=soon), pytest.raises(JobCancelled):
        attempts.acquire(job, CHUNK, HERE, checkpoint=cancelled, timing=soon)


def test_a_lease_of_a_dead_process_on_this_host_is_acquired_at_once(job):
    die(attempts.acquire(job, CHUNK, HERE))
    job.heartbeats.write(Heartbeat(chunk=CHUNK, worker=HERE, done=0, at=time.time()))

    def waits():
        raise AssertionError("its lock is gone")

    with attempts.acquire(job, CHUNK, HERE, checkpoint=waits) as lease:
        assert lease.number == 2


def test_a_job_folder_that_cannot_be_written_raises_an_output_error(job):
    (job.path / "attempts").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        attempts.acquire(job, CHUNK, HERE)


# -- fencing ----------------------------------------------------------------------------------


def test_a_superseded_worker_writes_nothing_more(job, tmp_path):
    """The worker was suspended for longer than its lease."""
    held, go_on = threading.Event(), threading.Event()

    @contextmanager
    def gate():
        held.set()
        assert go_on.wait(30)
        yield

    slow = IdentityEditor(transform=lambda image: 255 - image, gate=gate)
    (chunk,) = job.plan().chunks
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(process_chunk, job, chunk, editor_for=lambda _: slow, worker=THERE)
        assert held.wait(30)
        job.attempt_path(CHUNK, 2).touch()  # as a newer holder does
        go_on.set()
        with pytest.raises(ChunkTaken, match="holds chunk"):
            stopped.result(30)
    assert list((tmp_path / "out").iterdir()) == []
    assert job.receipts.get(CHUNK) is None


def test_a_file_of_a_superseded_attempt_is_not_renamed_into_place(job, tmp_path):
    target = tmp_path / "segment"
    target.write_text("the newer one's")
    with attempts.acquire(job, CHUNK, HERE) as lease:
        job.attempt_path(CHUNK, 2).touch()
        with pytest.raises(ChunkTaken), atomic_path(target, check=lease.check) as temporary:
            temporary.write_text("the older one's")
        with pytest.raises(ChunkTaken):
            job.receipts.write(receipt(), lease.check)
    assert target.read_text() == "the newer one's"
    assert job.receipts.get(CHUNK) is None
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".ip2p")] == []


def test_a_receipt_supersedes_every_lease(job):
    with attempts.acquire(job, CHUNK, HERE) as lease:
        lease.check()
        job.receipts.write(receipt())
        assert lease.superseded()


def test_no_attempt_is_recorded_after_the_job_has_ended(job):
    with attempts.acquire(job, CHUNK, HERE) as lease:
        job.drop_media()
        assert lease.superseded()
    assert not (job.path / "attempts").exists()


def receipt():
    return Receipt(
        chunk=CHUNK, fingerprint="f", frames=2, digest="d", worker=HERE, finished=time.time()
    )


def test_a_local_run_does_not_fail_when_another_worker_holds_a_chunk(job, soon):
    with attempts.acquire(job, CHUNK, THERE, timing=soon), beating(job, THERE):
        executor = LocalExecutor(lambda _: IdentityEditor())
        executor.enqueue(job, job.plan().chunks)
        executor.poll(0)
    assert list(job.failures.all()) == [] and not job.receipts.ids()
