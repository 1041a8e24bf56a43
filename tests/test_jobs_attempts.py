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

from .worker_processes import stills_job

HERE = WorkerInfo(host=platform.node(), pid=1)
THERE = WorkerInfo(host="elsewhere", pid=1)
CHUNK = "1-000000"


@pytest.fixture
def job(tmp_path):
    return stills_job(tmp_path, 2, each=2)


@pytest.fixture
def soon(monkeypatch):
    """A heartbeat times out after half a second."""
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.5")
    return attempts.LeaseTiming(0.5, min_watch=0.5, poll=0.02)


def die(lease):
    """As the kernel has it when a process dies: its files are closed, and no word is said."""
    os.close(lease._file)


def test_attempts_are_numbered_and_those_that_end_are_no_deaths(job):
    for number in (1, 2):
        with attempts.acquire(job, CHUNK, HERE) as lease:
            assert lease.number == number
    with pytest.raises(RuntimeError), attempts.acquire(job, CHUNK, HERE):
        raise RuntimeError
    with attempts.acquire(job, CHUNK, HERE) as lease:
        assert lease.number == 4 and lease.earlier.crashes == 0


def test_an_attempt_that_broke_off_is_counted_with_what_it_had_in_hand(job):
    die(attempts.acquire(job, CHUNK, HERE))
    lease = attempts.acquire(job, CHUNK, HERE)
    lease.record_progress(range(100, 140))
    lease.record_progress([7, 8])
    die(lease)
    with attempts.acquire(job, CHUNK, HERE) as lease:
        assert [a.numbers for a in lease.earlier.crashed] == [(), (7, 8)]


def test_a_worker_that_is_told_to_exit_while_it_hangs_leaves_a_death(job):
    with pytest.raises(SystemExit), attempts.acquire(job, CHUNK, HERE):
        raise SystemExit
    assert attempts.history(job, CHUNK).crashes == 1


def test_what_was_given_back_or_forgotten_is_no_death(job):
    die(attempts.acquire(job, CHUNK, HERE))
    attempts.release(job, CHUNK, host=HERE.host, pid=2)
    assert attempts.history(job, CHUNK).crashes == 1, "that was another process"
    attempts.release(job, CHUNK, host=HERE.host, pid=1)
    assert attempts.history(job, CHUNK).crashes == 0
    die(attempts.acquire(job, CHUNK, HERE))
    job.poisoned.add(3)
    attempts.forget_crashes(job, [CHUNK])
    assert attempts.history(job, CHUNK).crashes == 0 and not job.poisoned.numbers()


def test_what_this_hosts_ended_workers_leave_is_no_death_and_others_are_let_be(job, tmp_path):
    other = stills_job(tmp_path / "other", 1)
    for folder, worker in ((job, HERE), (other, THERE)):
        die(attempts.acquire(folder, CHUNK, worker))
        folder.heartbeats.write(Heartbeat(chunk=CHUNK, worker=worker, done=0, at=time.time()))
        attempts.release_all(folder, HERE.host)
    assert attempts.history(job, CHUNK).crashes == 0
    assert attempts.history(other, CHUNK).crashes == 1
    with attempts.acquire(job, CHUNK, HERE):
        attempts.release_all(job, HERE.host)
        assert attempts.history(job, CHUNK).crashes == 1, "it is alive"


def test_a_record_that_a_crash_left_empty_is_a_death_nobody_knows_where(job, soon):
    die(attempts.acquire(job, CHUNK, HERE, timing=soon))
    job.attempt_path(CHUNK, 1).write_bytes(b"")
    with attempts.acquire(job, CHUNK, HERE, timing=soon) as lease:
        assert [a.numbers for a in lease.earlier.crashed] == [()]


def test_no_two_of_many_who_take_a_chunk_at_once_get_the_same_number(job, soon):
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
    """The claim of a chunk, renewed."""
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


def test_a_chunk_in_the_hands_of_a_worker_that_is_alive_is_left_to_it(job, soon):
    with attempts.acquire(job, CHUNK, THERE, timing=soon) as lease, beating(job, THERE):
        with pytest.raises(ChunkTaken, match="live worker"):
            attempts.acquire(job, CHUNK, HERE, timing=soon)
        assert not lease.superseded()


def test_whoever_waits_to_see_stops_when_the_job_is_cancelled(job, soon):
    def cancelled():
        raise JobCancelled("x")

    with attempts.acquire(job, CHUNK, THERE, timing=soon), pytest.raises(JobCancelled):
        attempts.acquire(job, CHUNK, HERE, checkpoint=cancelled, timing=soon)


def test_a_dead_process_of_this_host_is_not_waited_for(job):
    die(attempts.acquire(job, CHUNK, HERE))
    job.heartbeats.write(Heartbeat(chunk=CHUNK, worker=HERE, done=0, at=time.time()))

    def waits():
        raise AssertionError("its lock is gone")

    with attempts.acquire(job, CHUNK, HERE, checkpoint=waits) as lease:
        assert lease.number == 2


def test_a_folder_that_cannot_be_written_is_an_error_in_words(job):
    (job.path / "attempts").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        attempts.acquire(job, CHUNK, HERE)


# -- fencing ----------------------------------------------------------------------------------


def test_an_overtaken_worker_writes_nothing_more(job, tmp_path):
    """One that was held up for longer than a lease."""
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


def test_a_file_whose_chunk_was_taken_does_not_get_its_name(job, tmp_path):
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


def test_a_chunk_with_a_receipt_is_nobodys(job):
    with attempts.acquire(job, CHUNK, HERE) as lease:
        lease.check()
        job.receipts.write(receipt())
        assert lease.superseded()


def test_no_attempt_comes_back_to_a_job_that_has_ended(job):
    with attempts.acquire(job, CHUNK, HERE) as lease:
        job.drop_media()
        assert lease.superseded()
    assert not (job.path / "attempts").exists()


def receipt():
    return Receipt(
        chunk=CHUNK, fingerprint="f", frames=2, digest="d", worker=HERE, finished=time.time()
    )


def test_a_chunk_that_another_holds_is_no_failure_of_a_local_run(job, soon):
    with attempts.acquire(job, CHUNK, THERE, timing=soon), beating(job, THERE):
        executor = LocalExecutor(lambda _: IdentityEditor())
        executor.enqueue(job, job.plan().chunks)
        executor.poll(0)
    assert list(job.failures.all()) == [] and not job.receipts.ids()
