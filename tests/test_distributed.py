"""Whole jobs on a real Redis with real worker processes and the bundled model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.recipe import Recipe

from .clips import DEMO, images_of
from .jobs import TINY

SLOW = Recipe(instruction="x", model="identity:slow=0.05", size=64, chunk_frames=8, carryover=0)


def identical(a: Path, b: Path) -> bool:
    left, right = images_of(a), images_of(b)
    return len(left) == len(right) and all(map(np.array_equal, left, right))


def create(output: Path, settings, recipe=TINY, **options):
    return scheduler.create_job(
        scheduler.EditRequest(source=DEMO, output=output, recipe=recipe, **options), settings
    )


@pytest.fixture
def redis():
    with PrivateRedis() as server:
        yield server


def follow(folder, redis, workers, tmp_path, on_event=lambda event, fleet: None):
    with LocalWorkers(redis.url, workers, "cpu", tmp_path / "workers.log") as fleet:
        follow_with(redis, folder, lambda event: on_event(event, fleet))


def follow_with(redis, folder, on_event=lambda event: None):
    """Follow a job with the workers that run."""
    for event in scheduler.follow_job(folder, CeleryExecutor(redis.url)):
        on_event(event)
    assert event.kind == "done", event


def worker_pids(folder) -> set[int]:
    return {heartbeat.worker.pid for heartbeat in folder.heartbeats.all()}


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_one_and_four_workers_and_a_job_continued_by_two_give_the_same_pixels(
    tmp_path, settings, redis
):
    one, four, parts = (tmp_path / f"{n}.mp4" for n in ("one", "four", "parts"))
    follow(create(four, settings, end=0.8), redis, 4, tmp_path)
    folder = create(parts, settings, end=0.8)
    with LocalWorkers(redis.url, 1, "cpu", tmp_path / "workers.log"):
        follow_with(redis, create(one, settings, end=0.8))
        for event in scheduler.follow_job(folder, CeleryExecutor(redis.url)):
            if event.kind == "chunk" and event.data["chunk"].startswith("2-"):
                break
    assert not parts.exists()
    follow(folder, redis, 2, tmp_path)
    assert identical(one, four) and identical(one, parts)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_chunk_borders_leave_no_trace_in_filtered_frames(tmp_path, settings, redis):
    """Without carryover a frame depends on its neighbours only, never on its chunk.

    The number of frames in a UNet call, which decides the last bits, may follow from their number.
    """
    outputs = []
    for length in (5, 50):
        recipe = msgspec.structs.replace(
            TINY, carryover=0, anchors=0, num_inference_steps=2, chunk_frames=length, batch_size=2
        )
        outputs.append(tmp_path / f"{length}.mkv")
        lossless = Encoding(codec="ffv1")
        folder = create(outputs[-1], settings, recipe, end=0.6, encoding=lossless)
        follow(folder, redis, 2, tmp_path)
    assert identical(*outputs)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_killed_worker_loses_nothing(tmp_path, settings, redis):
    undisturbed, disturbed = tmp_path / "a.mp4", tmp_path / "b.mp4"
    follow(create(undisturbed, settings, SLOW), redis, 2, tmp_path)
    folder = create(disturbed, settings, SLOW)
    killed = []

    def kill_one(event, fleet):
        if event.kind == "chunk" and not killed:
            for pid in worker_pids(folder):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    follow(folder, redis, 2, tmp_path, kill_one)
    assert killed and identical(undisturbed, disturbed)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_detached_job_finishes_while_no_command_follows_it(tmp_path, settings, redis):
    folder = create(tmp_path / "o.mp4", settings, SLOW, end=1.0)
    with LocalWorkers(redis.url, 2, "cpu", tmp_path / "workers.log"):
        scheduler.submit_job(folder, CeleryExecutor(redis.url))
        deadline = time.monotonic() + 90
        while folder.result() is None and time.monotonic() < deadline:
            time.sleep(0.2)
    assert scheduler.read_status(folder).state == "finished"
    assert len(images_of(tmp_path / "o.mp4")) == 25


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ip2p_batch", *arguments]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_redis_and_workers_of_a_killed_command_end_and_the_job_resumes(tmp_path):
    out = tmp_path / "o.mp4"
    env = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}
    options = ["--model", "identity:slow=0.05", "--size", "64", "--chunk-frames", "8"]
    edit = command("edit", str(DEMO), "x", "-o", str(out), *options, "--workers", "1", "--json")
    process = subprocess.Popen(edit, env=env, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if '"kind":"chunk"' in line.replace(" ", ""):
            break
    process.kill()
    process.wait()
    process.stdout.close()
    session = str(tmp_path)
    deadline = time.monotonic() + 30
    while (left := _running(session)) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert left == []
    assert not out.exists()
    (job,) = (tmp_path / "state" / "ip2p-batch" / "jobs").iterdir()
    done = subprocess.run(command("resume", job.name, "--workers", "1"), env=env, check=False)
    assert done.returncode == 0 and len(images_of(out)) == 96


def _running(marker: str) -> list[str]:
    """Command lines of the processes whose environment contains ``marker``."""
    lines = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker in (entry / "environ").read_bytes().decode(errors="replace"):
                lines.append((entry / "cmdline").read_bytes().decode().replace("\0", " "))
        except OSError:
            continue
    return lines
