"""What every executor must do: in this process, through Celery with a real worker, and the stub."""

from contextlib import closing, contextmanager, nullcontext

import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import BrokerError
from ip2p_batch.execution.assemble import assemble
from ip2p_batch.execution.chunk import process_chunk
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import WorkerInfo
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.executor import Executor, QueuedChunks
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher

KINDS = ("local", "celery", "stub")


def local():
    return nullcontext(LocalExecutor(lambda _: IdentityEditor()))


def stub():
    def work(folder, chunk_id):
        if chunk_id == ASSEMBLY:
            assemble(folder)
        elif not folder.paused:
            worker = WorkerInfo(host="h", pid=1)
            chunk = folder.chunk(chunk_id)
            process_chunk(folder, chunk, editor_for=lambda _: IdentityEditor(), worker=worker)

    return nullcontext(StubExecutor(work=work))


@contextmanager
def celery():
    with PrivateRedis() as redis, closing(CeleryExecutor(redis.url)) as executor:
        yield executor


@pytest.fixture(params=KINDS)
def queue(request):
    """An executor whose queue no worker reads; it runs nothing unless it is polled."""
    with {"local": local, "celery": celery, "stub": stub}[request.param]() as executor:
        as_protocol: Executor = executor
        yield as_protocol


@pytest.fixture(scope="module")
def celery_with_worker(tmp_path_factory):
    log = tmp_path_factory.mktemp("worker") / "log"
    with (
        PrivateRedis() as redis,
        closing(CeleryExecutor(redis.url)) as executor,
        run_launcher(redis.url, log),
    ):
        yield executor


@pytest.fixture(params=KINDS)
def executor(request):
    """An executor that runs what it is given while it is polled."""
    if request.param == "celery":
        yield request.getfixturevalue("celery_with_worker")
    else:
        with {"local": local, "stub": stub}[request.param]() as executor:
            yield executor


def poll_until(executor, condition):
    def polled():
        executor.poll(0.05)
        return condition()

    return wait_for(polled)


# -- the queue ------------------------------------------------------------------------------


def test_a_new_queue_is_empty(queue, tmp_path):
    assert queue.queue_length() == 0
    assert queue.is_idle()
    assert queue.queued_chunks(image_job(tmp_path, 1)) == QueuedChunks()


def test_enqueued_chunks_are_waiting(queue, tmp_path):
    folder = image_job(tmp_path, 3)
    queue.enqueue(folder, folder.plan().chunks[:2])
    assert queue.queue_length() == 2
    assert not queue.is_idle()
    assert queue.queued_chunks(folder) == QueuedChunks(frozenset({"1-000000", "1-000001"}))


def test_an_enqueued_assembly_is_waiting(queue, tmp_path):
    folder = image_job(tmp_path, 1)
    queue.enqueue_assembly(folder)
    assert queue.queue_length() == 1
    assert not queue.is_idle()
    assert queue.queued_chunks(folder) == QueuedChunks(frozenset({ASSEMBLY}))


def test_enqueuing_no_chunks_changes_nothing(queue, tmp_path):
    queue.enqueue(image_job(tmp_path, 1), [])
    assert queue.queue_length() == 0 and queue.is_idle()


def test_queued_chunks_are_those_of_one_job(queue, tmp_path):
    first, second = image_job(tmp_path / "a", 2), image_job(tmp_path / "b", 3)
    queue.enqueue(first, first.plan().chunks[:1])
    queue.enqueue(second, second.plan().chunks[1:])
    queue.enqueue_assembly(second)
    assert queue.queued_chunks(first).waiting == {"1-000000"}
    assert queue.queued_chunks(second).waiting == {"1-000001", "1-000002", ASSEMBLY}
    assert queue.queue_length() == 4


def test_at_least_one_chunk_may_be_in_flight(queue, tmp_path):
    before = queue.max_inflight()
    assert before >= 1
    folder = image_job(tmp_path, 20)
    queue.enqueue(folder, folder.plan().chunks)
    assert queue.max_inflight() == before, "waiting chunks are no workers"


def test_a_job_puts_at_most_max_inflight_chunks_into_the_queue(queue, tmp_path):
    folder = image_job(tmp_path, 100)
    scheduler.submit_job(folder, queue)
    assert queue.queue_length() == queue.max_inflight() < 100


# -- running --------------------------------------------------------------------------------


def test_polling_an_empty_queue_returns(executor):
    executor.poll(0.01)
    assert executor.queue_length() == 0


@pytest.mark.timeout(180)
def test_polling_runs_the_queued_chunks(executor, tmp_path):
    folder = image_job(tmp_path, 2)
    executor.enqueue(folder, folder.plan().chunks)
    poll_until(executor, lambda: folder.receipts.ids() == {"1-000000", "1-000001"})


@pytest.mark.timeout(180)
def test_chunks_that_are_enqueued_twice_are_done_once(executor, tmp_path):
    folder = image_job(tmp_path, 2)
    executor.enqueue(folder, [*folder.plan().chunks, *folder.plan().chunks])
    poll_until(executor, lambda: executor.queue_length() == 0)
    receipts = list(folder.receipts.all())
    assert len(receipts) == 2 and not folder.failures.chunk_ids()
    executor.enqueue(folder, folder.plan().chunks)
    poll_until(executor, lambda: executor.queue_length() == 0)
    assert list(folder.receipts.all()) == receipts and not folder.failures.chunk_ids()


@pytest.mark.timeout(180)
def test_an_assembly_that_is_enqueued_twice_is_done_once(executor, tmp_path):
    folder = image_job(tmp_path, 1)
    assert list(scheduler.follow_job(folder, executor))[-1].kind == "done"
    result = folder.result()
    executor.enqueue_assembly(folder)
    poll_until(executor, lambda: executor.queue_length() == 0)
    assert folder.result() == result and not folder.failures.chunk_ids()


@pytest.mark.timeout(180)
def test_a_paused_jobs_chunks_leave_the_queue_undone(executor, tmp_path):
    folder = image_job(tmp_path, 3)
    folder.pause()
    executor.enqueue(folder, folder.plan().chunks)
    poll_until(executor, lambda: executor.queue_length() == 0)
    assert not folder.receipts.ids() and not folder.failures.chunk_ids()


@pytest.mark.timeout(180)
def test_a_job_is_followed_to_its_end(executor, tmp_path):
    folder = image_job(tmp_path, 5, each=2)
    events = list(scheduler.follow_job(folder, executor))
    assert [e.kind for e in events][-1] == "done"
    assert events[-1].data["frames"] == 5
    assert folder.receipts.ids() == {chunk.id for chunk in folder.plan().chunks}
    poll_until(executor, lambda: executor.queue_length() == 0)


# -- without a broker -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["celery", "stub"])
def test_every_method_reports_a_broker_that_does_not_answer(kind, tmp_path):
    folder = image_job(tmp_path, 1)
    executor: Executor
    if kind == "celery":
        executor = CeleryExecutor("redis://127.0.0.1:1/0")
    else:
        stub = StubExecutor()
        stub.is_offline = True
        executor = stub
    for call in (
        lambda: executor.enqueue(folder, folder.plan().chunks),
        lambda: executor.enqueue_assembly(folder),
        lambda: executor.queued_chunks(folder),
        executor.queue_length,
        executor.is_idle,
        executor.max_inflight,
    ):
        with pytest.raises(BrokerError):
            call()
