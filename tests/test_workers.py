"""Worker processes on a real Redis: nothing is lost, nothing runs twice for nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ip2p_batch import scheduler
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import Receipt, WorkerInfo
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.messages import TASK_CHUNK, build_message
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings
from workers import devices
from workers.editor_cache import editor_for
from workers.launcher import Launcher, Slot, slots

from .worker_processes import notes, run_worker, running, stills_job, wait_for, worker_env


def send(redis, name, **kwargs):
    with make_app(redis.url) as app:
        app.send_task(name, kwargs=kwargs)


# -- Celery as it is configured -------------------------------------------------------------


def test_a_chunk_that_takes_longer_than_the_visibility_timeout_runs_once(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log", TEST_VISIBILITY_TIMEOUT="2"):
        send(redis, "test.nap", path=str(log), seconds=7)
        wait_for(lambda: notes(log, "end"))
        wait_for(lambda: executor.queue_length() == 0)
    assert len(notes(log)) == 1


def test_the_message_of_a_killed_worker_goes_to_another(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log", TEST_VISIBILITY_TIMEOUT="2"):
        send(redis, "test.nap", path=str(log), seconds=2)
        wait_for(lambda: notes(log))
    assert notes(log, "end") == [] and executor.queue_length() == 1
    with run_worker(redis.url, tmp_path / "log", TEST_VISIBILITY_TIMEOUT="2"):
        wait_for(lambda: notes(log, "end"))
        wait_for(lambda: executor.queue_length() == 0)
    assert len(notes(log)) == 2


def test_a_chunk_whose_process_is_killed_runs_again_at_once(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        send(redis, "test.nap", path=str(log), seconds=2)
        os.kill(wait_for(lambda: notes(log))[0], signal.SIGKILL)
        wait_for(lambda: notes(log, "end"))
        wait_for(lambda: executor.queue_length() == 0)
    first, second = notes(log)
    assert first != second


def test_a_chunk_that_kills_its_process_is_given_up_after_three_times(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        send(redis, "test.die", path=str(log))
        wait_for(lambda: len(notes(log)) == 3 and executor.queue_length() == 0)
        send(redis, "test.nap", path=str(log), seconds=0)  # the worker is well
        wait_for(lambda: notes(log, "end"))
    assert len(notes(log)) == 4


def test_a_worker_takes_one_message_at_a_time(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        for _ in range(3):
            send(redis, "test.nap", path=str(log), seconds=1.5)
        wait_for(lambda: notes(log))
        time.sleep(0.5)
        client = redis_url.connect(redis.url)
        assert (client.hlen("ip2p:unacked"), client.llen("ip2p:chunks")) == (1, 2)
        client.close()


def test_a_restarted_redis_loses_no_message_and_no_worker(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        send(redis, "test.nap", path=str(log), seconds=5)
        send(redis, "test.nap", path=str(log), seconds=0)
        wait_for(lambda: notes(log))
        time.sleep(1.5)  # the append-only file is flushed every second
        os.kill(int((redis.folder / "redis.pid").read_text()), signal.SIGKILL)
        wait_for(lambda: len(notes(log, "end")) >= 2)


# -- the launcher ---------------------------------------------------------------------------

LAUNCH = """
import sys
from workers.launcher import Launcher, Slot
places = [Slot("test", {})]
sys.exit(Launcher(places, window=float(sys.argv[1])).run(exit_with_parent=False))
"""


class WorkerOptions:
    """A launcher process with one worker, and what a test wants to know of it."""

    def __init__(self, redis, log, window=30.0):
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(window)],
                env=worker_env(redis.url, IP2P_DEVICE="cpu"),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def chunk_in_work(job):
    """The number of the process that holds a chunk, once there is one."""
    return wait_for(lambda: [c.worker.pid for c in job.heartbeats.all()])[0]


def test_sigterm_lets_a_worker_finish_its_chunk_and_no_other(tmp_path, redis, executor):
    job = stills_job(tmp_path, 2, model="identity:slow=2")
    scheduler.dispatch_next(job, executor)
    with WorkerOptions(redis, tmp_path / "log") as worker_options:
        chunk_in_work(job)
        worker_options.process.terminate()
        assert worker_options.process.wait(30) == 0
    assert job.receipts.ids() == {"1-000000"}
    assert executor.queue_length() == 1


def test_a_chunk_that_outlasts_the_window_is_given_back(tmp_path, redis, executor):
    job = stills_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with WorkerOptions(redis, tmp_path / "log", window=1.0) as worker_options:
        child = chunk_in_work(job)
        worker_options.process.terminate()
        assert worker_options.process.wait(30) == 0
        assert not running(child)
    assert job.receipts.ids() == set()
    assert list(job.failures.all()) == []
    client = redis_url.connect(redis.url)
    assert (client.hlen("ip2p:unacked"), client.llen("ip2p:chunks:3")) == (0, 1)
    client.close()


def test_a_second_signal_ends_workers_now(tmp_path, redis, executor):
    job = stills_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with WorkerOptions(redis, tmp_path / "log", window=60.0) as worker_options:
        child = chunk_in_work(job)
        worker_options.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert worker_options.process.poll() is None
        worker_options.process.send_signal(signal.SIGINT)
        assert worker_options.process.wait(5) == 0
        wait_for(lambda: not running(child))


def test_workers_end_with_a_launcher_that_is_killed(tmp_path, redis, executor):
    job = stills_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with WorkerOptions(redis, tmp_path / "log") as worker_options:
        child = chunk_in_work(job)
        worker_options.process.kill()
        wait_for(lambda: not running(child))
        wait_for(lambda: executor.workers(timeout=0.5) == [])


def test_a_worker_that_dies_at_every_start_is_given_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("IP2P_BROKER_URL", "redis+socket:///no/such/socket")
    monkeypatch.setattr("workers.launcher._DEATHS", 1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert Launcher([Slot("a", {}), Slot("b", {})]).run(exit_with_parent=False) == 1
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert "given up" in caplog.text


# -- the tasks ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker_options(tmp_path_factory):
    """One launcher with one worker on a Redis, for all tests below."""
    folder = tmp_path_factory.mktemp("crew")
    with PrivateRedis() as redis, WorkerOptions(redis, folder / "log") as worker_options:
        worker_options.url = redis.url
        executor = CeleryExecutor(redis.url)
        worker_options.executor = executor
        yield worker_options
        executor.close()


def tell(worker_options, **fields):
    with make_app(worker_options.url) as app:
        app.send_task(TASK_CHUNK, kwargs=fields)


def is_settled(worker_options):
    return wait_for(lambda: worker_options.executor.queue_length() == 0)


def test_a_jobs_chunks_are_done_and_it_is_assembled_with_nobody_watching(tmp_path, worker_options):
    job = stills_job(tmp_path, 4, each=2)
    scheduler.dispatch_next(job, worker_options.executor)
    result = wait_for(job.result)
    assert result.frames == 4
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert {r.worker.device for r in job.receipts.all()} == {"identity"}
    is_settled(worker_options)


def test_a_chunk_with_a_receipt_is_left_alone_and_the_job_goes_on(tmp_path, worker_options):
    job = stills_job(tmp_path, 1)
    (chunk,) = job.plan().chunks
    worker = WorkerInfo(host="elsewhere", pid=1)
    receipt = Receipt(
        chunk=chunk.id, fingerprint=job.job().fingerprint(), frames=1, digest="d",
        worker=worker, finished=time.time(),
    )  # fmt: skip
    job.receipts.write(receipt)
    worker_options.executor.enqueue(job, [chunk, chunk])
    wait_for(job.result)
    assert job.receipts.get(chunk.id) == receipt
    assert not (tmp_path / "out").exists()


def test_an_error_that_no_retry_mends_is_a_failure_at_once(tmp_path, worker_options):
    job = stills_job(tmp_path, 1, model="identity:fast=1")
    scheduler.dispatch_next(job, worker_options.executor)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.chunk == "1-000000"
    assert (failure.error, failure.attempts) == ("ModelError", 1)
    assert failure.hint and "\n" not in failure.message
    assert job.result() is None


def test_an_error_nobody_foresaw_is_tried_three_times_and_told_in_one_line(
    tmp_path, worker_options
):
    job = stills_job(tmp_path, 1)
    (tmp_path / "job" / "items.jsonl").unlink()
    scheduler.dispatch_next(job, worker_options.executor)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.attempts == 3
    assert "FileNotFoundError" in failure.message
    assert "Traceback" not in failure.message and "\n" not in failure.message
    assert "Traceback" in worker_options.log.read_text()


def test_a_cancelled_jobs_messages_are_dropped_quietly(tmp_path, worker_options):
    job = stills_job(tmp_path, 3)
    job.cancel()
    worker_options.executor.enqueue(job, job.plan().chunks)
    is_settled(worker_options)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []


def test_a_job_that_is_cancelled_in_work_stops_within_the_chunk(tmp_path, worker_options):
    job = stills_job(tmp_path, 40, model="identity:slow=1", each=40)
    scheduler.dispatch_next(job, worker_options.executor)
    chunk_in_work(job)
    job.cancel()
    is_settled(worker_options)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []


def test_messages_that_make_no_sense_are_dropped_and_the_worker_goes_on(tmp_path, worker_options):
    job = stills_job(tmp_path, 1)
    good = build_message(job, job.plan().chunks[0].id, job.job().fingerprint())
    for wrong in (
        {"job": "relative/job"},
        {"job": f"{tmp_path}/x/../job"},
        {"job": str(tmp_path / "missing")},
        {"chunk": "../../etc/passwd"},
        {"chunk": "9-999999"},
        {"fingerprint": "0" * 64},
        {"fingerprint": "../x"},
        {"pixels": "AAAA"},
        {"chunk": ["1-000000"]},
    ):
        tell(worker_options, **(good | wrong))
    tell(worker_options, job=good["job"])
    is_settled(worker_options)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []
    tell(worker_options, **good)
    wait_for(job.result)


def test_a_worker_that_lacks_the_shared_folder_hands_the_message_on(tmp_path, worker_options):
    job = stills_job(tmp_path, 1)
    sent = build_message(job, job.plan().chunks[0].id, job.job().fingerprint())
    job.path.rename(tmp_path / "aside")
    unseen = tmp_path / "share" / "jobs" / "catalog"
    tell(worker_options, **(sent | {"job": str(unseen)}))
    wait_for(lambda: "must share" in worker_options.log.read_text())
    unseen.parent.mkdir(parents=True)
    (tmp_path / "aside").rename(unseen)
    wait_for(lambda: (unseen / "result.json").exists())


def test_an_assembly_message_that_comes_twice_does_no_harm(tmp_path, worker_options):
    job = stills_job(tmp_path, 1)
    scheduler.dispatch_next(job, worker_options.executor)
    result = wait_for(job.result)
    is_settled(
        worker_options
    )  # the worker tidies up after the result, and holds the lock meanwhile
    with job.locked() as mine:
        assert mine
        (job.path / "result.json").rename(job.path / "aside")
        worker_options.executor.enqueue_assembly(job)  # somebody is at it: us
        is_settled(worker_options)
        assert list(job.failures.all()) == []
        (job.path / "aside").rename(job.path / "result.json")
    worker_options.executor.enqueue_assembly(job)
    is_settled(worker_options)
    assert job.result() == result


def test_an_assembly_that_lacks_receipts_has_their_chunks_done(tmp_path, worker_options):
    job = stills_job(tmp_path, 2)
    worker_options.executor.enqueue_assembly(job)
    assert wait_for(job.result).frames == 2
    is_settled(worker_options)


def test_an_assembly_that_lacks_receipts_again_and_again_says_so(tmp_path, worker_options):
    job = stills_job(tmp_path, 2)
    while job.dispatch.redispatch():
        pass
    worker_options.executor.enqueue_assembly(job)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.chunk == ASSEMBLY
    assert "2 of 2 chunks" in failure.message


def test_no_command_line_holds_the_brokers_address(worker_options):
    (worker,) = wait_for(lambda: _children(worker_options.process.pid))
    for pid in (worker_options.process.pid, worker, *_children(worker)):
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert "redis" not in line, line


def test_the_workers_log_is_quiet(worker_options):
    text = worker_options.log.read_text()
    for noise in ("celery@", "[tasks]", "SecurityWarning", "DeprecationWarning"):
        assert noise not in text


def _children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- what to compute with -------------------------------------------------------------------


def test_on_the_cpu_each_worker_has_its_fixed_number_of_threads(monkeypatch):
    places = slots("cpu", 3, 1)
    assert [p.name for p in places] == ["cpu0", "cpu1", "cpu2"]
    assert {p.env["OMP_NUM_THREADS"] for p in places} == {"1"}
    assert {p.env["CUDA_VISIBLE_DEVICES"] for p in places} == {""}
    cores = devices.available_cores()
    assert len(slots("cpu", None, 1)) == cores
    assert len(slots("cpu", None, 2 * cores)) == 1


def test_a_worker_sees_its_own_gpu_and_no_other(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("workers.launcher.with_room_for_two", lambda gpus: [])
    places = slots("0,2", None, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in places] == ["0", "2"]
    assert {p.env["IP2P_DEVICE"] for p in places} == {"cuda"}


@pytest.mark.parametrize(
    ("cores", "workers", "cpu_threads"), [(16, 2, "8"), (16, 4, "4"), (64, 2, "8"), (2, 4, "1")]
)
def test_workers_on_gpus_share_the_cores_for_what_runs_beside(
    monkeypatch, cores, workers, cpu_threads
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("IP2P_CPU_THREADS", raising=False)
    monkeypatch.setattr("workers.launcher.available_cores", lambda: cores)
    assert {p.env["IP2P_CPU_THREADS"] for p in slots("0,2", workers, 1)} == {cpu_threads}
    monkeypatch.setenv("IP2P_CPU_THREADS", "3")
    assert {p.env["IP2P_CPU_THREADS"] for p in slots("0,2", workers, 1)} == {"3"}


def test_more_workers_than_gpus_share_them_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    places = slots("0,2", 3, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in places] == ["0", "2", "0"]
    assert len({p.name for p in places}) == 3


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A machine whose driver tells of a large and a small GPU, and of one for a single process."""
    said = "0, GPU-1a2b, 81559, Default, Disabled\\n1, GPU-3c4d, 24564, Default, [N/A]\\n"
    said += "2, GPU-5e6f, 81559, Exclusive_Process, Disabled\\n"
    said += "3, GPU-7a8b, [N/A], Default, Disabled\\n4, GPU-9c, 81559, Default, Enabled\\n"
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_large_gpu_has_two_workers(two_gpus):
    assert devices.with_room_for_two(["0", "1", "2", "3", "4", "7"]) == ["0"]
    by_name = ["GPU-1a", "GPU-3c4d", "GPU-9", "MIG-1a"]
    assert devices.with_room_for_two(by_name) == ["GPU-1a"]
    places = slots("1,0", None, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in places] == ["1", "0", "0"]
    assert [p.env["IP2P_GPU_MEMORY_FRACTION"] for p in places] == ["1.000", "0.500", "0.500"]
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in slots("0,1", 1, 1)] == ["0"]


def test_where_the_driver_says_nothing_each_gpu_has_one_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.with_room_for_two(["0"]) == []


def test_gpus_are_counted_within_those_that_are_visible():
    env = {"CUDA_VISIBLE_DEVICES": "3,GPU-5f,MIG-7a"}
    assert devices.choose("cuda", env) == ["3", "GPU-5f", "MIG-7a"]
    assert devices.choose("cuda:1", env) == ["GPU-5f"]
    assert devices.choose("0,2", env) == ["3", "MIG-7a"]
    with pytest.raises(RecipeError, match="names 3 GPUs"):
        devices.choose("3", env)
    for hidden in ("", "-1"):
        assert devices.gpus({"CUDA_VISIBLE_DEVICES": hidden}) == []
        with pytest.raises(RecipeError, match="no GPU"):
            devices.choose("cuda", {"CUDA_VISIBLE_DEVICES": hidden})


@pytest.mark.parametrize("wrong", ["gpu", "0,", "0,0", "-1", "1.5", ""])
def test_devices_that_are_none_are_refused(wrong):
    with pytest.raises(RecipeError, match="--devices"):
        devices.choose(wrong, {})


def test_gpus_are_found_without_loading_torch():
    code = (
        "import sys; from workers import devices, launcher;"
        "devices.choose('auto'); assert 'torch' not in sys.modules; print('well')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=worker_env("")
    )
    assert done.stdout == "well\n", done.stderr


def test_a_torch_without_cuda_means_the_cpu():
    torch = pytest.importorskip("torch")
    assert devices.torch_has_gpus() == bool(torch.version.cuda or torch.version.hip)
    if not devices.torch_has_gpus():
        assert devices.choose("auto", {"CUDA_VISIBLE_DEVICES": "0"}) == []


def test_the_identity_editor_can_be_slow_and_nothing_else():
    settings = Settings.from_env({})

    def recipe(model):
        return Recipe(instruction="x", model=model)

    assert editor_for(recipe("identity"), settings).device == "identity"
    assert editor_for(recipe("identity:slow=0.5"), settings).device == "identity"
    for wrong in ("identity:slow", "identity:slow=-1", "identity:fast=1", "identity:slow=x"):
        with pytest.raises(ModelError, match="identity:"):
            editor_for(recipe(wrong), settings)
