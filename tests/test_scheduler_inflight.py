"""How much of a job stands in the queue at a time."""

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

from .worker_processes import stills_job


def settle(folder, chunk):
    folder.receipts.write(
        Receipt(
            chunk=chunk, fingerprint="f", frames=1, digest="d",
            worker=WorkerInfo(host="h", pid=1), finished=1.0,
        )
    )  # fmt: skip


def ids(folder):
    return [c.id for c in folder.plan().chunks]


def test_a_job_hands_over_a_window_and_one_more_for_each_that_is_settled(tmp_path):
    folder, executor = stills_job(tmp_path, 10), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    assert executor.sent == every[:4]
    settle(folder, every[2])
    scheduler.dispatch_next(folder, executor, (every[2],))
    assert executor.sent == every[:5]
    scheduler.dispatch_next(folder, executor, (every[2],))  # a message that came twice
    assert executor.sent == every[:5]


def test_more_workers_are_given_more_at_once(tmp_path):
    folder, executor = stills_job(tmp_path, 10), StubExecutor(2)
    scheduler.dispatch_next(folder, executor)
    executor.limit = 8
    scheduler.dispatch_next(folder, executor, ())
    assert executor.sent == ids(folder)[:8]


def test_what_a_worker_that_died_did_not_hand_over_the_next_one_does(tmp_path):
    folder, executor = stills_job(tmp_path, 10), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    for chunk in every[:3]:
        settle(folder, chunk)  # and no word of it
    scheduler.dispatch_next(folder, executor)
    assert executor.sent == every[:7]


def test_places_of_chunks_that_were_settled_in_silence_are_filled_again(tmp_path):
    folder, executor = stills_job(tmp_path, 20), StubExecutor(4)
    scheduler.dispatch_next(folder, executor)
    every = ids(folder)
    for chunk in every[:3]:
        settle(folder, chunk)
    settle(folder, every[3])
    scheduler.dispatch_next(folder, executor, (every[3],))
    assert executor.sent == every[:8]


def test_a_window_that_cannot_be_written_is_one_clear_error(tmp_path):
    folder, executor = stills_job(tmp_path, 3), StubExecutor(2)
    (folder.path / "inflight").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"wave\.json cannot be written"):
        scheduler.dispatch_next(folder, executor)


def test_a_window_is_neither_read_nor_written_outside_the_allowed_roots(tmp_path):
    folder, executor = stills_job(tmp_path / "in", 3), StubExecutor(2)
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder.path / "inflight").symlink_to(outside)
    held = JobFolder(folder.path, Roots.parse(str(tmp_path / "in")))
    with pytest.raises(OutsideRoots):
        scheduler.dispatch_next(held, executor)
    assert not executor.sent and not list(outside.iterdir())


def test_a_window_that_is_lost_or_damaged_is_made_anew_from_the_receipts(tmp_path):
    folder, executor = stills_job(tmp_path, 6), StubExecutor(4)
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


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 25),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
    st.sets(st.integers(0, 4)),
)
def test_each_chunk_is_handed_over_once_whatever_comes_first(
    tmp_path_factory, count, width, chance, silent
):
    tmp_path = tmp_path_factory.mktemp("window")
    folder, executor = stills_job(tmp_path, count), StubExecutor(width)
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
        if len(done) % 5 in silent:  # whoever did it died before it could hand over
            if len(open_) == 1:
                scheduler.dispatch_next(folder, executor)
        else:
            scheduler.dispatch_next(folder, executor, (chunk,))
    scheduler.dispatch_next(folder, executor)
    assert executor.sent == [*every, ASSEMBLY]
    shutil.rmtree(tmp_path)


# -- on a real Redis ------------------------------------------------------------------------


def test_a_job_that_is_handed_over_twice_stands_in_the_queue_once(tmp_path, executor):
    folder = stills_job(tmp_path, 9)
    scheduler.submit_job(folder, executor)
    assert executor.queue_length() == executor.max_inflight() == 4
    scheduler.submit_job(folder, executor)
    assert executor.queue_length() == 4
    assert executor.queued_chunks(folder).waiting == set(ids(folder)[:4])


def test_what_a_live_worker_has_in_hand_is_not_handed_over_again(tmp_path, redis, executor):
    folder = stills_job(tmp_path, 9)
    first, second, *_ = ids(folder)
    scheduler.submit_job(folder, executor)
    take(redis, 2)  # by a worker that lives, and by one that died
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


def test_what_others_put_into_the_queue_is_none_of_a_jobs_messages(tmp_path, redis, executor):
    folder, other = stills_job(tmp_path / "a", 1), stills_job(tmp_path / "b", 1)
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


def test_the_width_is_two_for_each_worker_with_a_message(redis, executor):
    assert executor.is_idle() and executor.max_inflight() == 4
    client = redis_url.connect(redis.url)
    for number in range(7):
        client.hset("ip2p:unacked", str(number), "a message")
    client.close()
    assert executor.is_idle() and executor.max_inflight() == 14


def test_forgetting_a_window_that_was_never_begun_does_no_harm(tmp_path):
    folder = stills_job(tmp_path, 1)
    assert not folder.dispatch.started
    folder.dispatch.clear()
    scheduler.dispatch_next(folder, StubExecutor())
    assert folder.dispatch.started


@pytest.mark.timeout(60)
def test_who_only_watches_hands_over_where_nobody_else_does(tmp_path, executor):
    """A watcher may have another broker than the command that follows the job."""
    folder = stills_job(tmp_path, 9)
    follower = scheduler.follow_job(folder, StubExecutor(2))
    assert next(follower).kind == "started"
    first, second, *_ = ids(folder)
    see_settled(folder, executor, first)
    assert executor.queue_length() == 0, "the follower was there"
    follower.close()
    see_settled(folder, executor, second)
    assert executor.queue_length() == 4, "and now nobody was"


def see_settled(folder, executor, chunk):
    """Watch a job while a chunk of it is settled."""
    watching = scheduler.watch_job(folder, executor)
    assert [next(watching).kind for _ in range(2)] == ["started", "progress"]
    settle(folder, chunk)
    while next(watching).kind != "progress":
        pass  # this one is told after what is due was handed over
    watching.close()
