"""Worker processes for tests, and a Celery app with the project's configuration.

As a module of a worker process (``run_worker``) it needs IP2P_BROKER_URL. Its tasks append a line
to a file, so that a test sees what ran, how often, and in which process.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from ip2p_batch.queue.celery_app import make_app

HERE = Path(__file__).parent
ROOT = HERE.parent


def running(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def make_test_app():
    from workers.visibility import VisibilityRenewal

    app = make_app(
        os.environ["IP2P_BROKER_URL"],
        visibility_timeout=float(os.environ.get("TEST_VISIBILITY_TIMEOUT", "120")),
    )
    app.conf.imports = ("worker_processes",)
    app.conf.worker_soft_shutdown_timeout = 0
    app.steps["consumer"].add(VisibilityRenewal)
    app.task(name="test.nap", max_retries=2, default_retry_delay=0)(nap)
    app.task(name="test.die", max_retries=2, default_retry_delay=0)(die)
    return app


def _note(path, word):
    with open(path, "a") as file:
        file.write(f"{word} {os.getpid()}\n")


def nap(path, seconds):
    _note(path, "start")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
    _note(path, "end")


def die(path):
    _note(path, "start")
    os.kill(os.getpid(), signal.SIGKILL)


def notes(path, word="start"):
    """Pids of the processes that noted ``word``, in order."""
    if not path.exists():
        return []
    lines = [line.split() for line in path.read_text().splitlines()]
    return [int(pid) for noted, pid in lines if noted == word]


@contextmanager
def run_worker(url, log, **env):
    """A worker process of the app above, in a process group of its own."""
    code = "import worker_processes as h, sys; h.app.worker_main(sys.argv[1:])"
    options = ["-q", "worker", "-n", "test@%h", "-l", "WARNING"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *options, "--without-gossip", "--without-mingle"],
            cwd=HERE,
            env=worker_env(url, **env),
            stdout=file,
            stderr=file,
            process_group=0,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def run_launcher(url, log, **env):
    """The real launcher with one CPU worker, as `ip2p-batch worker` starts it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers", "--devices", "cpu", "--workers", "1"],
            env=worker_env(url, **env),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def worker_env(url, **env):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "IP2P_BROKER_URL": url, "PYTHONPATH": path, **env}


if "IP2P_BROKER_URL" in os.environ and __name__ == "worker_processes":
    app = make_test_app()
