"""Results get their names, and files that appear while a job runs are left alone."""

import os

import msgspec
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import frames_of, make
from .pictures import save
from .test_cli_edit import SLOW, run, start
from .waiting import wait_for

RECIPE = Recipe(instruction="make it snow", model="identity", size=64, chunk_frames=8)


@pytest.fixture
def images(tmp_path):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


def create(source, output, settings, recipe=RECIPE, **options):
    request = scheduler.EditRequest(source=source, output=output, recipe=recipe, **options)
    return scheduler.create_job(request, settings)


def follow(folder, during=lambda: None):
    """Run a job in this process; ``during`` is called before each frame or image is edited."""

    def transform(image):
        during()
        return 255 - image

    return list(scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor(transform))))


def failed(folder):
    return {path.rpartition("/")[2]: why for path, why in scheduler.read_result(folder).failed}


def test_an_image_that_appears_while_the_job_runs_is_left_alone(images, tmp_path, settings):
    out = tmp_path / "out"
    folder = create(images, out, settings)
    follow(folder, lambda: (out / "1.png").write_bytes(b"precious"))
    assert (out / "1.png").read_bytes() == b"precious"
    assert set(failed(folder)) == {"1.png"}
    why = failed(folder)["1.png"]
    assert str(out / "1.png") in why and f"`ip2p-batch retry {folder.path.name}`" in why
    kept = folder.path / "kept" / "000001.png"
    assert str(kept) in why and kept.is_file()
    assert sorted(os.listdir(out)) == ["0.png", "1.png", "2.png"]
    # The hint works: the file is moved away, and only that image is edited again.
    (out / "1.png").rename(tmp_path / "aside.png")
    made = (out / "0.png").stat().st_mtime_ns
    assert scheduler.retry_job(folder) == 1
    follow(folder)
    assert failed(folder) == {} and (out / "1.png").read_bytes() == kept_bytes(out / "0.png")
    assert (out / "0.png").stat().st_mtime_ns == made and not kept.exists()


def kept_bytes(path):
    return path.read_bytes()  # the three images are equal


def test_a_video_that_appears_while_the_job_runs_is_left_alone(tmp_path, settings):
    source, out = make(tmp_path / "clip.mkv", 10), tmp_path / "out.mkv"
    folder = create(source, out, settings)
    last = follow(folder, lambda: out.write_text("precious"))[-1]
    assert last.kind == "failed" and last.data["error"] == "OutputTaken"
    assert str(out) in last.message and f"resume {folder.path.name}" in last.data["hint"]
    assert out.read_text() == "precious" and sorted(os.listdir(tmp_path)) == ["clip.mkv", "out.mkv"]
    out.unlink()
    edited = []
    assert follow(folder, lambda: edited.append(1))[-1].kind == "done"
    assert not edited and len(frames_of(out)) == 10


@pytest.mark.parametrize("change", ["edited", "replaced", "touched"])
def test_overwrite_replaces_what_stood_there_at_planning_and_nothing_else(
    images, tmp_path, settings, change
):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("0.png", "1.png"):
        (out / name).write_bytes(b"older")
    folder = create(images, out, settings, overwrite=True)

    def meddle():
        if change == "edited":
            (out / "1.png").write_bytes(b"edited")
        elif change == "replaced":
            (out / "new").write_bytes(b"other")
            (out / "new").replace(out / "1.png")
        else:
            os.utime(out / "1.png", (1, 1))
        (out / "2.png").write_bytes(b"appeared")

    follow(folder, meddle)
    assert set(failed(folder)) == {"1.png", "2.png"}
    assert (out / "0.png").stat().st_size > 100
    assert (out / "1.png").read_bytes() in (b"edited", b"other", b"older")
    assert (out / "2.png").read_bytes() == b"appeared"


def test_overwrite_of_a_video_replaces_only_what_stood_there(tmp_path, settings):
    source, out = make(tmp_path / "clip.mkv", 10), tmp_path / "out.mkv"
    out.write_text("older")
    folder = create(source, out, settings, overwrite=True)
    assert follow(folder, lambda: out.write_text("edited!"))[-1].data["error"] == "OutputTaken"
    assert out.read_text() == "edited!"
    # The same command again plans with what stands there now.
    assert create(source, out, settings, overwrite=True).path == folder.path
    assert follow(folder)[-1].kind == "done" and len(frames_of(out)) == 10


def test_what_a_killed_worker_has_published_is_published_again(images, tmp_path, settings):
    out = tmp_path / "out"
    folder = create(images, out, settings)
    follow(folder)
    before = (out / "0.png").read_bytes()
    # As after a crash between the results and their receipt, of which one line was cut short.
    for receipt in (folder.path / "receipts").iterdir():
        receipt.unlink()
    folder.drop_result()
    for name in (folder.path / "published").iterdir():
        name.write_bytes(name.read_bytes()[:-40])
    assert follow(folder)[-1].kind == "done"
    assert failed(folder) == {} and (out / "0.png").read_bytes() == before


def test_a_link_that_appears_below_the_output_leads_no_result_into_the_source(tmp_path, settings):
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "below" / "a.png")
    save(source / "z.png")
    folder = create(source, out, settings)
    before = (source / "below" / "a.png").read_bytes()

    def link():
        out.mkdir(exist_ok=True)
        if not (out / "below").exists():
            (out / "below").symlink_to(source / "below")

    follow(folder, link)
    assert set(failed(folder)) == {"a.png"}
    assert (source / "below" / "a.png").read_bytes() == before
    assert os.listdir(source / "below") == ["a.png"]


def test_a_source_that_becomes_a_link_of_the_output_is_not_replaced(images, tmp_path, settings):
    out = tmp_path / "out"
    out.mkdir()
    (out / "0.png").write_bytes(b"older")
    folder = create(images, out, settings, overwrite=True)

    def link():
        (images / "0.png").unlink(missing_ok=True)
        os.link(out / "0.png", images / "0.png")

    follow(folder, link)
    assert "0.png" in failed(folder) and (images / "0.png").read_bytes() == b"older"


@pytest.mark.slow
def test_a_video_that_appears_while_a_command_runs_is_left_alone(tmp_path):
    source, out = make(tmp_path / "c.mkv", 24), tmp_path / "o.mkv"
    options = [*SLOW, "--chunk-frames", "8", "--workers", "1", "-o", out]
    state = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = start("edit", source, "x", *options, env=state)
    jobs = tmp_path / "state" / "ip2p-batch" / "jobs"
    wait_for(lambda: list(jobs.glob("*/receipts/*.json")))
    out.write_text("precious")
    _, err = command.communicate(timeout=250)
    (folder,) = jobs.iterdir()
    assert command.returncode == 4, err
    assert out.read_text() == "precious"
    assert str(out) in err and f"ip2p-batch resume {folder.name}" in err
    assert msgspec.json.decode((folder / "job.json").read_bytes())["output"] == str(out)
    out.unlink()
    code, _, err = run("resume", folder.name, "--workers", "1", env=state)
    assert code == 0, err
    assert len(frames_of(out)) == 24 and JobFolder(folder).ended
