"""A fixed part of the fault harness; `make chaos` runs for a given time.

It runs as a command because it drops root privileges and mounts a small disk.
"""

import json
import os
import subprocess
import sys
import threading

import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.records import Result
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .. import clips
from ..jobs import image_job
from ..worker_processes import ROOT
from . import chaos, course, jobs
from .injections import FAULTS
from .judge import Broken
from .witness import Witness


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_breaks_the_result_is_that_of_an_undisturbed_run(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.faults.chaos", "--seeds", SEEDS, "--json", str(found)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    seen = json.loads(found.read_text())
    assert not seen["wrong"] and not seen["left_running"]
    assert seen["cases"] == len(chaos.numbers(SEEDS)) and seen["faults"] >= seen["cases"]


#: Between them every kind of job, of way and of fault; neighbours share their workers.
SEEDS = "74,75,77,102,123,127,1009,1063,2016,11,1065,3008,3011"


def test_the_seeds_of_the_suite_draw_every_kind():
    cases = [course.scenario(seed) for seed in chaos.numbers(SEEDS)]
    assert {c.job for c in cases} == set(jobs.KINDS)
    assert {c.way for c in cases} == {"resume", "detached", "own"}
    assert {fault for c in cases for fault, _ in c.faults} == set(FAULTS)


def test_a_seed_means_the_same_each_time():
    assert course.scenario(7) == course.scenario(7)
    assert len({str(course.scenario(seed)).partition(":")[2] for seed in range(40)}) > 35


# -- the harness itself: what is wrong has to be noticed ---------------------------------


@pytest.fixture
def done(tmp_path):
    """A job of each kind that is done, and is its own reference."""

    def make(name):
        kind = jobs.KINDS[name]
        outputs = tmp_path / "out"
        (tmp_path / "disk").mkdir()
        job = kind.create(tmp_path, outputs)
        list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))
        kind.good = jobs.digests(outputs)
        kind._frames = jobs.frames(outputs / kind.output) if kind.output else []
        kind.compare(job, outputs)
        return kind, job, outputs

    yield make
    for kind in jobs.KINDS.values():
        kind.good = {}


def test_a_film_with_a_frame_less_or_another_is_noticed(done, tmp_path):
    kind, job, outputs = done("film")
    path = outputs / kind.output
    clips.make(tmp_path / "less.mp4", 59, audio="aac")
    path.write_bytes((tmp_path / "less.mp4").read_bytes())
    with pytest.raises(Broken, match="59 frames instead of 60"):
        kind.compare(job, outputs)
    clips.make(tmp_path / "other.mp4", 60, audio="aac", options={"crf": "40"})
    path.write_bytes((tmp_path / "other.mp4").read_bytes())
    with pytest.raises(Broken, match="not the same pixels"):
        kind.compare(job, outputs)


def test_an_image_that_is_lost_added_or_changed_is_noticed(done):
    kind, job, outputs = done("album")
    picture = next(outputs.rglob("*.png"))
    data = picture.read_bytes()
    picture.write_bytes(data + b"x")
    with pytest.raises(Broken, match="not the same pixels"):
        kind.compare(job, outputs)
    picture.unlink()
    with pytest.raises(Broken, match="lost"):
        kind.compare(job, outputs)
    picture.write_bytes(data)
    (outputs / "tree" / ".ip2p-1.part.png").touch()
    with pytest.raises(Broken, match="too many"):
        kind.compare(job, outputs)
    assert job.ended


def test_a_status_that_lies_is_noticed(tmp_path):
    job = image_job(tmp_path, 2)
    with Witness(job) as witness:
        assert not witness.lie
        job.write_result(Result(output=job.job().output, frames=2, seconds=1, finished=1))
    assert "is not there" in witness.lie

    other = image_job(tmp_path / "other", 2)
    with Witness(other) as witness:
        list(scheduler.follow_job(other, LocalExecutor(lambda _: IdentityEditor())))
        seen = threading.Event()
        seen.wait(0.2)
        (other.path / "result.json").unlink()
        seen.wait(0.2)
    assert "after finished" in witness.lie
