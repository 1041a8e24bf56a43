"""What a monitor reports of a job folder."""

import time

import pytest

from ip2p_batch.jobs.parts import Receipts
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import Failure, Heartbeat, Receipt, WorkerInfo
from ip2p_batch.scheduler.progress import JobMonitor

from .jobs import image_job

WORKER = WorkerInfo(host="h", pid=1)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def settle(folder, chunk_id):
    folder.receipts.write(
        Receipt(chunk=chunk_id, fingerprint="f", frames=1, digest="d", worker=WORKER, finished=1.0)
    )


def beat(folder, chunk_id, *, done=0, at=0.0):
    folder.heartbeats.write(Heartbeat(chunk=chunk_id, worker=WORKER, done=done, at=at))


def test_each_receipt_is_reported_once(tmp_path):
    folder = image_job(tmp_path, 3)
    monitor = JobMonitor(folder, folder.plan())
    settle(folder, "1-000001")
    monitor.poll(force=True)
    assert monitor.changed and monitor.done == 1
    assert [e.data["chunk"] for e in monitor.new_events()] == ["1-000001"]
    monitor.poll(force=True)
    assert not monitor.changed
    assert list(monitor.new_events()) == []


def test_progress_counts_frames_in_flight_and_never_decreases(tmp_path):
    folder = image_job(tmp_path, 8, each=4)
    monitor = JobMonitor(folder, folder.plan())
    beat(folder, "1-000000", done=3)
    monitor.poll(force=True)
    assert monitor.done == 3
    beat(folder, "1-000000", done=1)  # another worker has started the chunk again
    monitor.poll(force=True)
    assert monitor.done == 3
    settle(folder, "1-000000")
    monitor.poll(force=True)
    assert monitor.done == 4


def test_a_lost_receipt_is_a_change(tmp_path):
    folder = image_job(tmp_path, 2)
    monitor = JobMonitor(folder, folder.plan())
    settle(folder, "1-000000")
    monitor.poll(force=True)
    folder.receipts.remove("1-000000")
    monitor.poll(force=True)
    assert monitor.changed and monitor.finished == set()


def test_a_slow_folder_is_scanned_rarely_and_every_receipt_is_reported(tmp_path, clock):
    scans = []

    class SlowReceipts(Receipts):
        def ids(self):
            scans.append(clock.now)
            clock.now += 0.02
            return super().ids()

    folder = image_job(tmp_path, 12)
    folder.receipts = SlowReceipts(folder)
    monitor = JobMonitor(folder, folder.plan(), scan_share=0.01, clock=clock)
    reported = []
    ids = [c.id for c in folder.plan().chunks]
    for chunk_id in ids:
        settle(folder, chunk_id)
        clock.now += 0.2
        monitor.poll()
        reported += monitor.new_events()
    assert len(scans) == 2, "one every two seconds, since a scan takes 0.02 s"
    monitor.poll(force=True)
    reported += monitor.new_events()
    assert sorted(e.data["chunk"] for e in reported) == ids


def test_a_job_without_heartbeats_and_receipts_is_idle(tmp_path, clock):
    folder = image_job(tmp_path, 2)
    monitor = JobMonitor(folder, folder.plan(), clock=clock)
    clock.now += 10
    monitor.poll(force=True)
    assert monitor.idle_seconds == 10
    for activity in (
        lambda: beat(folder, "1-000000"),
        lambda: settle(folder, "1-000000"),  # which removes its heartbeat
        lambda: folder.pause(),
    ):
        clock.now += 10
        activity()
        monitor.poll(force=True)
        assert monitor.idle_seconds == 0


def test_heartbeats_are_dated_by_the_monitors_own_clock(tmp_path, clock):
    folder = image_job(tmp_path, 2)
    monitor = JobMonitor(folder, folder.plan(), clock=clock)
    beat(folder, "1-000000", at=time.time() + 3600)  # a host whose clock is wrong
    monitor.poll(force=True)
    clock.now += 10
    monitor.poll(force=True)
    assert monitor.heartbeats["1-000000"].unchanged_since == 100
    beat(folder, "1-000000", at=7.0)
    monitor.poll(force=True)
    assert monitor.heartbeats["1-000000"].unchanged_since == 110


def test_failures_are_final_once_their_wave_is_settled(tmp_path):
    folder = image_job(tmp_path, 2)
    monitor = JobMonitor(folder, folder.plan())
    folder.failures.write(Failure(chunk="1-000000", error="EditError", message="no"))
    monitor.poll(force=True)
    assert monitor.settled == {"1-000000"}
    assert monitor.final_failures() == []
    settle(folder, "1-000001")
    monitor.poll(force=True)
    assert [f.chunk for f in monitor.final_failures()] == ["1-000000"]


def test_a_failed_assembly_is_final(tmp_path):
    folder = image_job(tmp_path, 1)
    monitor = JobMonitor(folder, folder.plan())
    folder.failures.write(Failure(chunk=ASSEMBLY, error="EditError", message="no"))
    assert [f.chunk for f in monitor.final_failures()] == [ASSEMBLY]
