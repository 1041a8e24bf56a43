"""Doing again what failed, and only that."""

import time

import msgspec
import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import JobError
from ip2p_batch.jobs.records import Heartbeat, WorkerInfo
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler.local_executor import LocalExecutor

RECIPE = Recipe(instruction="invert the colors", model="identity", size=64)


def picture(path, size=(96, 64), value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)


@pytest.fixture
def catalog(tmp_path):
    """Five good images, one that is no image, and one that is cut short."""
    source = tmp_path / "catalog"
    for number in range(5):
        picture(source / f"{number}.png", value=number)
    (source / "broken.jpg").write_bytes(b"not an image")
    cut(source / "1.png", source / "cut.png")
    return source


def cut(good, path):
    path.write_bytes(good.read_bytes()[:-40])


def finish(folder, transform=lambda image: 255 - image):
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor(transform))))
    assert events[-1].kind == "done", events[-1]
    return events


def create(source, output, settings, recipe=RECIPE, **options):
    return scheduler.create_job(
        scheduler.EditRequest(source=source, output=output, recipe=recipe, **options), settings
    )


def failed(folder):
    return {path.rpartition("/")[2]: why for path, why in scheduler.read_result(folder).failed}


def stamps(folder):
    return {p.name: p.stat().st_mtime_ns for p in (folder.path / "receipts").iterdir()}


def test_only_fixed_images_are_edited(catalog, tmp_path, settings):
    out = tmp_path / "out"
    folder = create(catalog, out, settings)
    finish(folder)
    assert set(failed(folder)) == {"broken.jpg", "cut.png"}
    before = stamps(folder)
    outputs = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    picture(catalog / "broken.jpg", size=(64, 96))  # of another shape than the others
    picture(catalog / "cut.png")
    edited = []
    assert scheduler.retry_job(folder) == 2
    assert (scheduler.read_status(folder).done, scheduler.read_status(folder).total) == (5, 7)
    events = finish(folder, lambda image: edited.append(1) or 255 - image)
    assert len(edited) == 2
    assert [e for e in events if e.kind == "failed_item"] == []
    result = scheduler.read_result(folder)
    assert (result.frames, result.failed, result.warnings) == (7, (), ())
    assert {n: t for n, t in stamps(folder).items() if n in before} == before
    for name, stamp in outputs.items():
        assert (out / name).stat().st_mtime_ns == stamp
    with Pil.open(out / "broken.jpg") as fixed:
        assert fixed.size == (64, 96)
    assert scheduler.retry_job(folder) == 0 and scheduler.read_result(folder) == result


def test_images_that_still_fail_stay_reported_and_can_be_retried(catalog, tmp_path, settings):
    folder = create(catalog, tmp_path / "out", settings)
    finish(folder)
    assert scheduler.retry_job(folder) == 1, (
        "only reading the whole of it shows that it is cut short"
    )
    finish(folder)
    assert set(failed(folder)) == {"broken.jpg", "cut.png"}
    assert scheduler.read_result(folder).frames == 5
    picture(catalog / "cut.png")
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert set(failed(folder)) == {"broken.jpg"}
    assert scheduler.read_result(folder).frames == 6
    (catalog / "broken.jpg").unlink()
    result = scheduler.read_result(folder)
    assert scheduler.retry_job(folder) == 0
    assert scheduler.read_result(folder) == result


def test_an_image_that_fails_for_a_new_reason_reports_it(catalog, tmp_path, settings):
    folder = create(catalog, tmp_path / "out", settings)
    finish(folder)
    (catalog / "cut.png").write_bytes(b"")
    picture(catalog / "broken.jpg")
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert failed(folder).keys() == {"cut.png"} and "empty" in failed(folder)["cut.png"]
    assert scheduler.read_result(folder).frames == 6


def test_a_fixed_manifest_row_is_edited_with_its_own_instruction(catalog, tmp_path, settings):
    listed = catalog / "list.csv"
    rows = "path,instruction,output,seed\n0.png,make it night,a.png,\n1.png,add fog,b.png,{}\n"
    listed.write_text(rows.format("seven") + "missing.png,add rain,c.png,\n")
    folder = create(listed, tmp_path / "out", settings)
    finish(folder)
    assert scheduler.read_result(folder).frames == 1
    listed.write_text(rows.format("7") + "missing.png,add rain,c.png,\n")
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert failed(folder).keys() == {"missing.png"}
    with Pil.open(tmp_path / "out" / "b.png") as edited:
        comment = edited.text["ip2p-batch"]  # type: ignore[attr-defined]
    assert "add fog" in comment and '"seed":7' in comment.replace(" ", "")
    picture(catalog / "missing.png")
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert scheduler.read_result(folder).frames == 3 and not failed(folder)


def test_a_failed_chunk_is_tried_again(catalog, tmp_path, settings):
    folder = create(catalog / "0.png", tmp_path / "o.png", settings)

    def fail(image):
        raise RuntimeError("out of paper")

    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor(fail))))
    assert events[-1].kind == "failed"
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert scheduler.read_result(folder).frames == 1


def test_an_interrupted_retry_continues(catalog, tmp_path, settings):
    folder = create(catalog, tmp_path / "out", settings)
    finish(folder)
    picture(catalog / "cut.png")
    picture(catalog / "broken.jpg", size=(64, 96))
    assert scheduler.retry_job(folder) == 2
    before = len(folder.receipts.ids())
    for event in scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor())):
        if event.kind == "chunk" and len(folder.receipts.ids()) == before + 1:
            break
    assert scheduler.read_status(folder).state in {
        "waiting",
        "running",
    }  # what was done is seconds old
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert scheduler.read_result(folder).frames == 7


def test_a_job_that_workers_are_processing_is_not_retried(catalog, tmp_path, settings):
    folder = create(catalog, tmp_path / "out", settings)
    worker = WorkerInfo(host="h", pid=1)
    folder.heartbeats.write(Heartbeat(chunk="1-000000", worker=worker, done=0, at=time.time()))
    with pytest.raises(JobError, match="Workers are processing"):
        scheduler.retry_job(folder)


def test_a_finished_job_counts_only_the_time_of_its_runs(catalog, tmp_path, settings):
    folder = create(catalog, tmp_path / "out", settings)
    finish(folder)
    for receipt in folder.receipts.all():  # a day ago
        moved = msgspec.structs.replace(receipt, finished=receipt.finished - 86400)
        folder.receipts.write(moved)
    picture(catalog / "broken.jpg")
    scheduler.retry_job(folder)
    finish(folder)
    assert scheduler.read_result(folder).seconds < 3600


def test_an_image_whose_hints_are_there_now_is_edited(tmp_path, settings):
    for name in "ab":
        picture(tmp_path / "in" / f"{name}.png", value=ord(name))
    picture(tmp_path / "hints/a.png", value=1)
    control = (Control(kind="any", hints=str(tmp_path / "hints")),)
    recipe = msgspec.structs.replace(RECIPE, control=control)
    folder = create(tmp_path / "in", tmp_path / "out", settings, recipe)
    finish(folder)
    assert failed(folder) == {"b.png": f"{tmp_path}/hints has no image b.*"}
    picture(tmp_path / "hints/b.png", value=2)
    assert scheduler.retry_job(folder) == 1
    finish(folder)
    assert failed(folder) == {}
    assert (tmp_path / "out/b.png").exists()
