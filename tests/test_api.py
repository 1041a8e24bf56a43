"""The Python API, with real local workers, a real Redis and the bundled model."""

import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pil

import ip2p_batch
from ip2p_batch import scheduler
from ip2p_batch.jobs.attempts import history, live_heartbeats
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.scheduler.local_run import WorkerSelection, run_job

from . import clips

NOOP = ip2p_batch.recipe_for("identity", size=64, carryover=0.0)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "catalog"
    path.mkdir()
    for number in range(3):
        Pil.new("RGB", (64, 48), (40 * number, 90, 160)).save(path / f"{number}.png")
    (path / "broken.jpg").write_text("this is text")
    return path


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    clips.make(path, 12)
    return path


def numbers(path):
    """The numbers that the frames of a test clip show."""
    with av.open(str(path)) as container:
        return [clips.number(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_every_public_name_loads():
    for name in ip2p_batch.__all__:
        assert getattr(ip2p_batch, name) is not None


def test_the_package_alone_loads_no_media_library_and_no_torch():
    code = (
        "import sys, ip2p_batch; ip2p_batch.__all__;"
        "print([m for m in ('torch', 'av', 'PIL', 'cv2', 'numpy', 'celery') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_recipe_for_the_bundled_model_has_its_defaults_and_the_given_fields():
    recipe = ip2p_batch.recipe_for("tiny", "make it snow", seed=7)
    assert (recipe.model, recipe.instruction, recipe.seed) == ("tiny", "make it snow", 7)
    assert recipe.size == "auto"
    assert ip2p_batch.recipe_for("tiny", size=128).size == 128
    with pytest.raises(ip2p_batch.RecipeError, match="sizzle"):
        ip2p_batch.recipe_for("tiny", sizzle=1)


def test_a_folder_is_edited_and_failed_images_are_listed(folder, tmp_path):
    events = []
    result = ip2p_batch.edit(
        folder,
        "make it snow",
        output=tmp_path / "out",
        recipe=ip2p_batch.recipe_for("tiny", size=64, num_inference_steps=2),
        workers=1,
        devices="cpu",
        progress=events.append,
    )
    assert result.frames == 3
    ((path, reason),) = result.failed
    assert path.endswith("broken.jpg") and reason
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    before, after = (
        np.asarray(Pil.open(place / "2.png")).astype(int) for place in (folder, tmp_path / "out")
    )
    assert abs(after - before).mean() > 1
    kinds = [event.kind for event in events]
    assert kinds[0] == "planning" and kinds[-1] == "done" and "chunk" in kinds


def test_a_custom_editor_runs_in_this_process(clip, tmp_path):
    seen = []

    def invert(image):
        seen.append(threading.get_ident())
        return 255 - image

    result = ip2p_batch.edit(
        clip,
        "invert",
        output=tmp_path / "out.mp4",
        recipe=NOOP,
        encoding=ip2p_batch.Encoding(codec="h264", crf=10),
        editor=ip2p_batch.IdentityEditor(transform=invert),
    )
    assert result.frames == 12
    with av.open(result.output) as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert [clips.number(255 - image) for image in images] == list(range(12))
    assert len(seen) >= 12


def test_a_failing_editor_raises_job_failed_and_the_next_call_continues(clip, tmp_path):
    def fail(image):
        raise ip2p_batch.EditError("The test editor fails.")

    with pytest.raises(ip2p_batch.JobFailed, match="The test editor fails") as failed:
        ip2p_batch.edit(
            clip,
            "x",
            output=tmp_path / "out.mp4",
            recipe=NOOP,
            editor=ip2p_batch.IdentityEditor(transform=fail),
        )
    assert failed.value.error == "EditError"
    assert not (tmp_path / "out.mp4").exists()
    result = ip2p_batch.edit(
        clip, "x", output=tmp_path / "out.mp4", recipe=NOOP, editor=ip2p_batch.IdentityEditor()
    )
    assert result.frames == 12 and numbers(tmp_path / "out.mp4") == list(range(12))


def test_stopping_early_leaves_a_job_that_a_later_call_finishes(clip, tmp_path, settings):
    class Stop(Exception):
        pass

    def stop(event):
        if event.kind == "started":
            raise Stop

    with pytest.raises(Stop):
        ip2p_batch.edit(
            clip, "x", output=tmp_path / "out.mp4", recipe=NOOP, workers=1, progress=stop
        )
    result = ip2p_batch.edit(clip, "x", output=tmp_path / "out.mp4", recipe=NOOP, workers=1)
    assert result.frames == 12 and numbers(result.output) == list(range(12))


def test_a_plan_writes_nothing(clip, tmp_path):
    before = set(tmp_path.rglob("*"))
    prepared = ip2p_batch.plan(clip, "make it snow", recipe=ip2p_batch.recipe_for("tiny"))
    assert prepared.plan.frames == 12 and prepared.plan.chunks
    assert set(tmp_path.rglob("*")) == before


def test_a_detached_job_is_submitted_paused_resumed_and_finished(clip, tmp_path, redis):
    job = ip2p_batch.submit(
        clip, "x", output=tmp_path / "out.mp4", recipe=NOOP, broker=redis.url, priority="high"
    )
    assert job.status().state == "waiting" and job.status().priority == "high"
    job.pause()
    assert job.status().state == "paused"
    job.resume()
    opened = ip2p_batch.open_job(job.folder.path, broker=redis.url)
    with pytest.raises(TimeoutError, match=job.id):
        opened.result(timeout=0)
    with LocalWorkers(redis.url, 1, "cpu", tmp_path / "workers.log"):
        kinds = [event.kind for event in opened.events()]
    assert kinds[0] == "started" and kinds[-1] == "done"
    assert opened.result().frames == 12
    assert numbers(tmp_path / "out.mp4") == list(range(12))


def test_a_cancelled_job_raises_job_cancelled(clip, tmp_path, redis):
    job = ip2p_batch.submit(clip, "x", output=tmp_path / "out.mp4", recipe=NOOP, broker=redis.url)
    job.cancel()
    with pytest.raises(ip2p_batch.JobCancelled, match=job.id):
        job.result()


def test_submit_without_a_broker_is_one_clear_error(clip):
    with pytest.raises(ip2p_batch.BrokerError, match="needs a broker"):
        ip2p_batch.submit(clip, "x", recipe=NOOP)


def test_open_job_names_a_job_that_does_not_exist():
    with pytest.raises(ip2p_batch.JobError, match="nowhere"):
        ip2p_batch.open_job("nowhere")


def test_the_examples_of_the_readme_and_the_package_agree_with_the_signature(clip, tmp_path):
    """The lines of the package's docstring, run as they stand."""
    lines = ip2p_batch.__doc__.split("::")[1].split("``__init__.pyi``")[0]
    code = "\n".join(line.strip() for line in lines.strip().splitlines())
    code = code.replace('recipe_for("tiny")', 'recipe_for("tiny", size=64, num_inference_steps=2)')
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=clip.parent, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(Path(clip.parent / "out.mp4")), "12"]


def test_a_run_that_its_check_stops_counts_no_crash(clip, tmp_path, settings):
    class Stop(Exception):
        pass

    slow = ip2p_batch.recipe_for("identity:slow=30", "x", size=64, carryover=0.0)
    folder = scheduler.create_job(
        scheduler.EditRequest(source=clip, output=tmp_path / "out.mp4", recipe=slow),
        settings,
    )

    def stop_once_a_chunk_is_edited():
        if live_heartbeats(folder, ()):
            raise Stop

    events = run_job(folder, WorkerSelection(workers=1), check=stop_once_a_chunk_is_edited)
    with pytest.raises(Stop):
        list(events)
    assert [history(folder, chunk.id).crashes for chunk in folder.plan().chunks] == [0]
