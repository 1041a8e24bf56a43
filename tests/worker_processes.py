"""Worker processes and small jobs for tests, and a Celery app with the project's configuration.

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

from PIL import Image

from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.jobs.plan import ImageChunk, Plan, chunk_id
from ip2p_batch.jobs.spec import Item, Job, Source
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.recipe import Recipe

HERE = Path(__file__).parent
ROOT = HERE.parent


def wait_for(condition, seconds=120.0):
    """Wait until ``condition()`` is true and return its value; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not true within {seconds} s")


def running(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stills_job(folder, pictures=4, *, model="identity", each=1, size=64):
    """A job folder with ``pictures`` small pictures, ``each`` in a chunk."""
    source, output = folder / "in", folder / "out"
    source.mkdir(parents=True)
    items = []
    for number in range(pictures):
        path = source / f"{number}.png"
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
        items.append(Item(source=str(path), output=str(output / path.name), width=16, height=16))
    chunks = tuple(
        ImageChunk(id=chunk_id(1, n), wave=1, start=n, stop=min(n + each, pictures))
        for n in range(0, pictures, each)
    )
    job = Job(
        id="catalog",
        source=Source(path=str(source), stamp="s", items=pictures),
        recipe=Recipe(instruction="make it snow", model=model, size=size),
        output=str(output),
    )
    return JobFolder.create(folder / "job", job, Plan(chunks=chunks), items=items)


# -- a worker with tasks of its own ---------------------------------------------------------


def make_test_app():
    from workers.lease import LeaseRenewal

    app = make_app(
        os.environ["IP2P_BROKER_URL"],
        visibility_timeout=float(os.environ.get("TEST_VISIBILITY_TIMEOUT", "120")),
    )
    app.conf.imports = ("worker_processes",)
    app.conf.worker_soft_shutdown_timeout = 0
    app.steps["consumer"].add(LeaseRenewal)
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
