"""Workers that a command starts for itself: there when needed, gone when it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ip2p_batch import scheduler
from ip2p_batch.errors import NoWorkerError
from ip2p_batch.queue import local_workers
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.queue.private_redis import PrivateRedis

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import running, worker_env


@pytest.fixture(scope="module")
def redis():
    with PrivateRedis() as server:
        yield server


def family(pid):
    """``pid`` and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(p for child in children for p in family(int(child)))]


def child_of(launcher):
    """The process of the pool, once there is one; a worker also has a tracker of semaphores."""
    return next((p for p in family(launcher) if "spawn_main" in _line(p)), None)


def _line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_allowed_roots_do_not_limit_the_jobs_of_the_own_command(tmp_path, monkeypatch):
    monkeypatch.setenv("IP2P_ALLOWED_ROOTS", "/nowhere")
    monkeypatch.setenv("IP2P_ALLOWED_MODELS", "tiny")
    url = "redis+socket:///no/such/socket"
    with LocalWorkers(url, 1, "cpu", tmp_path / "workers.log") as workers:
        environ = Path(f"/proc/{workers._process.pid}/environ")
        wait_for(lambda: b"IP2P_ALLOWED_MODELS=tiny" in environ.read_bytes())
        assert b"IP2P_ALLOWED_ROOTS" not in environ.read_bytes()
    assert (
        local_workers.launcher_env(url)["IP2P_ALLOWED_ROOTS"] == "/nowhere"
    )  # of `ip2p-batch worker`


def test_workers_run_a_job_and_end_with_the_block(tmp_path, redis, executor):
    job = image_job(tmp_path, 6, model="identity:slow=0.5")
    scheduler.dispatch_next(job, executor)
    with LocalWorkers(redis.url, 2, "cpu", tmp_path / "logs" / "workers.log") as workers:
        wait_for(job.result)
        workers.check()
        assert workers.alive()
        names = wait_for(lambda: found if len(found := executor.workers(0.5)) == 2 else None)
        assert [name.split("-")[0] for name in names] == ["cpu0", "cpu1"]
        everyone = family(workers._process.pid)
        assert len(everyone) >= 5  # a launcher, two workers, a child each
    assert not any(running(pid) for pid in everyone)
    assert not workers.alive()
    assert len({r.worker.pid for r in job.receipts.all()}) == 2


def test_a_killed_worker_is_restarted(tmp_path, redis, executor):
    job = image_job(tmp_path, 1)
    with LocalWorkers(redis.url, 1, "cpu", tmp_path / "log") as workers:
        launcher = workers._process.pid
        child = wait_for(lambda: child_of(launcher))
        worker = family(launcher)[1]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not running(child))
        scheduler.dispatch_next(job, executor)
        wait_for(job.result)
        workers.check()
    assert "and is restarted" in (tmp_path / "log").read_text()


def test_stopped_workers_are_reported_with_the_last_line_of_their_log(tmp_path, redis):
    with LocalWorkers(redis.url, None, "no-such-device", tmp_path / "log") as workers:
        wait_for(lambda: not workers.alive())
        with pytest.raises(NoWorkerError, match="no-such-device") as error:
            workers.check()
        assert str(tmp_path / "log") in error.value.hint
        assert "\n" not in error.value.message


def test_a_wrong_broker_is_reported_without_its_password(tmp_path):
    url = "redis://:secret@host/not-a-number"
    with LocalWorkers(url, 1, "cpu", tmp_path / "log") as workers:
        wait_for(lambda: not workers.alive())
        with pytest.raises(NoWorkerError, match="no database number") as error:
            workers.check()
    assert "secret" not in str(error.value) + (tmp_path / "log").read_text()


OWNER = """
import sys, time
from pathlib import Path
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.queue.local_workers import LocalWorkers
with PrivateRedis() as redis, LocalWorkers(redis.url, 1, "cpu", Path(sys.argv[1])) as workers:
    print(redis.folder, workers._process.pid, flush=True)
    time.sleep(60)
"""


def test_redis_and_workers_end_when_the_command_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env=worker_env(""),
    )
    try:
        folder, launcher = process.stdout.readline().split()
        server = int(Path(folder, "redis.pid").read_text())
        wait_for(lambda: child_of(int(launcher)))
        everyone = family(int(launcher))
        process.kill()
        wait_for(lambda: not any(running(pid) for pid in (server, *everyone)))
        wait_for(lambda: not Path(folder).exists())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_modules_in_the_current_folder_are_not_imported(tmp_path, redis, executor, monkeypatch):
    for name in ("workers", "celery", "ip2p_batch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')")
    for name in ("random", "redis", "av"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    job = image_job(tmp_path / "jobs", 1)
    scheduler.dispatch_next(job, executor)
    with LocalWorkers(redis.url, 1, "cpu", tmp_path / "log") as workers:
        wait_for(lambda: job.result() or not workers.alive())
        workers.check()
    assert job.result() is not None


def test_the_broker_url_is_only_in_the_environment():
    url = "redis://:secret@host/0"
    command = local_workers.launcher_command("0,1", 3, exit_with_parent=True)
    assert not any("redis" in part or "secret" in part for part in command)
    assert command[1:] == [
        "-m",
        "workers",
        "--exit-with-parent",
        "--workers",
        "3",
        "--devices",
        "0,1",
    ]
    assert local_workers.launcher_env(url)["IP2P_BROKER_URL"] == url


def test_a_launcher_without_a_broker_says_what_it_needs():
    env = worker_env("")
    done = subprocess.run(local_workers.launcher_command(), env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "IP2P_BROKER_URL" in done.stderr and "Traceback" not in done.stderr
