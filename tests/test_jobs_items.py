"""The item table: what became of each image and video of a job, also as a list for `edit`."""

import csv
import os
from pathlib import Path

import msgspec
import pytest
from PIL import Image as Pil

import ip2p_batch
from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.jobs import items
from ip2p_batch.jobs.items import ItemStatus, read_items, table_path, write_csv, write_table
from ip2p_batch.jobs.records import Failure
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.items import all_items
from ip2p_batch.scheduler.local_executor import LocalExecutor

from . import clips

RECIPE = Recipe(
    instruction="copy", model="identity", size=64, carryover=0.0, temporal_filter=0, seed=3
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "in"
    path.mkdir()
    for name in ("a.png", "b.png"):
        Pil.new("RGB", (64, 48), (90, 120, 30)).save(path / name)
    (path / "broken.jpg").write_text("this is text")
    return path


def create(source, output, settings, **options):
    request = scheduler.EditRequest(source=source, output=output, recipe=RECIPE, **options)
    return scheduler.create_job(request, settings)


def run(job):
    list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))


def states(rows):
    return {Path(row.source).name: row.state for row in rows}


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_rows_of_images_follow_the_job(folder, tmp_path, settings):
    out = tmp_path / "out"
    job = create(folder, out, settings)
    assert states(read_items(job)) == {
        "a.png": "waiting",
        "b.png": "waiting",
        "broken.jpg": "failed",
    }
    run(job)
    rows = read_items(job)
    assert states(rows) == {"a.png": "done", "b.png": "done", "broken.jpg": "failed"}
    first, _, broken = rows
    assert (first.output, first.instruction, first.seed) == (str(out / "a.png"), "copy", 3)
    assert first.recipe == RECIPE.fingerprint()[:16]
    assert first.seconds is not None and first.seconds >= 0
    assert broken.reason == "text, not an image"
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    again = create(folder, out, settings)
    assert states(read_items(again)) == {
        "a.png": "skipped",
        "b.png": "skipped",
        "broken.jpg": "failed",
        "c.png": "waiting",
    }


def test_images_of_a_chunk_that_failed_have_its_reason(folder, tmp_path, settings):
    job = create(folder, tmp_path / "out", settings)
    (chunk,) = job.plan().chunks
    job.failures.write(Failure(chunk=chunk.id, error="EditError", message="no memory"))
    rows = read_items(job)
    assert [row.reason for row in rows] == ["no memory", "no memory", "text, not an image"]


def test_own_values_change_the_fingerprint_as_in_a_job_of_their_own(folder, tmp_path, settings):
    path = folder / "list.csv"
    path.write_text("path,instruction,seed,guidance_scale\na.png,make it snow,7,4.5\nb.png,,,\n")
    own, plain = read_items(create(path, tmp_path / "out", settings))
    expected = msgspec.structs.replace(
        RECIPE, instruction="make it snow", seed=7, guidance_scale=4.5
    )
    assert own.recipe == expected.fingerprint()[:16]
    assert (own.instruction, own.seed, own.guidance_scale) == ("make it snow", 7, 4.5)
    assert plain.recipe == RECIPE.fingerprint()[:16]
    assert plain.guidance_scale is None


def test_a_video_is_one_row(tmp_path, settings):
    clips.make(tmp_path / "clip.mp4", 6)
    job = create(tmp_path / "clip.mp4", tmp_path / "out.mp4", settings)
    assert [row.state for row in read_items(job)] == ["waiting"]
    job.failures.write(Failure(chunk=job.plan().chunks[0].id, error="EditError", message="lost"))
    assert [(row.state, row.reason) for row in read_items(job)] == [("failed", "lost")]
    run(job)
    (row,) = read_items(job)
    assert (row.state, row.source) == ("done", str(tmp_path / "clip.mp4"))
    assert row.seconds > 0


def test_the_table_is_written_next_to_the_folder_of_results(folder, tmp_path, settings):
    run(create(folder, tmp_path / "out", settings))
    rows = table(tmp_path / "out-items.csv")
    assert [(Path(row["path"]).name, row["output"], row["state"]) for row in rows] == [
        ("a.png", "a.png", "done"),
        ("b.png", "b.png", "done"),
        ("broken.jpg", "broken.jpg", "failed"),
    ]


def test_no_table_is_written_for_one_file_and_next_to_sources(folder, tmp_path, settings):
    run(create(folder / "a.png", tmp_path / "alone.png", settings))
    request = scheduler.EditRequest(source=folder, recipe=RECIPE)
    sources = [folder / "a.png", folder / "b.png"]
    (job,) = scheduler.create_jobs(request, sources, settings).made
    run(job)
    assert (folder / "a-edited.png").exists()
    assert not list(tmp_path.rglob("*items.csv"))


def test_the_table_is_a_list_for_edit(folder, tmp_path, settings):
    out = tmp_path / "out"
    run(create(folder, out, settings))
    (folder / "broken.jpg").unlink()
    Pil.new("RGB", (64, 48)).save(folder / "broken.jpg")
    failed = tmp_path / "failed.csv"
    lines = (tmp_path / "out-items.csv").read_text().splitlines(keepends=True)
    failed.write_text(lines[0] + "".join(line for line in lines[1:] if ",failed," in line))
    job = create(failed, out, settings)
    assert not any("column" in warning for warning in job.plan().warnings)
    run(job)
    assert (out / "broken.jpg").is_file()
    assert states(read_items(job)) == {"broken.jpg": "done"}


def test_a_list_of_sources_and_other_files_are_not_replaced(folder, tmp_path, settings):
    path = tmp_path / "out-items.csv"
    path.write_text("my own table\n")
    job = create(folder, tmp_path / "out", settings)
    run(job)
    assert path.read_text() == "my own table\n"
    assert any("another kind" in warning for warning in job.result().warnings)
    rows = read_items(job)
    with path.open("w") as file:
        write_csv(rows, file, tmp_path / "out")
    before = path.read_bytes()
    assert write_table([], path, tmp_path / "out", [path]) == "it is the list of the sources"
    assert path.read_bytes() == before
    assert write_table(rows[:1], path, tmp_path / "out", []) == ""
    assert len(table(path)) == 1


def test_a_pipe_with_the_name_of_the_table_stays(tmp_path):
    os.mkfifo(tmp_path / "out-items.csv")
    rows = [ItemStatus(source="a", output="b", state="done")]
    reason = write_table(rows, tmp_path / "out-items.csv", tmp_path, [])
    assert reason == "a file of another kind has its name"
    assert (tmp_path / "out-items.csv").is_fifo()


def test_a_table_that_cannot_be_written_is_a_warning(tmp_path):
    rows = [ItemStatus(source="a", output="b", state="done")]
    (tmp_path / "file").write_text("x")
    assert "file" in write_table(rows, tmp_path / "file/x.csv", tmp_path, [])


def test_texts_with_commas_quotes_and_lines_return_unchanged(tmp_path):
    text = 'snow, "deep"\nand white'
    path = table_path(tmp_path / "out")
    for name in ("ä,b.png", "line\nfeed.png", "carriage\rreturn.png", 'quote".png'):
        row = ItemStatus(
            source=f"/in/{name}", output=f"/out/{name}", state="done", instruction=text
        )
        assert write_table([row], path, Path("/out"), []) == ""
        (read,) = table(path)
        assert (read["path"], read["output"]) == (f"/in/{name}", name)
        assert read["instruction"] == text


@pytest.mark.parametrize("name", ["carriage\rreturn.png", "line\nfeed.png", " space.png"])
def test_a_table_with_unusual_names_edits_nothing_again(folder, tmp_path, settings, name):
    (folder / "a.png").rename(folder / name)
    (folder / "broken.jpg").unlink()
    out = tmp_path / "out"
    job = create(folder, out, settings)
    run(job)
    again = create(table_path(out), out, settings)
    assert states(read_items(again)) == {name: "skipped", "b.png": "skipped"}


def test_the_columns_of_a_list_are_those_that_lists_may_have():
    from ip2p_batch.media.images.manifest import COLUMNS

    assert set(items.LIST_COLUMNS) == set(COLUMNS)


def test_the_table_of_several_jobs_has_all_sources(folder, tmp_path, settings):
    for name in ("clip.mp4", "second.mp4"):
        clips.make(folder / name, 6)
    (folder / "text.mp4").write_text("text")
    out = tmp_path / "out"
    out.mkdir()
    (out / "second.mp4").write_text("mine")
    done = ip2p_batch.edit_many([folder], output=out, recipe=RECIPE, editor=IdentityEditor())
    assert len(done.failed) == 2
    rows = {Path(row["path"]).name: row for row in table(tmp_path / "out-items.csv")}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a.png": "done",
        "b.png": "done",
        "broken.jpg": "failed",
        "clip.mp4": "done",
        "second.mp4": "skipped",
        "text.mp4": "failed",
    }
    assert rows["clip.mp4"]["output"] == "clip.mp4"
    assert rows["text.mp4"]["instruction"] == "copy"


def test_a_missing_source_has_no_output_in_the_table(folder, tmp_path, settings):
    request = scheduler.EditRequest(source=folder, output=tmp_path / "out", recipe=RECIPE)
    jobs = scheduler.create_jobs(request, [folder / "a.png", folder / "gone.mp4"], settings)
    assert [(Path(r.source).name, r.output, r.state) for r in all_items(jobs)][1:] == [
        ("gone.mp4", "", "failed")
    ]


def test_a_handle_has_the_table(folder, tmp_path, settings):
    job = create(folder, tmp_path / "out", settings)
    assert ip2p_batch.open_job(job.path).items() == read_items(job)


def test_equal_warnings_of_images_are_one_line_and_the_table_has_each(folder, tmp_path, settings):
    for name in ("a.bmp", "b.bmp", "c.bmp"):
        Pil.new("RGB", (64, 48)).save(folder / name)
    job = create(folder, tmp_path / "out", settings)
    assert job.plan().warnings == (
        f"1 of 6 images cannot be edited: {folder}/broken.jpg: text, not an image.",
    )
    run(job)
    (line,) = [w for w in job.result().warnings if "BMP" in w]
    assert line.startswith("3 images: BMP holds no metadata")
    assert line.endswith("(a.bmp, b.bmp, ...)")
    assert sum("BMP" in row.warning for row in read_items(job)) == 3


def test_images_that_cannot_be_edited_are_counted_by_reason(folder, tmp_path, settings):
    for name in ("x.psd", "y.psd", "z.psd"):
        (folder / name).write_bytes(b"8BPS")
    (warning,) = create(folder, tmp_path / "out", settings).plan().warnings
    assert warning == (
        f"4 of 6 images cannot be edited: {folder}/broken.jpg: text, not an image; "
        "3 images: Photoshop images are not supported (x.psd, y.psd, ...)."
    )
