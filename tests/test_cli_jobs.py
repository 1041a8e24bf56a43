"""status, resume and cancel on real job folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil
from typer.testing import CliRunner

from ip2p_batch import scheduler
from ip2p_batch.cli.app import app
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.records import ComputeProfile
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def folder(tmp_path, settings):
    """A job of three images, one of them broken, that has not started."""
    source = tmp_path / "catalog"
    source.mkdir()
    for name in ("a.png", "b.png"):
        Pil.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(source / name)
    (source / "broken.jpg").write_bytes(b"not an image")
    request = scheduler.EditRequest(
        source=source,
        output=tmp_path / "out",
        recipe=Recipe(instruction="invert", model="identity", size=64),
    )
    return scheduler.create_job(request, settings)


def finish(folder):
    executor = LocalExecutor(lambda _: IdentityEditor(lambda image: 255 - image))
    assert list(scheduler.follow_job(folder, executor))[-1].kind == "done"


def test_status_without_jobs_names_the_command_that_starts_one():
    done = run("status")
    assert (done.exit_code, done.stdout) == (0, "No jobs yet; start one with `ip2p-batch edit`.\n")
    assert run("status", "--json").stdout == ""


def test_status_lists_all_jobs_or_shows_one_in_detail(folder):
    table = run("status").stdout.splitlines()
    assert table[0].split() == [
        "JOB",
        "STATE",
        "DONE",
        "PER",
        "S",
        "LEFT",
        "PRIORITY",
        "AGE",
        "OUTPUT",
    ]
    assert table[1].startswith(folder.path.name)
    assert "waiting" in table[1]
    details = run("status", folder.path.name[:9])
    assert details.exit_code == 0, details.output
    assert f"ip2p-batch resume {folder.path.name}" in details.stdout
    assert str(folder.path) in details.stdout
    assert "edited    at 64x48, detail from the source\n" in details.stdout


def test_status_names_what_failed_once_a_job_is_finished(folder):
    finish(folder)
    text = run("status", folder.path).stdout
    assert "finished with failures" in text
    assert "broken.jpg" in text


def test_status_as_json_is_one_job_per_line(folder):
    (line,) = run("status", "--json").stdout.splitlines()
    job = json.loads(line)
    assert job["id"] == folder.path.name
    assert job["state"] == "waiting"
    assert (job["done"], job["total"]) == (0, 2)
    assert job["edit"] == {
        "width": 64, "height": 48, "one_size": True, "auto": False, "detail": "source",
    }  # fmt: skip
    assert json.loads(run("status", job["id"], "--json").stdout) == job


def test_a_damaged_job_folder_does_not_hide_the_others(folder, settings):
    other = settings.state / "jobs" / "other"
    other.mkdir(parents=True)
    (other / "job.json").write_text("{")
    done = run("status")
    assert done.exit_code == 0
    assert folder.path.name in done.stdout
    assert "warning: " in done.stderr
    assert run("status", "other").exit_code == 7


def test_cancel_marks_the_job_and_names_resume(folder):
    done = run("cancel", folder.path.name)
    assert done.exit_code == 0
    assert f"resume {folder.path.name}" in done.stdout
    assert folder.cancelled
    assert "cancelled" in run("status").stdout


def test_a_finished_job_is_neither_cancelled_nor_edited_again(folder):
    finish(folder)
    assert "nothing to cancel" in run("cancel", folder.path.name).stdout
    assert not folder.cancelled
    done = run("resume", folder.path.name)
    assert done.exit_code == 1, "one image failed, and resume does not retry it"
    assert "broken.jpg" in done.stdout
    assert "is finished. Edit what failed again" in done.stderr


def test_the_error_names_a_job_that_does_not_exist(folder):
    for command in ("status", "resume", "cancel"):
        done = run(command, "nothing")
        assert done.exit_code == 7
        assert "nothing" in done.stderr


def test_resume_can_allow_mixed_hardware_and_status_shows_the_compute_profile(folder):
    profile = ComputeProfile(
        model="m", torch="2.9", diffusers="d", device="cpu Maker AVX", dtype="float32", threads=1
    )
    folder.hardware.fix_profile(profile)
    line = "computed on  cpu Maker AVX, float32, 1 thread, torch 2.9"
    assert line in run("status", folder.path.name).stdout
    status = json.loads(run("status", folder.path.name, "--json").stdout)
    assert status["compute_profile"]["threads"] == 1
    assert not folder.job().allow_mixed_hardware
    # No broker listens there; only the flag matters.
    run("resume", folder.path.name, "--allow-mixed-hardware", "--broker", "redis://127.0.0.1:1/0")
    assert folder.job().allow_mixed_hardware


def test_status_shows_the_item_table_as_text_json_and_csv(folder):
    name = folder.path.name
    finish(folder)
    head, *rows = run("status", name, "--items").stdout.splitlines()
    assert head.split() == ["STATE", "SECONDS", "SEED", "RECIPE", "SOURCE", "RESULT"]
    assert [row.split()[0] for row in rows] == ["done", "done", "failed"]
    assert rows[2].endswith("not an image")
    text = run("status", name, "--items", "--json").stdout
    shown = [json.loads(line) for line in text.splitlines()]
    assert [row["state"] for row in shown] == ["done", "done", "failed"]
    assert shown[0]["instruction"] == "invert"
    table = Path(folder.job().output + "-items.csv").read_text()
    assert run("status", name, "--csv").stdout == table
