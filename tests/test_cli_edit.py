"""The command as a user runs it: real processes, real Redis, real workers, the bundled model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.cli import demo
from ip2p_batch.queue.private_redis import PrivateRedis

from .clips import images_of

CLIP = demo.FOLDER / "clip.mp4"
LIGHT = ["-m", "tiny", "--size", "128", "-n", "3", "--devices", "cpu"]
#: Copies frames slowly, so that a test can stop it halfway.
SLOW = ["-m", "identity:slow=0.2", "--size", "64", "--carryover", "0", "--devices", "cpu"]


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "ip2p_batch", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*arguments, **options):
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=250)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture
def catalog(tmp_path):
    folder = tmp_path / "catalog"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "deep/b.jpg"):
        pixels = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
        Pil.fromarray(pixels).resize((96, 64)).save(folder / name)
    (folder / "text.jpg").write_text("this is text")
    (folder / "zero.png").write_bytes(b"")
    return folder


@pytest.mark.slow
def test_a_folder_is_edited_and_failed_images_are_listed_with_the_reason(catalog, tmp_path):
    out = tmp_path / "edited"
    code, text, errors = run("edit", catalog, "make it night", "-o", out, *LIGHT)
    assert code == 1, errors
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*")) == [
        "a.png",
        "deep/b.jpg",
    ]
    assert "2 images" in text
    assert "edited at 128x88, detail from the source" in text
    assert "2 of 4 images failed" in text
    for name in ("text.jpg", "zero.png"):
        assert name in text
    # All results exist now: the same command skips them and names --overwrite.
    code, text, errors = run("edit", catalog, "make it night", "-o", out, *LIGHT)
    assert code == 1  # two still fail
    assert "2 images skipped" in text and "--overwrite" in errors


@pytest.mark.slow
def test_a_video_is_edited_with_json_events_only_on_stdout(tmp_path):
    out = tmp_path / "out.mp4"
    code, text, errors = run("edit", CLIP, "make it night", "-o", out, "--end", "0:00.5",
                             "--json", *LIGHT)  # fmt: skip
    assert code == 0, errors
    events = [json.loads(line) for line in text.splitlines()]
    kinds = [e["kind"] for e in events]
    assert kinds[-1] == "done"
    assert {"planning", "planned", "started", "progress", "chunk"} <= set(kinds)
    assert events[-1]["data"]["output"] == str(out)
    assert events[-1]["data"]["frames"] == len(images_of(out)) > 1
    assert events[-1]["data"]["edit"] == {
        "width": 128, "height": 72, "one_size": True, "auto": False, "detail": "source",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_stopped_job_names_resume_which_continues_it(tmp_path, number, code, settings):
    out = tmp_path / "out.mkv"
    options = [*SLOW, "--codec", "ffv1", "--workers", "1", "--chunk-frames", "8"]
    process = start("edit", CLIP, "x", "-o", out, "--json", *options)
    for line in process.stdout:
        if json.loads(line)["kind"] == "chunk":
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    (folder,) = scheduler.list_jobs(settings)
    assert f"ip2p-batch resume {folder.path.name}" in errors
    assert not out.exists()
    finished = len(folder.receipts.ids())
    assert finished >= 1
    code, text, errors = run("resume", folder.path.name, "--json", "--devices", "cpu")
    assert code == 0, errors
    first = next(json.loads(x) for x in text.splitlines() if json.loads(x)["kind"] == "progress")
    assert first["done"] >= 8 * finished, "finished chunks are kept"
    assert len(images_of(out)) == 96


def test_an_output_that_exists_is_not_overwritten(tmp_path):
    out = tmp_path / "out.mp4"
    out.write_text("mine")
    code, _, errors = run("edit", CLIP, "x", "-o", out, *LIGHT)
    assert code == 4
    assert "--overwrite" in errors
    assert out.read_text() == "mine"


@pytest.mark.parametrize("instruction", [[], [""], ["  "]])
def test_an_empty_instruction_is_an_error(tmp_path, instruction):
    code, _, errors = run("edit", CLIP, *instruction, "-o", tmp_path / "out.mp4")
    assert code == 2
    assert "instruction" in errors


def test_a_broker_that_does_not_answer_is_one_clear_line(tmp_path):
    broker = "redis://127.0.0.1:1/0"
    code, out, errors = run("edit", CLIP, "x", "-o", tmp_path / "o.mp4", "--broker", broker)
    assert code == 6
    assert out == ""
    assert "127.0.0.1" in errors
    assert run("worker", "--broker", broker)[0] == 6
    assert run("worker", "--broker", "nonsense")[0] in (2, 6)


def test_without_a_worker_the_job_waits_and_the_error_names_the_worker_command(tmp_path, settings):
    with PrivateRedis() as redis:
        out = tmp_path / "o.mp4"
        code, _, errors = run("edit", CLIP, "x", "-o", out, *SLOW, "--broker", redis.url)
        assert code == 6
        assert f"ip2p-batch worker --broker {redis.url}" in errors
        (folder,) = scheduler.list_jobs(settings)
        assert folder.path.parent == tmp_path / ".ip2p-jobs"
        code, _, errors = run("resume", folder.path.name, "--detach", "--broker", redis.url)
        assert code == 0, errors
        assert "warning: no worker answers" in errors


@pytest.mark.slow
def test_a_detached_job_is_finished_by_workers_that_come_later(tmp_path, settings):
    out = tmp_path / "o.mp4"
    env = {**os.environ}
    with PrivateRedis() as redis:
        env["IP2P_BROKER_URL"] = redis.url
        options = ["-m", "identity", "--size", "64", "--end", "0.5"]
        code, _, errors = run("edit", CLIP, "x", "-o", out, *options, "--detach", env=env)
        assert code == 0, errors
        worker = start("worker", "--devices", "cpu", "--workers", "1", env=env)
        try:
            (folder,) = scheduler.list_jobs(settings)
            end = time.monotonic() + 120
            while folder.result() is None and time.monotonic() < end:
                time.sleep(0.2)
        finally:
            worker.terminate()
            worker.communicate(timeout=60)
    assert folder.result() is not None
    assert out.exists()


@pytest.mark.slow
def test_the_demo_writes_a_video_and_a_contact_sheet(tmp_path):
    code, text, errors = run("demo", "-o", tmp_path / "demo", "--devices", "cpu")
    assert code == 0, errors
    assert len(images_of(tmp_path / "demo" / "out.mp4")) == 96
    with Pil.open(tmp_path / "demo" / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 200
    assert "Blender Foundation" in text
    assert str(Path("demo") / "sheet.png") in text


def test_the_demo_replaces_no_file_but_its_own(tmp_path):
    (tmp_path / "out.mp4").write_text("precious")
    code, _, errors = run("demo", "-o", tmp_path)
    assert code == 4 and "another folder with -o" in errors
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_the_contact_sheet_has_the_middle_frames_of_equal_parts():
    assert demo.spread_over(0, 96, 4) == [12, 36, 60, 84]
    assert demo.spread_over(10, 12, 4) == [10, 11]
    assert demo.spread_over(5, 6, 4) == [5]
