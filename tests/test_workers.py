"""Worker processes on a real Redis: no chunk is lost, and none runs twice without need."""

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

from .jobs import image_job
from .waiting import wait_for, wait_until_logged
from .worker_processes import notes, run_worker, running, worker_env


def send(redis, name, **kwargs):
    with make_app(redis.url) as app:
        app.send_task(name, kwargs=kwargs)


# -- Celery with this project's configuration -----------------------------------------------


def test_a_chunk_that_takes_longer_than_the_visibility_timeout_runs_once(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log", TEST_VISIBILITY_TIMEOUT="2"):
        send(redis, "test.nap", path=str(log), seconds=7)
        wait_for(lambda: notes(log, "end"))
        wait_for(lambda: executor.queue_length() == 0)
    assert len(notes(log)) == 1


def test_the_message_of_a_killed_worker_is_redelivered_to_another(tmp_path, redis, executor):
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


def test_a_task_that_kills_its_process_fails_after_three_attempts(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        send(redis, "test.die", path=str(log))
        wait_for(lambda: len(notes(log)) == 3 and executor.queue_length() == 0)
        send(redis, "test.nap", path=str(log), seconds=0)  # the worker still runs
        wait_for(lambda: notes(log, "end"))
    assert len(notes(log)) == 4


def test_a_worker_takes_one_message_at_a_time(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        for _ in range(3):
            send(redis, "test.nap", path=str(log), seconds=0.5)
        client = redis_url.connect(redis.url)
        unacked = []

        def all_ended():
            unacked.append(client.hlen("ip2p:unacked"))
            return len(notes(log, "end")) == 3

        wait_for(all_ended)
        client.close()
    assert max(unacked) == 1


def test_a_restarted_redis_loses_no_message_and_no_worker(tmp_path, redis, executor):
    log = tmp_path / "notes"
    with run_worker(redis.url, tmp_path / "log"):
        send(redis, "test.nap", path=str(log), seconds=5)
        send(redis, "test.nap", path=str(log), seconds=0)
        wait_for(lambda: notes(log))
        client = redis_url.connect(redis.url)
        wait_until_logged(client)
        client.close()
        os.kill(int((redis.folder / "redis.pid").read_text()), signal.SIGKILL)
        wait_for(lambda: len(notes(log, "end")) >= 2)


# -- the launcher ---------------------------------------------------------------------------

LAUNCH = """
import sys
from workers.launcher import Launcher, Slot
slots = [Slot("test", {})]
sys.exit(Launcher(slots, soft_shutdown=float(sys.argv[1])).run(exit_with_parent=False))
"""


class RunningLauncher:
    """A launcher process with one worker, and its log."""

    def __init__(self, redis, log, soft_shutdown=30.0):
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(soft_shutdown)],
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


def process_at_work(job):
    """Wait until a process edits a chunk; return its pid."""
    return wait_for(lambda: [c.worker.pid for c in job.heartbeats.all()])[0]


def test_sigterm_lets_a_worker_finish_its_chunk_and_no_other(tmp_path, redis, executor):
    job = image_job(tmp_path, 2, model="identity:slow=2")
    scheduler.dispatch_next(job, executor)
    with RunningLauncher(redis, tmp_path / "log") as launcher:
        process_at_work(job)
        launcher.process.terminate()
        assert launcher.process.wait(30) == 0
    assert job.receipts.ids() == {"1-000000"}
    assert executor.queue_length() == 1


def test_a_chunk_that_outlasts_the_soft_shutdown_is_released(tmp_path, redis, executor):
    job = image_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with RunningLauncher(redis, tmp_path / "log", soft_shutdown=1.0) as launcher:
        child = process_at_work(job)
        launcher.process.terminate()
        assert launcher.process.wait(30) == 0
        assert not running(child)
    assert job.receipts.ids() == set()
    assert list(job.failures.all()) == []
    client = redis_url.connect(redis.url)
    assert (client.hlen("ip2p:unacked"), client.llen("ip2p:chunks:3")) == (0, 1)
    client.close()


def test_a_second_signal_kills_the_workers(tmp_path, redis, executor):
    job = image_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with RunningLauncher(redis, tmp_path / "log", soft_shutdown=60.0) as launcher:
        child = process_at_work(job)
        launcher.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert launcher.process.poll() is None
        launcher.process.send_signal(signal.SIGINT)
        assert launcher.process.wait(5) == 0
        wait_for(lambda: not running(child))


def test_workers_end_when_their_launcher_is_killed(tmp_path, redis, executor):
    job = image_job(tmp_path, 1, model="identity:slow=60")
    scheduler.dispatch_next(job, executor)
    with RunningLauncher(redis, tmp_path / "log") as launcher:
        child = process_at_work(job)
        launcher.process.kill()
        wait_for(lambda: not running(child))
        wait_for(lambda: executor.workers(timeout=0.5) == [])


def test_a_worker_that_exits_at_every_start_is_given_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("IP2P_BROKER_URL", "redis+socket:///no/such/socket")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert (
            Launcher([Slot("a", {}), Slot("b", {})], max_exits=1).run(exit_with_parent=False) == 1
        )
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert "given up" in caplog.text


# -- the tasks ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """One launcher with one worker on a Redis, for all tests below."""
    folder = tmp_path_factory.mktemp("launcher")
    with PrivateRedis() as redis, RunningLauncher(redis, folder / "log") as launcher:
        launcher.url = redis.url
        executor = CeleryExecutor(redis.url)
        launcher.executor = executor
        yield launcher
        executor.close()


def send_chunk(launcher, **fields):
    with make_app(launcher.url) as app:
        app.send_task(TASK_CHUNK, kwargs=fields)


def wait_until_idle(launcher):
    wait_for(lambda: launcher.executor.queue_length() == 0)


def test_a_job_is_edited_and_assembled_while_no_command_follows_it(tmp_path, launcher):
    job = image_job(tmp_path, 4, each=2)
    scheduler.dispatch_next(job, launcher.executor)
    result = wait_for(job.result)
    assert result.frames == 4
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert {r.worker.device for r in job.receipts.all()} == {"identity"}
    wait_until_idle(launcher)


def test_a_chunk_with_a_receipt_is_not_edited_again_and_the_job_continues(tmp_path, launcher):
    job = image_job(tmp_path, 1)
    (chunk,) = job.plan().chunks
    worker = WorkerInfo(host="elsewhere", pid=1)
    receipt = Receipt(
        chunk=chunk.id, fingerprint=job.job().fingerprint(), frames=1, digest="d",
        worker=worker, finished=time.time(),
    )  # fmt: skip
    job.receipts.write(receipt)
    launcher.executor.enqueue(job, [chunk, chunk])
    wait_for(job.result)
    assert job.receipts.get(chunk.id) == receipt
    assert not (tmp_path / "out").exists()


def test_an_error_that_no_retry_can_fix_is_a_failure_at_once(tmp_path, launcher):
    job = image_job(tmp_path, 1, model="identity:fast=1")
    scheduler.dispatch_next(job, launcher.executor)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.chunk == "1-000000"
    assert (failure.error, failure.attempts) == ("ModelError", 1)
    assert failure.hint and "\n" not in failure.message
    assert job.result() is None


def test_an_unforeseen_error_is_retried_twice_and_reported_in_one_line(tmp_path, launcher):
    job = image_job(tmp_path, 1)
    (tmp_path / "job" / "items.jsonl").unlink()
    scheduler.dispatch_next(job, launcher.executor)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.attempts == 3
    assert "FileNotFoundError" in failure.message
    assert "Traceback" not in failure.message and "\n" not in failure.message
    assert "Traceback" in launcher.log.read_text()


def test_messages_of_a_cancelled_job_are_dropped_without_a_failure(tmp_path, launcher):
    job = image_job(tmp_path, 3)
    job.cancel()
    launcher.executor.enqueue(job, job.plan().chunks)
    wait_until_idle(launcher)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []


def test_a_job_that_is_cancelled_stops_within_a_chunk(tmp_path, launcher):
    job = image_job(tmp_path, 40, model="identity:slow=1", each=40)
    scheduler.dispatch_next(job, launcher.executor)
    process_at_work(job)
    job.cancel()
    wait_until_idle(launcher)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []


def test_invalid_messages_are_dropped_and_the_worker_continues(tmp_path, launcher):
    job = image_job(tmp_path, 1)
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
        send_chunk(launcher, **(good | wrong))
    send_chunk(launcher, job=good["job"])
    wait_until_idle(launcher)
    assert job.receipts.ids() == set() and list(job.failures.all()) == []
    send_chunk(launcher, **good)
    wait_for(job.result)


def test_a_worker_that_lacks_the_shared_folder_requeues_the_message(tmp_path, launcher):
    job = image_job(tmp_path, 1)
    sent = build_message(job, job.plan().chunks[0].id, job.job().fingerprint())
    job.path.rename(tmp_path / "aside")
    unseen = tmp_path / "share" / "jobs" / "catalog"
    send_chunk(launcher, **(sent | {"job": str(unseen)}))
    wait_for(lambda: "must share" in launcher.log.read_text())
    unseen.parent.mkdir(parents=True)
    (tmp_path / "aside").rename(unseen)
    wait_for(lambda: (unseen / "result.json").exists())


def test_a_duplicate_assembly_message_does_no_harm(tmp_path, launcher):
    job = image_job(tmp_path, 1)
    scheduler.dispatch_next(job, launcher.executor)
    result = wait_for(job.result)
    wait_until_idle(launcher)  # the worker holds the lock for a while after the result
    with job.locked() as is_locked:
        assert is_locked
        (job.path / "result.json").rename(job.path / "aside")
        launcher.executor.enqueue_assembly(job)  # this process holds the lock
        wait_until_idle(launcher)
        assert list(job.failures.all()) == []
        (job.path / "aside").rename(job.path / "result.json")
    launcher.executor.enqueue_assembly(job)
    wait_until_idle(launcher)
    assert job.result() == result


def test_an_assembly_without_receipts_dispatches_their_chunks(tmp_path, launcher):
    job = image_job(tmp_path, 2)
    launcher.executor.enqueue_assembly(job)
    assert wait_for(job.result).frames == 2
    wait_until_idle(launcher)


def test_an_assembly_that_lacks_receipts_every_time_fails(tmp_path, launcher):
    job = image_job(tmp_path, 2)
    while job.dispatch.redispatch():
        pass
    launcher.executor.enqueue_assembly(job)
    (failure,) = wait_for(lambda: list(job.failures.all()))
    assert failure.chunk == ASSEMBLY
    assert "2 of 2 chunks" in failure.message


def test_no_command_line_contains_the_brokers_address(launcher):
    (worker,) = wait_for(lambda: _children(launcher.process.pid))
    for pid in (launcher.process.pid, worker, *_children(worker)):
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert "redis" not in line, line


def test_the_log_of_a_worker_is_quiet(tmp_path, launcher):
    job = image_job(tmp_path, 1)
    scheduler.dispatch_next(job, launcher.executor)
    wait_for(job.result)
    text = launcher.log.read_text()
    for noise in ("celery@", "[tasks]", "SecurityWarning", "DeprecationWarning"):
        assert noise not in text


def _children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- devices --------------------------------------------------------------------------------


def test_each_cpu_worker_has_a_fixed_number_of_threads():
    planned = slots("cpu", 3, 1)
    assert [p.name for p in planned] == ["cpu0", "cpu1", "cpu2"]
    assert {p.env["OMP_NUM_THREADS"] for p in planned} == {"1"}
    assert {p.env["CUDA_VISIBLE_DEVICES"] for p in planned} == {""}


def test_without_a_number_cpu_workers_fill_the_cores_of_this_process():
    cores = os.sched_getaffinity(0)
    assert len(slots("cpu", None, 1)) == len(cores)
    assert len(slots("cpu", None, 2 * len(cores))) == 1
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert len(slots("cpu", None, 1)) == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_a_worker_sees_its_own_gpu_and_no_other(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("workers.launcher.with_memory_for_two", lambda gpus: [])
    planned = slots("0,2", None, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in planned] == ["0", "2"]
    assert {p.env["IP2P_DEVICE"] for p in planned} == {"cuda"}


@pytest.mark.parametrize(
    ("cores", "workers", "cpu_threads"), [(16, 2, "8"), (16, 4, "4"), (64, 2, "8"), (2, 4, "1")]
)
def test_gpu_workers_divide_the_cores_among_their_cpu_threads(
    monkeypatch, cores, workers, cpu_threads
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("IP2P_CPU_THREADS", raising=False)
    monkeypatch.setattr("workers.launcher.available_cores", lambda: cores)
    assert {p.env["IP2P_CPU_THREADS"] for p in slots("0,2", workers, 1)} == {cpu_threads}
    monkeypatch.setenv("IP2P_CPU_THREADS", "3")
    assert {p.env["IP2P_CPU_THREADS"] for p in slots("0,2", workers, 1)} == {"3"}


def test_more_workers_than_gpus_are_distributed_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    planned = slots("0,2", 3, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in planned] == ["0", "2", "0"]
    assert len({p.name for p in planned}) == 3


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver with a large GPU, a small one, an exclusive one, an unknown one and a MIG one."""
    lines = "0, GPU-1a2b, 81559, Default, Disabled\\n1, GPU-3c4d, 24564, Default, [N/A]\\n"
    lines += "2, GPU-5e6f, 81559, Exclusive_Process, Disabled\\n"
    lines += "3, GPU-7a8b, [N/A], Default, Disabled\\n4, GPU-9c, 81559, Default, Enabled\\n"
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_large_gpu_has_two_workers(driver):
    assert devices.with_memory_for_two(["0", "1", "2", "3", "4", "7"]) == ["0"]
    by_name = ["GPU-1a", "GPU-3c4d", "GPU-9", "MIG-1a"]
    assert devices.with_memory_for_two(by_name) == ["GPU-1a"]
    planned = slots("1,0", None, 1)
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in planned] == ["1", "0", "0"]
    assert [p.env["IP2P_GPU_MEMORY_FRACTION"] for p in planned] == ["1.000", "0.500", "0.500"]
    assert [p.env["CUDA_VISIBLE_DEVICES"] for p in slots("0,1", 1, 1)] == ["0"]


def test_without_nvidia_smi_each_gpu_has_one_worker(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.with_memory_for_two(["0"]) == []


def test_gpu_numbers_count_within_the_visible_gpus():
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
def test_an_unknown_device_is_refused(wrong):
    with pytest.raises(RecipeError, match="--devices"):
        devices.choose(wrong, {})


def test_gpus_are_found_without_loading_torch():
    code = (
        "import sys; from workers import devices, launcher;"
        "devices.choose('auto'); assert 'torch' not in sys.modules; print('ok')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=worker_env("")
    )
    assert done.stdout == "ok\n", done.stderr


def test_the_kind_of_torch_build_is_read_without_importing_it():
    import torch

    assert devices.torch_has_gpus() == bool(torch.version.cuda or torch.version.hip)


@pytest.mark.parametrize(
    ("version", "gpus"),
    [
        ("cuda = None\nhip = None", []),
        ("cuda = '12.8'\nhip = None", ["0"]),
        ("cuda = None\nhip = '6.4'", ["0"]),
    ],
)
def test_auto_uses_gpus_only_with_a_torch_that_was_built_for_them(
    tmp_path, monkeypatch, version, gpus
):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('torch is imported')")
    (package / "version.py").write_text(version)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert devices.choose("auto", {"CUDA_VISIBLE_DEVICES": "0"}) == gpus


def test_the_identity_editor_accepts_no_unknown_option():
    settings = Settings.from_env({})

    def recipe(model):
        return Recipe(instruction="x", model=model)

    assert editor_for(recipe("identity"), settings).device == "identity"
    assert editor_for(recipe("identity:slow=0.5"), settings).device == "identity"
    for wrong in ("identity:slow", "identity:slow=-1", "identity:fast=1", "identity:slow=x"):
        with pytest.raises(ModelError, match="identity:"):
            editor_for(recipe(wrong), settings)
