"""Jobs whose messages, workers or files disappear are repaired while they are followed."""

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import (
    BrokerError,
    ChunkTaken,
    EditError,
    JobCancelled,
    JobError,
    OutputError,
)
from ip2p_batch.execution.attempt import give_up
from ip2p_batch.jobs.activity import LEADER_LOCK
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import Failure, Heartbeat, Receipt, WorkerInfo
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.scheduler.progress import JobMonitor
from ip2p_batch.scheduler.reconcile import Reconciler
from ip2p_batch.storage.atomic import atomic_path

from . import clips
from .clips import images_of
from .jobs import image_job

WORKER = WorkerInfo(host="h", pid=1)
SOON = scheduler.ReconcileLimits(heartbeat_timeout=15.0, idle_seconds=0.1)
RECIPE = Recipe(instruction="x", model="identity", size=64, chunk_frames=8, carryover=0.3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clips.make(tmp_path_factory.mktemp("clip") / "clip.mp4", 40)


def local():
    return LocalExecutor(lambda _: IdentityEditor(lambda image: 255 - image))


def create(clip, output, settings):
    return scheduler.create_job(
        scheduler.EditRequest(source=clip, output=output, recipe=RECIPE), settings
    )


def alike(a, b):
    left, right = images_of(a), images_of(b)
    return len(left) == len(right) == 40 and all(map(np.array_equal, left, right))


def delete(path):
    path.unlink()


def empty(path):
    os.truncate(path, 0)


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("what", "harm"),
    [
        *(("segments", harm) for harm in (delete, empty, halve, flip)),
        *(("receipts", harm) for harm in (delete, empty, halve)),
        *(("borders", harm) for harm in (delete, empty, halve, flip)),
    ],
)
def test_a_file_that_is_lost_or_damaged_during_a_job_is_made_again(
    clip, tmp_path, settings, harm, what
):
    list(scheduler.follow_job(create(clip, tmp_path / "a.mp4", settings), local(), limits=SOON))
    folder = create(clip, tmp_path / "b.mp4", settings)
    harmed = []
    for event in scheduler.follow_job(folder, local(), limits=SOON):
        found = sorted(p for p in (folder.path / what).glob("[!.]*"))
        if event.kind == "chunk" and found and len(folder.receipts.ids()) > 3 and not harmed:
            harmed.append(found[len(found) // 2])
            harm(harmed[0])
    assert harmed and event.kind == "done", event
    assert alike(tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_segments_that_vanish_repeatedly_fail_the_job(clip, tmp_path, settings):
    folder = create(clip, tmp_path / "o.mp4", settings)
    executor = local()
    assemble = executor.enqueue_assembly

    def without_segments(job):
        for path in (job.path / "segments").iterdir():
            path.unlink()
        assemble(job)

    executor.enqueue_assembly = without_segments
    events = list(scheduler.follow_job(folder, executor, limits=SOON))
    assert events[-1].kind == "failed"
    assert "5 of 5 segments" in events[-1].message and "disk" in events[-1].data["hint"]
    assert not (tmp_path / "o.mp4").exists()
    assert list(scheduler.follow_job(folder, local(), limits=SOON))[-1].kind == "done"


def receipt(job, chunk):
    return Receipt(
        chunk=chunk, fingerprint=job.job().fingerprint(), frames=1, digest="d", worker=WORKER,
        finished=time.time(),
    )  # fmt: skip


def test_a_chunk_that_failed_in_one_worker_and_finished_in_another_is_finished(tmp_path):
    job, executor = image_job(tmp_path, 2), StubExecutor()
    scheduler.dispatch_next(job, executor)
    for chunk in job.plan().chunks:
        job.receipts.write(receipt(job, chunk.id))
    # The other worker checked for a receipt before it existed, and wrote its failure after.
    job.failures.write(Failure(chunk="1-000000", error="EditError", message="no"))
    assert not job.failures.chunk_ids() and not list(job.failures.all())
    status = scheduler.read_status(job)
    assert not status.failures and status.state == "waiting"  # no command leads it
    with job.locked(LEADER_LOCK):
        assert scheduler.read_status(job).state == "running"
    scheduler.dispatch_next(job, executor)
    assert executor.sent[-1] == ASSEMBLY
    give_up(job, "1-000001", EditError("no"), attempts=3, worker=WORKER)
    assert not (job.path / "failures" / "1-000001.json").exists()


ALL = ["1-000000", "1-000001"]


class Leader:
    """The process that leads a dispatched job, with a clock that the test moves."""

    def __init__(self, folder, executor):
        self.folder, self.executor = folder, executor
        self.now = 1000.0
        plan = folder.plan()
        self.monitor = JobMonitor(folder, plan, clock=lambda: self.now)
        self.reconciler = Reconciler(folder, plan, self.monitor, SOON, clock=lambda: self.now)

    def lead(self, seconds):
        """Reconcile once a second."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            self.monitor.poll(force=True)
            self.reconciler.reconcile(self.executor)


@pytest.fixture
def leader(tmp_path):
    folder, executor = image_job(tmp_path, 2), StubExecutor()
    scheduler.dispatch_next(folder, executor)
    return Leader(folder, executor)


def beat(folder, at):
    folder.heartbeats.write(Heartbeat(chunk="1-000001", worker=WORKER, done=0, at=at))


def test_messages_that_redis_lost_are_sent_again(leader):
    leader.executor.wipe()
    leader.lead(seconds=2)
    assert leader.executor.sent == ALL + ALL


def test_lost_messages_are_sent_again_while_the_queue_has_those_of_other_jobs(leader, tmp_path):
    leader.executor.wipe()
    other = image_job(tmp_path / "other", 3)
    leader.executor.enqueue(other, other.plan().chunks)
    leader.lead(seconds=2)
    assert leader.executor.queued_chunks(leader.folder).waiting == set(ALL)


def test_messages_that_wait_behind_those_of_other_jobs_are_not_sent_again(leader, tmp_path):
    other = image_job(tmp_path / "other", 3)
    leader.executor.enqueue(other, other.plan().chunks)
    before = list(leader.executor.sent)
    leader.lead(seconds=1000)
    assert leader.executor.sent == before


def test_a_chunk_whose_heartbeat_stops_is_requeued(leader, caplog):
    caplog.set_level("DEBUG", "ip2p_batch.scheduler")
    beat(leader.folder, at=1.0)
    leader.lead(seconds=14)
    assert leader.executor.sent == ALL
    leader.lead(seconds=4)
    assert leader.executor.sent == [*ALL, "1-000001"]
    assert leader.folder.heartbeats.get("1-000001") is None
    assert "chunk=1-000001 job=job state=stalled" in caplog.messages
    assert 'chunk=1-000001 job=job state=requeued reason="worker is dead"' in caplog.messages


def test_a_dead_workers_chunk_is_requeued_after_redis_was_offline(leader):
    leader.executor.wipe()
    beat(leader.folder, at=1.0)
    leader.executor.is_offline = True
    leader.lead(seconds=30)
    assert leader.executor.sent == ALL
    leader.executor.is_offline = False
    leader.lead(seconds=3)
    assert leader.executor.sent == ALL + ALL


def test_a_redis_that_stays_offline_ends_the_run(leader):
    leader.executor.is_offline = True
    leader.lead(seconds=100)
    with pytest.raises(BrokerError):
        leader.lead(seconds=60)


def test_a_worker_that_continues_without_redis_is_waited_for(leader):
    leader.executor.is_offline = True
    for number in range(40):
        beat(leader.folder, at=float(number))
        leader.lead(seconds=10)
    assert leader.executor.sent == ALL


def test_a_folder_that_cannot_be_written_is_reported_while_messages_wait(leader, monkeypatch):
    def check_writable(_):
        raise OutputError("full")

    monkeypatch.setattr(type(leader.folder), "check_writable", check_writable)
    with pytest.raises(OutputError, match="full"):
        leader.lead(seconds=5)


def test_a_paused_job_is_left_alone(leader):
    leader.executor.wipe()
    leader.folder.pause()
    leader.lead(seconds=1000)
    assert leader.executor.sent == ALL


def test_dispatches_that_lead_to_nothing_end_the_run(leader):
    with pytest.raises(JobError, match="finish none"):
        for _ in range(SOON.max_fruitless + 1):
            leader.executor.wipe()  # workers take the chunks and can write nothing
            leader.lead(seconds=2)
    assert leader.executor.sent == ALL * SOON.max_fruitless


def test_a_chunk_that_ends_after_its_job_leaves_no_files(clip, tmp_path, settings, monkeypatch):
    from ip2p_batch.execution import lease
    from ip2p_batch.execution.chunk import process_chunk

    # The worker writes no heartbeat while it sleeps.
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.2")
    monkeypatch.setattr(lease, "_HEARTBEAT_SECONDS", 60.0)
    folder = create(clip, tmp_path / "o.mp4", settings)
    late = folder.plan().wave(2)[1]

    def editor(_):
        # While this worker sleeps, another does the whole job.
        list(scheduler.follow_job(folder, local(), limits=SOON))
        assert folder.ended
        return IdentityEditor(lambda image: 255 - image)

    with suppress(JobCancelled, ChunkTaken):  # it may notice that its work is not needed
        process_chunk(folder, late, editor_for=editor, worker=WORKER)
    assert not (folder.path / "segments").exists()
    assert not list(Path(folder.path).rglob("heartbeats/*"))
    assert len(images_of(tmp_path / "o.mp4")) == 40


def test_a_redelivered_task_enqueues_an_assembly_that_was_marked_but_not_sent(tmp_path):
    job, executor = image_job(tmp_path, 2), StubExecutor()
    for chunk in ALL:
        job.receipts.write(receipt(job, chunk))
    job.mark_once("inflight/assembly")  # and the process died
    scheduler.dispatch_next(job, executor)
    assert executor.sent == []
    scheduler.dispatch_next(job, executor, redelivered=True)
    assert executor.sent == [ASSEMBLY]
    scheduler.dispatch_next(job, executor, redelivered=True)  # its message was sent
    assert executor.sent == [ASSEMBLY]


def test_media_that_a_dead_assembler_left_are_deleted(clip, tmp_path, settings):
    folder = create(clip, tmp_path / "o.mp4", settings)
    list(scheduler.follow_job(folder, local(), limits=SOON))
    for left in ("segments", "borders"):
        (folder.path / left).mkdir()
    assert list(scheduler.follow_job(folder, local(), limits=SOON))[-1].kind == "done"
    assert not (folder.path / "segments").exists() and not (folder.path / "borders").exists()


def test_temporary_files_are_deleted_before_the_result_is_written(clip, tmp_path, settings):
    output = tmp_path / "o.mp4"
    folder = create(clip, output, settings)
    with atomic_path(output) as part:
        part.write_bytes(b"x")
        stale = part.rename(part.with_name(f"{part.name}.kept.mp4"))
        part.touch()
    output.unlink()
    seen = []
    write_result = type(folder).write_result

    def write(self, result):
        seen.append(stale.exists())
        write_result(self, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(folder), "write_result", write)
        list(scheduler.follow_job(folder, local(), limits=SOON))
    assert seen == [False] and os.listdir(tmp_path) == ["o.mp4"]
