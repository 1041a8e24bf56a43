"""What a follower makes up for, and what becomes of a job whose files vanish in the midst of it."""

import os
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import BrokerError, ChunkTaken, EditError, JobCancelled, OutputError
from ip2p_batch.execution.attempt import give_up
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import Failure, Heartbeat, Receipt, WorkerInfo
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import progress
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.scheduler.progress import JobMonitor
from ip2p_batch.storage.atomic import atomic_path

from . import clips
from .worker_processes import stills_job

WORKER = WorkerInfo(host="h", pid=1)
RECIPE = Recipe(instruction="x", model="identity", size=64, chunk_frames=8, carryover=0.3)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(progress, "_RECONCILE_SECONDS", 0.1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clips.make(tmp_path_factory.mktemp("clip") / "clip.mp4", 40)


def local():
    return LocalExecutor(lambda _: IdentityEditor(lambda image: 255 - image))


def create(clip, output, settings):
    return scheduler.create_job(
        scheduler.EditRequest(source=clip, output=output, recipe=RECIPE), settings
    )


def pixels(path):
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def alike(a, b):
    left, right = pixels(a), pixels(b)
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
def test_a_file_that_is_lost_or_damaged_in_mid_job_is_made_again(
    clip, tmp_path, settings, harm, what
):
    list(scheduler.follow_job(create(clip, tmp_path / "a.mp4", settings), local()))
    folder = create(clip, tmp_path / "b.mp4", settings)
    harmed = []
    for event in scheduler.follow_job(folder, local()):
        found = sorted(p for p in (folder.path / what).glob("[!.]*"))
        if event.kind == "chunk" and found and len(folder.receipts.ids()) > 3 and not harmed:
            harmed.append(found[len(found) // 2])
            harm(harmed[0])
    assert harmed and event.kind == "done", event
    assert alike(tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_segments_that_vanish_again_and_again_end_the_job_with_a_word(clip, tmp_path, settings):
    folder = create(clip, tmp_path / "o.mp4", settings)
    executor = local()
    assemble = executor.enqueue_assembly

    def without_segments(job):
        for path in (job.path / "segments").iterdir():
            path.unlink()
        assemble(job)

    executor.enqueue_assembly = without_segments
    events = list(scheduler.follow_job(folder, executor))
    assert events[-1].kind == "failed"
    assert "5 of 5 segments" in events[-1].message and "disk" in events[-1].data["hint"]
    assert not (tmp_path / "o.mp4").exists()
    assert list(scheduler.follow_job(folder, local()))[-1].kind == "done"


def receipt(job, chunk):
    return Receipt(
        chunk=chunk, fingerprint=job.job().fingerprint(), frames=1, digest="d", worker=WORKER,
        finished=time.time(),
    )  # fmt: skip


def test_a_chunk_that_failed_for_one_and_was_finished_by_another_is_finished(tmp_path):
    job, executor = stills_job(tmp_path, 2), StubExecutor()
    scheduler.dispatch_next(job, executor)
    for chunk in job.plan().chunks:
        job.receipts.write(receipt(job, chunk.id))
    # The other looked before there was a receipt, and wrote after.
    job.failures.write(Failure(chunk="1-000000", error="EditError", message="no"))
    assert not job.failures.chunk_ids() and not list(job.failures.all())
    assert not scheduler.read_status(job).failures and scheduler.read_status(job).state == "running"
    scheduler.dispatch_next(job, executor)
    assert executor.sent[-1] == ASSEMBLY
    give_up(job, "1-000001", EditError("no"), attempts=3, worker=WORKER)
    assert not (job.path / "failures" / "1-000001.json").exists()


class Clock:
    """Time as :mod:`watching` sees it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def reconcile(self, watch, executor, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            watch.scan()
            watch.reconcile(executor)


@pytest.fixture
def standing(tmp_path, monkeypatch):
    """A job that was handed over, and a clock."""
    job, executor = stills_job(tmp_path, 2), StubExecutor()
    scheduler.dispatch_next(job, executor)
    return job, executor, JobMonitor(job, job.plan()), Clock(monkeypatch)


ALL = ["1-000000", "1-000001"]


def test_messages_that_redis_forgot_are_sent_again(standing):
    _, executor, watch, clock = standing
    executor.wipe()
    clock.reconcile(watch, executor, 2)
    assert executor.sent == ALL + ALL


def test_messages_lost_in_a_queue_that_others_use_are_sent_again(standing, tmp_path):
    job, executor, watch, clock = standing
    executor.wipe()
    other = stills_job(tmp_path / "other", 3)
    executor.enqueue(other, other.plan().chunks)
    clock.reconcile(watch, executor, 2)
    assert executor.queued_chunks(job).waiting == set(ALL)


def test_messages_that_wait_behind_others_are_not_sent_again(standing, tmp_path):
    _, executor, watch, clock = standing
    other = stills_job(tmp_path / "other", 3)
    executor.enqueue(other, other.plan().chunks)
    before = list(executor.sent)
    clock.reconcile(watch, executor, 1000)
    assert executor.sent == before


def test_a_dead_workers_chunk_is_handed_over_though_redis_is_away_for_a_while(standing):
    job, executor, watch, clock = standing
    executor.wipe()
    job.heartbeats.write(Heartbeat(chunk="1-000001", worker=WORKER, done=0, at=1.0))
    executor.is_offline = True
    clock.reconcile(watch, executor, 30)
    assert executor.sent == ALL
    executor.is_offline = False
    clock.reconcile(watch, executor, 3)
    assert executor.sent == ALL + ALL


def test_a_redis_that_does_not_come_back_ends_the_waiting(standing):
    _, executor, watch, clock = standing
    executor.is_offline = True
    clock.reconcile(watch, executor, 100)
    with pytest.raises(BrokerError):
        clock.reconcile(watch, executor, 60)


def test_a_worker_that_goes_on_without_redis_is_waited_for(standing):
    job, executor, watch, clock = standing
    executor.is_offline = True
    for beat in range(40):
        job.heartbeats.write(Heartbeat(chunk="1-000001", worker=WORKER, done=0, at=float(beat)))
        clock.reconcile(watch, executor, 10)
    assert executor.sent == ALL


def test_a_folder_that_cannot_be_written_is_told_though_messages_wait(standing, monkeypatch):
    job, executor, watch, clock = standing
    full = OutputError("full")
    monkeypatch.setattr(type(job), "check_writable", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(OutputError, match="full"):
        clock.reconcile(watch, executor, 5)


def test_work_that_ends_after_its_job_leaves_nothing(clip, tmp_path, settings, monkeypatch):
    from ip2p_batch.execution import lease
    from ip2p_batch.execution.chunk import process_chunk

    # It sleeps so soundly that it gives no sign of life.
    monkeypatch.setenv("IP2P_HEARTBEAT_TIMEOUT", "0.2")
    monkeypatch.setattr(lease, "_HEARTBEAT_SECONDS", 60.0)
    folder = create(clip, tmp_path / "o.mp4", settings)
    late = folder.plan().wave(2)[1]

    def editor(_):
        # While this worker sleeps, another does the whole job.
        list(scheduler.follow_job(folder, local()))
        assert folder.ended
        return IdentityEditor(lambda image: 255 - image)

    with suppress(JobCancelled, ChunkTaken):  # it sees in time that nobody needs it any more
        process_chunk(folder, late, editor_for=editor, worker=WORKER)
    assert not (folder.path / "segments").exists()
    assert not list(Path(folder.path).rglob("heartbeats/*"))
    assert len(pixels(tmp_path / "o.mp4")) == 40


def test_who_comes_for_one_that_died_in_the_midst_of_handing_over_does_it_anew(tmp_path):
    job, executor = stills_job(tmp_path, 2), StubExecutor()
    for chunk in ALL:
        job.receipts.write(receipt(job, chunk))
    job.mark_once("inflight/assembly")  # and dead
    scheduler.dispatch_next(job, executor)
    assert executor.sent == []
    scheduler.dispatch_next(job, executor, again=True)
    assert executor.sent == [ASSEMBLY]
    scheduler.dispatch_next(job, executor, again=True)  # its message was sent
    assert executor.sent == [ASSEMBLY]


def test_media_that_a_dead_assembler_left_go_when_somebody_sees_the_end(clip, tmp_path, settings):
    folder = create(clip, tmp_path / "o.mp4", settings)
    list(scheduler.follow_job(folder, local()))
    for left in ("segments", "borders"):
        (folder.path / left).mkdir()
    assert list(scheduler.follow_job(folder, local()))[-1].kind == "done"
    assert not (folder.path / "segments").exists() and not (folder.path / "borders").exists()


def test_parts_of_results_are_swept_before_the_job_is_said_to_be_done(clip, tmp_path, settings):
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
        list(scheduler.follow_job(folder, local()))
    assert seen == [False] and os.listdir(tmp_path) == ["o.mp4"]
