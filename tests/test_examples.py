"""The programs in ``examples/`` run as a user would run them."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pil

from ip2p_batch.queue.local_workers import LocalWorkers

from . import clips

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_folder_example_edits_a_folder(tmp_path):
    source = tmp_path / "catalog"
    source.mkdir()
    for name in ("a.png", "b.png"):
        Pil.new("RGB", (64, 64), (90, 120, 60)).save(source / name)
    said = run("edit_folder.py", source, tmp_path / "out", "make it snow")
    assert "2 images" in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


def test_the_detached_example_follows_its_job_to_the_end(tmp_path, redis):
    clip = tmp_path / "clip.mp4"
    clips.make(clip, 6)
    with LocalWorkers(redis.url, 1, "cpu", tmp_path / "workers.log"):
        said = run(
            "follow_detached_job.py",
            clip,
            tmp_path / "out.mp4",
            "make it autumn",
            redis.url,
            "--model",
            "identity",
        )
    assert "finished: 6 of 6 frames" in said
    assert (tmp_path / "out.mp4").exists()


def test_the_custom_editor_example_posterizes_a_video(tmp_path):
    clip = tmp_path / "clip.mp4"
    clips.make(clip, 6, size=(128, 96))
    said = run("custom_editor.py", clip, tmp_path / "out.mp4", "--levels", "2")
    assert "6 frames" in said
    with av.open(str(tmp_path / "out.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 6
    extreme = [np.mean((image < 40) | (image > 215)) for image in images]
    assert min(extreme) > 0.8, "two levels: nearly all samples are black or white"
