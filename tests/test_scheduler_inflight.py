"""The in-flight window: how many chunks of a job are queued at once."""

import shutil
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch import scheduler
from ip2p_batch.errors import OutputError, OutsideRoots
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import Heartbeat, Receipt, WorkerInfo
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.executor import QueuedChunks
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.storage.roots import Roots

from .jobs import image_job


def settle(folder, chunk):
    folder.receipts.write(
        Receipt(
            chunk=chunk, fingerprint="f", frames=1, digest="d",
            worker=WorkerInfo(host="h", pid=1), finished=1.0,
        )
    )  # fmt: skip


def ids(folder):
    return [c.id for c in folder.plan().chunks]


def test_a_job_enqueues_a_window_and_one_chunk_for_each_settled_one(tmp_path):
    folder, executor = image_job(tmp_path, 10), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    assert executor.sent == every[:4]
    settle(folder, every[2])
    scheduler.dispatch_next(folder, executor, (every[2],))
    assert executor.sent == every[:5]
    scheduler.dispatch_next(folder, executor, (every[2],))  # a message that came twice
    assert executor.sent == every[:5]


def test_a_larger_limit_fills_the_window(tmp_path):
    folder, executor = image_job(tmp_path, 10), StubExecutor(2)
    scheduler.dispatch_next(folder, executor)
    executor.limit = 8
    scheduler.dispatch_next(folder, executor, ())
    assert executor.sent == ids(folder)[:8]


def test_chunks_that_a_dead_worker_did_not_enqueue_are_enqueued_by_the_next(tmp_path):
    folder, executor = image_job(tmp_path, 10), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    for chunk in every[:3]:
        settle(folder, chunk)  # and its worker died
    scheduler.dispatch_next(folder, executor)
    assert executor.sent == every[:7]


def test_places_of_chunks_that_were_settled_unnoticed_are_filled(tmp_path):
    folder, executor = image_job(tmp_path, 20), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    for chunk in every[:3]:
        settle(folder, chunk)
    settle(folder, every[3])
    scheduler.dispatch_next(folder, executor, (every[3],))
    assert executor.sent == every[:8]


def test_a_record_that_cannot_be_written_is_an_output_error(tmp_path):
    folder, executor = image_job(tmp_path, 3), StubExecutor(2)
    (folder.path / "inflight").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"wave\.json cannot be written"):
        scheduler.dispatch_next(folder, executor)


def test_the_record_is_neither_read_nor_written_outside_the_allowed_roots(tmp_path):
    folder, executor = image_job(tmp_path / "in", 3), StubExecutor(2)
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder.path / "inflight").symlink_to(outside)
    held = JobFolder(folder.path, Roots.parse(str(tmp_path / "in")))
    with pytest.raises(OutsideRoots):
        scheduler.dispatch_next(held, executor)
    assert not executor.sent and not list(outside.iterdir())


def test_a_lost_or_damaged_record_is_made_again_from_receipts_and_queue(tmp_path):
    folder, executor = image_job(tmp_path, 6), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    settle(folder, every[0])
    (folder.path / "inflight" / "wave.json").write_bytes(b"")
    scheduler.dispatch_next(folder, executor, (every[0],))
    assert executor.sent == every[:5], "the queue still has the others"
    (folder.path / "inflight" / "wave.json").unlink()
    executor.wipe()
    scheduler.dispatch_next(folder, executor, ())
    assert executor.sent == every[:5] + every[1:5]


@settings(max_examples=20)
@given(
    st.integers(1, 25),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
    st.sets(st.integers(0, 4)),
)
def test_each_chunk_is_enqueued_once_in_any_order_of_settling(
    tmp_path_factory, count, width, chance, silent
):
    tmp_path = tmp_path_factory.mktemp("window")
    folder, executor = image_job(tmp_path, count), StubExecutor(width)
    every = ids(folder)
    scheduler.dispatch_next(folder, executor)
    done = set()
    while True:
        open_ = [c for c in executor.sent if c not in done and c != ASSEMBLY]
        assert len(open_) <= width
        if not open_:
            break
        chunk = chance.choice(open_)
        done.add(chunk)
        settle(folder, chunk)
        if len(done) % 5 in silent:  # its worker died before it could enqueue the next
            if len(open_) == 1:
                scheduler.dispatch_next(folder, executor)
        else:
            scheduler.dispatch_next(folder, executor, (chunk,))
    scheduler.dispatch_next(folder, executor)
    assert executor.sent == [*every, ASSEMBLY]
    shutil.rmtree(tmp_path)


# -- on a real Redis ------------------------------------------------------------------------


def test_a_job_that_is_submitted_twice_is_queued_once(tmp_path, executor):
    folder = image_job(tmp_path, 9)
    scheduler.submit_job(folder, executor)
    assert executor.queue_length() == executor.max_inflight() == 4
    scheduler.submit_job(folder, executor)
    assert executor.queue_length() == 4
    assert executor.queued_chunks(folder).waiting == set(ids(folder)[:4])


def test_a_chunk_of_a_live_worker_is_not_enqueued_again(tmp_path, redis, executor):
    folder = image_job(tmp_path, 9)
    first, second, *_ = ids(folder)
    scheduler.submit_job(folder, executor)
    take(redis, 2)  # by a live worker and by a dead one
    assert executor.queued_chunks(folder).unacked == {first, second}
    worker = WorkerInfo(host="h", pid=1)
    folder.heartbeats.write(Heartbeat(chunk=first, worker=worker, done=0, at=time.time()))
    folder.heartbeats.write(Heartbeat(chunk=second, worker=worker, done=0, at=time.time() - 60))
    scheduler.submit_job(folder, executor)
    client = redis_url.connect(redis.url)
    assert client.llen("ip2p:chunks:3") == 3
    client.close()
    assert executor.queued_chunks(folder).waiting == set(ids(folder)[1:4])


def take(redis, count):
    """Do as Kombu does when a worker takes messages."""
    client = redis_url.connect(redis.url)
    for number in range(count):
        message = client.rpop("ip2p:chunks:3").decode()
        client.hset("ip2p:unacked", str(number), f'[{message}, "", "chunks"]')
    client.close()


def test_foreign_messages_in_the_queue_are_ignored(tmp_path, redis, executor):
    folder, other = image_job(tmp_path / "a", 1), image_job(tmp_path / "b", 1)
    client = redis_url.connect(redis.url)
    for raw in ("}{", "[]", "[7]", '{"body": "AAAA"}', '{"body": 7}', b"\xff"):
        client.lpush("ip2p:chunks", raw)
        client.hset("ip2p:unacked", raw, raw)
    client.close()
    scheduler.submit_job(other, executor)
    assert executor.queued_chunks(folder) == QueuedChunks()
    assert executor.queued_chunks(other).waiting == {ids(other)[0]}
    executor.enqueue_assembly(folder)
    assert executor.queued_chunks(folder).waiting == {ASSEMBLY}


def test_the_limit_is_two_chunks_per_busy_worker(redis, executor):
    assert executor.is_idle() and executor.max_inflight() == 4
    client = redis_url.connect(redis.url)
    for number in range(7):
        client.hset("ip2p:unacked", str(number), "a message")
    client.close()
    assert executor.is_idle() and executor.max_inflight() == 14


def test_clearing_a_record_that_does_not_exist_is_harmless(tmp_path):
    folder = image_job(tmp_path, 1)
    assert not folder.dispatch.started
    folder.dispatch.clear()
    scheduler.dispatch_next(folder, StubExecutor())
    assert folder.dispatch.started


@pytest.mark.timeout(60)
def test_a_watcher_dispatches_only_while_no_process_leads_the_job(tmp_path, executor):
    """A watcher may have another broker than the command that follows the job."""
    folder = image_job(tmp_path, 9)
    follower = scheduler.follow_job(folder, StubExecutor(2))
    assert next(follower).kind == "started"
    first, second, *_ = ids(folder)
    see_settled(folder, executor, first)
    assert executor.queue_length() == 0, "the follower led"
    follower.close()
    see_settled(folder, executor, second)
    assert executor.queue_length() == 4, "the watcher leads"


def see_settled(folder, executor, chunk):
    """Watch a job while a chunk of it is settled."""
    watching = scheduler.watch_job(folder, executor)
    assert [next(watching).kind for _ in range(2)] == ["started", "progress"]
    settle(folder, chunk)
    while next(watching).kind != "progress":
        pass  # this event follows the dispatch
    watching.close()
