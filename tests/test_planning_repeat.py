"""Repeated runs: what changed is made anew, and files of no known job are left alone."""

import dataclasses
import os
import shutil

import msgspec
import pytest

from ip2p_batch import scheduler
from ip2p_batch.errors import OutputError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.history import read_history
from ip2p_batch.jobs.registry import remove
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import create_jobs, read_result
from ip2p_batch.storage.identity import RealPaths

from .clips import make
from .pictures import save, scene
from .test_execution_publication import follow

RECIPE = Recipe(instruction="make it snow", model="identity", size=64)


@pytest.fixture
def images(tmp_path):
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", scene() // (number + 1))
    return tmp_path / "in"


def request(source, output, instruction="make it snow", **options):
    recipe = msgspec.structs.replace(RECIPE, instruction=instruction)
    return scheduler.EditRequest(source=source, output=output, recipe=recipe, **options)


def run(source, output, settings, instruction="make it snow", **options):
    """Edit, and return the warnings of planning and the names of the images that were edited."""
    events = []
    folder = scheduler.create_job(
        request(source, output, instruction, **options), settings, events.append
    )
    before = times(output)
    if not folder.ended:
        follow(folder)
    assert read_result(folder).failed == ()
    made = {name for name, time in times(output).items() if before.get(name) != time}
    return " ".join(e.message for e in events if e.kind == "warning"), made


def times(output):
    return {p.name: p.stat().st_ino for p in output.rglob("*.*")} if output.is_dir() else {}


ALL = {"0.png", "1.png", "2.png"}


def test_an_equal_run_edits_nothing_as_often_as_it_is_repeated(images, tmp_path, settings):
    out = tmp_path / "out"
    assert run(images, out, settings) == ("", ALL)
    for _ in range(3):
        warnings, made = run(images, out, settings)
        assert not made and "3 images left alone: same recipe, same source" in warnings


def test_a_changed_instruction_makes_all_anew(images, tmp_path, settings):
    out = tmp_path / "out"
    run(images, out, settings)
    warnings, made = run(images, out, settings, "make it night")
    assert made == ALL and "3 images made anew" in warnings
    assert run(images, out, settings, "make it night")[1] == set()
    assert run(images, out, settings)[1] == ALL  # and back again


def test_a_changed_option_of_encoding_makes_all_anew(images, tmp_path, settings):
    out = tmp_path / "out"
    jpegs = {"0.jpg", "1.jpg", "2.jpg"}
    assert run(images, out, settings, encoding=Encoding(format="jpeg", quality=80))[1] == jpegs
    assert run(images, out, settings, encoding=Encoding(format="jpeg", quality=60))[1] == jpegs


def test_only_changed_rows_of_a_list_are_made_anew(images, tmp_path, settings):
    rows = {"0.png": "make it night", "1.png": "make it night", "2.png": "make it autumn"}

    def write(name):
        table = images / name
        table.write_text("path,instruction\n" + "".join(f"{k},{v}\n" for k, v in rows.items()))
        return table

    out = tmp_path / "out"
    assert run(write("monday.csv"), out, settings, "")[1] == ALL
    rows["0.png"] = "make it winter with snow"
    warnings, made = run(write("tuesday.csv"), out, settings, "")
    assert made == {"0.png"}
    assert "1 image made anew" in warnings and "2 images left alone: same recipe" in warnings
    # A row's instruction counts as the command's does.
    assert run(images, out, settings, "make it night")[1] == {"0.png", "2.png"}


@pytest.mark.parametrize("change", ["other pixels", "same size and time", "touched", "copied"])
def test_a_changed_source_is_edited_again_and_an_equal_one_is_not(
    images, tmp_path, settings, change
):
    out, source = tmp_path / "out", images / "1.png"
    run(images, out, settings)
    before = source.stat()
    if change == "other pixels":
        save(source, 255 - scene())
    elif change == "same size and time":
        source.write_bytes(source.read_bytes()[:-1] + b"x")  # in a checksum that no reader checks
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "touched":
        os.utime(source, (1, 1))
    else:
        shutil.copy(source, tmp_path / "copy.png")
        os.replace(tmp_path / "copy.png", source)
    changed = change in ("other pixels", "same size and time")
    assert run(images, out, settings)[1] == ({"1.png"} if changed else set())


@pytest.mark.parametrize("instruction", ["make it snow", "make it night"])
@pytest.mark.parametrize("times_kept", [False, True])
def test_a_result_edited_by_hand_is_never_replaced_and_is_named(
    images, tmp_path, settings, instruction, times_kept
):
    out = tmp_path / "out"
    run(images, out, settings)
    result = out / "1.png"
    before = result.stat()
    data = result.read_bytes()
    result.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of the same size
    edited = result.read_bytes()
    if times_kept:
        os.utime(result, ns=(before.st_atime_ns, before.st_mtime_ns))
    warnings, made = run(images, out, settings, instruction)
    assert made == (ALL - {"1.png"} if instruction == "make it night" else set())
    if not times_kept or instruction == "make it night":
        assert "1 image left alone: changed by hand since" in warnings and "1.png" in warnings
    assert result.read_bytes() == edited
    assert run(images, out, settings, instruction, overwrite=True)[1] == ALL
    assert result.read_bytes() != edited


def test_a_result_that_was_copied_back_counts_as_unchanged(images, tmp_path, settings):
    out = tmp_path / "out"
    run(images, out, settings)
    shutil.move(out, tmp_path / "backup")
    shutil.copytree(tmp_path / "backup", out, copy_function=shutil.copyfile)
    assert run(images, out, settings)[1] == set()
    assert run(images, out, settings, "make it night")[1] == ALL


def test_results_without_a_known_job_are_left_alone_and_named(images, tmp_path, settings):
    out = tmp_path / "out"
    run(images, out, settings)
    for folder in scheduler.list_jobs(settings):
        remove(settings, folder)
    warnings, made = run(images, out, settings, "make it night")
    assert made == set()
    assert "3 images skipped: the output exists" in warnings and "0.png, 1.png, 2.png" in warnings


def test_results_are_known_under_another_name_of_their_folder(images, tmp_path, settings):
    run(images, tmp_path / "out", settings)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    warnings, made = run(images, tmp_path / "link", settings)
    assert made == set() and "same recipe" in warnings
    assert run(images, tmp_path / "link", settings, "make it night")[1] == ALL
    real = RealPaths()
    assert real.of(str(tmp_path / "link" / "0.png")) == real.of(str(tmp_path / "out" / "0.png"))


def test_a_single_file_as_output_is_replaced_only_on_request(images, tmp_path, settings):
    out = tmp_path / "o.png"
    folder = scheduler.create_job(request(images / "0.png", out), settings)
    follow(folder)
    with pytest.raises(OutputError, match="exists already"):
        scheduler.create_job(request(images / "0.png", out, "make it night"), settings)
    follow(
        scheduler.create_job(
            request(images / "0.png", out, "make it night", overwrite=True), settings
        )
    )


def test_results_of_an_interrupted_job_are_kept_by_the_job_that_supersedes_it(
    images, tmp_path, settings
):
    out = tmp_path / "out"
    run(images, out, settings)  # stands for the part that the interrupted job has made
    save(images / "3.png")
    _, made = run(images, out, settings)
    assert made == {"3.png"}
    for name in ALL | {"3.png"}:
        (out / name).write_bytes(b"retouched")
    assert run(images, out, settings, "make it night")[1] == set()


def test_videos_of_a_folder_are_made_anew_when_something_changed(tmp_path, settings):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        source.mkdir(exist_ok=True)
        make(source / name, 3)

    def edit(instruction):
        events = []
        jobs = create_jobs(request(source, out, instruction), [source], settings, events.append)
        for folder in jobs.made:
            assert follow(folder)[-1].kind == "done"
        names = {job.job().source.path.rpartition("/")[2] for job in jobs.made}
        return names, " ".join(e.message for e in events if e.kind == "warning")

    assert edit("make it snow")[0] == {"a.mkv", "b.mkv", "c.mkv"}
    names, warnings = edit("make it snow")
    assert names == set() and "3 videos left alone: same recipe" in warnings
    os.utime(source / "c.mkv", (1, 1))
    assert edit("make it snow")[0] == set()
    make(source / "b.mkv", 4)
    (out / "c.mkv").write_bytes(b"edited by hand")
    names, warnings = edit("make it night")
    assert names == {"a.mkv", "b.mkv"}
    assert "2 videos made anew" in warnings and "c.mkv" in warnings
    assert (out / "c.mkv").read_bytes() == b"edited by hand"


def test_a_user_without_a_home_folder_can_plan(images, tmp_path, settings):
    nowhere = dataclasses.replace(settings, state=None, jobs_dir=tmp_path / "jobs")
    assert not read_history(nowhere, tmp_path / "out")
