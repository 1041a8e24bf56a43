"""A cancelled job stops between two denoising steps, at little cost."""

import time

import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import JobCancelled
from ip2p_batch.execution.cancellation import POLL_SECONDS, CancellationCheck
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .jobs import image_job
from .waiting import Clock


def test_a_cancel_order_is_seen_before_the_next_step_and_never_taken_back(tmp_path):
    folder, clock = image_job(tmp_path, 1), Clock()
    cancellation = CancellationCheck(folder, "castle", clock)
    cancellation.check()
    folder.cancel()
    clock.now += 2 * POLL_SECONDS  # a denoising step takes longer
    with pytest.raises(JobCancelled, match="castle"):
        cancellation.check()
    folder.unmark("cancel")  # the job is resumed meanwhile
    with pytest.raises(JobCancelled):
        cancellation.check()


def test_the_job_folder_is_read_at_most_every_few_hundredths_of_a_second(tmp_path):
    folder, clock = image_job(tmp_path, 1), Clock()
    cancellation = CancellationCheck(folder, "castle", clock)
    cancellation.check()
    folder.cancel()
    clock.now += 0.5 * POLL_SECONDS
    cancellation.check()
    with pytest.raises(JobCancelled):
        cancellation.check_now()


def test_on_a_slow_share_reading_takes_at_most_a_fiftieth_of_the_time(tmp_path):
    clock, polls = Clock(), []

    class SlowFolder(JobFolder):
        @property
        def cancelled(self):
            polls.append(clock.now)
            clock.now += 0.5
            return False

    cancellation = CancellationCheck(SlowFolder(image_job(tmp_path, 1).path), "castle", clock)
    end = clock.now + 1000.0
    while clock.now < end:
        cancellation.check()
        clock.now += 0.25
    assert 0.5 * len(polls) <= 0.02 * 1000.0 + 0.5


def test_no_image_is_edited_after_a_cancel_order(tmp_path):
    folder = image_job(tmp_path, 12, each=12)
    edited = []

    def edit(image):
        edited.append(1)
        if len(edited) == 3:
            folder.cancel()
        time.sleep(2 * POLL_SECONDS)
        return image

    executor = LocalExecutor(lambda _: IdentityEditor(edit))
    events = list(scheduler.follow_job(folder, executor))
    assert events[-1].kind == "cancelled"
    assert len(edited) == 3
    assert not list(folder.heartbeats.all()) and not list(folder.failures.all())


def test_a_chunk_whose_job_is_resumed_while_it_stops_is_edited_all_the_same(tmp_path):
    """The resuming command sees the chunk at this worker, and does not dispatch it again."""
    folder = image_job(tmp_path, 1)
    calls = []

    def edit(image):
        calls.append(1)
        if len(calls) == 1:
            raise JobCancelled("seen just before the order was taken back")
        return image

    (chunk,) = folder.plan().chunks
    worker = WorkerInfo(host="h", pid=1)
    process_chunk(folder, chunk, editor_for=lambda _: IdentityEditor(edit), worker=worker)
    assert len(calls) == 2 and folder.receipts.ids() == {chunk.id}
