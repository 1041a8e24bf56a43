"""A chunk in hand, and the order to stop."""

import time

import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import JobCancelled
from ip2p_batch.execution import chunk_run as module
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.execution.chunk_run import Work
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .worker_processes import stills_job


def in_hand(folder):
    return Work(folder, folder.job(), folder.plan().chunks[0], WorkerInfo(host="h", pid=1))


def test_an_order_to_stop_is_seen_before_the_next_step(tmp_path):
    folder = stills_job(tmp_path, 1)
    work = in_hand(folder)
    work.checkpoint()
    scheduler.cancel(folder)
    time.sleep(2 * module._LOOK_SECONDS)  # as a denoising step takes
    with pytest.raises(JobCancelled):
        work.checkpoint()
    folder.unmark("cancel")  # taken up again by others meanwhile
    with pytest.raises(JobCancelled):
        work.checkpoint()


def test_looking_for_it_takes_little_time_where_steps_are_short_or_the_share_is_slow(
    tmp_path, monkeypatch
):
    looks = []

    class Slow(type(stills_job(tmp_path / "a", 1))):
        @property
        def cancelled(self):
            looks.append(1)
            time.sleep(0.02)
            return False

    folder = stills_job(tmp_path / "b", 1)
    work = in_hand(Slow(folder.path))
    start = time.monotonic()
    while time.monotonic() - start < 0.5:
        work.checkpoint()
    assert len(looks) == 1


def test_no_frame_is_edited_after_the_order(tmp_path):
    folder = stills_job(tmp_path, 12, each=12)
    edited = []

    def edit(image):
        edited.append(1)
        if len(edited) == 3:
            scheduler.cancel(folder)
        time.sleep(2 * module._LOOK_SECONDS)
        return image

    executor = LocalExecutor(lambda _: IdentityEditor(edit))
    events = list(scheduler.follow_job(folder, executor))
    assert events[-1].kind == "cancelled"
    assert len(edited) == 3
    assert not list(folder.heartbeats()) and not list(folder.failures())


def test_a_chunk_that_is_dropped_while_its_job_is_taken_up_again_is_done_all_the_same(tmp_path):
    """Whoever takes it up sees it in hand here, and does not hand it to others."""
    folder = stills_job(tmp_path, 1)
    tries = []

    def edit(image):
        tries.append(1)
        if len(tries) == 1:
            raise JobCancelled("seen a moment before the order was taken back")
        return image

    (chunk,) = folder.plan().chunks
    process_chunk(
        folder, chunk, editor_for=lambda _: IdentityEditor(edit), worker=in_hand(folder).worker
    )
    assert len(tries) == 2 and folder.finished() == {chunk.id}
