"""Whole jobs in this process, with real media and an editor that only inverts."""

import shutil
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import (
    EditError,
    OutputError,
    RecipeError,
    ResumeMismatch,
    SourceError,
)
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.plan import ASSEMBLY
from ip2p_batch.jobs.records import ItemResult, Receipt, WorkerInfo
from ip2p_batch.queue.stub_executor import StubExecutor
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO, frames_of
from .file_audit import touched
from .jobs import image_job

RECIPE = Recipe(instruction="invert the colors", model="identity", size=128, chunk_frames=10)


def invert(image):
    return 255 - image


def local(transform=invert) -> LocalExecutor:
    return LocalExecutor(lambda _: IdentityEditor(transform))


def finish(folder, executor=None):
    events = list(scheduler.follow_job(folder, executor or local()))
    assert events[-1].kind == "done", events[-1]
    return events


def edit(source, output, settings, recipe=RECIPE, **options):
    request = scheduler.EditRequest(source=source, output=output, recipe=recipe, **options)
    folder = scheduler.create_job(request, settings)
    finish(folder)
    return scheduler.read_result(folder)


@pytest.fixture
def catalog(tmp_path):
    folder = tmp_path / "catalog"
    (folder / "shoes").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in [("a.png", (96, 64)), ("b.jpg", (64, 96)), ("shoes/c.webp", (96, 64))]:
        pixels = rng.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        Pil.fromarray(pixels).resize(size, Pil.Resampling.BICUBIC).save(folder / name)
    return folder


def test_every_frame_is_output_once_in_order_with_the_sound(tmp_path, settings):
    out = tmp_path / "out.mp4"
    result = edit(DEMO, out, settings, encoding=Encoding(crf=10))
    before, after = frames_of(DEMO), frames_of(out)
    assert result.frames == len(before) == len(after) == 96
    assert [t for t, _ in before] == [t for t, _ in after]
    for (_, a), (_, b) in zip(before, after, strict=True):
        assert np.abs((255 - a.astype(float)) - b).mean() < 12
    with av.open(str(DEMO)) as source, av.open(str(out)) as target:
        packets = [
            [bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (source, target)
        ]
        assert packets[0] == packets[1]
        assert target.metadata["title"] == source.metadata["title"]


def test_a_finished_job_keeps_its_records_and_drops_its_media(tmp_path, settings):
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=RECIPE, end=1.0)
    folder = scheduler.create_job(request, settings)
    finish(folder)
    names = {p.name for p in folder.path.iterdir()}
    assert {"job.json", "recipe.toml", "plan.json", "receipts", "result.json"} <= names
    assert not names & {"segments", "borders"}
    assert scheduler.read_status(folder).state == "finished"


def test_a_time_range_is_cut_to_the_frame(tmp_path, settings):
    result = edit(DEMO, tmp_path / "o.mp4", settings, start=1.0, end=2.0)
    assert result.frames == 25
    before, after = frames_of(DEMO)[25:50], frames_of(tmp_path / "o.mp4")
    for (_, a), (_, b) in zip(before, after, strict=True):
        assert np.abs((255 - a.astype(float)) - b).mean() < 14


def test_an_interrupted_job_continues_with_the_same_pixels(tmp_path, settings):
    whole = tmp_path / "whole.mp4"
    edit(DEMO, whole, settings)
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "parts.mp4", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    for event in scheduler.follow_job(folder, local()):
        if event.kind == "chunk" and len(folder.receipts.ids()) >= 4:
            break
    finished = folder.receipts.ids()
    again = scheduler.create_job(request, settings)
    assert again.path == folder.path
    stamps = {c: (folder.path / "receipts" / f"{c}.json").stat().st_mtime_ns for c in finished}
    finish(again)
    for chunk, stamp in stamps.items():
        assert (folder.path / "receipts" / f"{chunk}.json").stat().st_mtime_ns == stamp
    for (_, a), (_, b) in zip(frames_of(whole), frames_of(tmp_path / "parts.mp4"), strict=True):
        assert np.array_equal(a, b)


def test_a_source_that_changed_is_refused_on_resume(tmp_path, settings):
    clip = shutil.copy(DEMO, tmp_path / "clip.mp4")
    request = scheduler.EditRequest(source=Path(clip), output=tmp_path / "o.mp4", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    with Path(clip).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ResumeMismatch, match=r"clip\.mp4 has changed"):
        list(scheduler.follow_job(folder, local()))


def test_an_output_that_exists_is_refused_without_overwrite(tmp_path, settings):
    out = tmp_path / "o.mp4"
    out.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        edit(DEMO, out, settings)
    assert out.read_text() == "precious"
    edit(DEMO, out, settings, overwrite=True, end=0.5)
    assert len(frames_of(out)) == 13  # 25 frames/s: frame 12 begins at 0.48 s


def test_a_folder_is_mirrored_with_its_names(catalog, tmp_path, settings):
    out = tmp_path / "edited"
    result = edit(catalog, out, settings)
    assert result.frames == 3 and not result.failed
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert names == ["a.png", "b.jpg", "shoes/c.webp"]
    source = np.asarray(Pil.open(catalog / "a.png").convert("RGB"), dtype=float)
    target = np.asarray(Pil.open(out / "a.png"), dtype=float)
    assert source.shape == target.shape
    assert np.abs((255 - source) - target).mean() < 12


def test_damaged_images_are_reported_and_the_others_are_edited(catalog, tmp_path, settings):
    (catalog / "empty.jpg").write_bytes(b"")
    (catalog / "text.png").write_text("not an image")
    whole = (catalog / "b.jpg").read_bytes()
    (catalog / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    result = edit(catalog, tmp_path / "edited", settings)
    assert result.frames == 3
    failed = {Path(path).name: why for path, why in result.failed}
    assert set(failed) == {"empty.jpg", "text.png", "cut.jpg"}
    assert all(failed.values())
    assert not list((tmp_path / "edited").rglob(".*"))


def test_running_a_folder_again_edits_only_what_is_new(catalog, tmp_path, settings):
    out = tmp_path / "edited"
    edit(catalog, out, settings)
    shutil.copy(catalog / "a.png", catalog / "new.png")
    result = edit(catalog, out, settings)
    assert (result.frames, result.skipped, result.failed) == (1, 3, ())
    again = scheduler.create_job(
        scheduler.EditRequest(source=catalog, output=out, recipe=RECIPE), settings
    )  # nothing is left: it has ended before anybody works on it
    assert (scheduler.read_result(again).frames, scheduler.read_result(again).skipped) == (0, 4)


def test_an_interrupted_folder_continues_as_the_same_job(catalog, tmp_path, settings):
    request = scheduler.EditRequest(source=catalog, output=tmp_path / "out", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    for event in scheduler.follow_job(folder, local()):
        if event.kind == "chunk":
            break
    assert 0 < sum(p.is_file() for p in (tmp_path / "out").rglob("*")) < 3
    again = scheduler.create_job(request, settings)
    assert again.path == folder.path
    finish(again)
    assert scheduler.read_result(again).frames == 3


def test_a_folder_without_a_readable_image_is_refused(tmp_path, settings):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match="Nothing in"):
        edit(tmp_path / "catalog", tmp_path / "out", settings)


def test_a_manifest_gives_each_image_its_own_instruction(catalog, tmp_path, settings):
    manifest = catalog / "list.csv"
    manifest.write_text("path,instruction,output\na.png,make it night,n/a.png\nb.jpg,add fog,\n")
    result = edit(
        manifest, tmp_path / "out", settings, recipe=Recipe(instruction="", model="identity")
    )
    assert result.frames == 2
    assert (tmp_path / "out" / "n" / "a.png").is_file() and (tmp_path / "out" / "b.jpg").is_file()
    comment = Pil.open(tmp_path / "out" / "n" / "a.png").text["ip2p-batch"]  # type: ignore[attr-defined]
    assert "make it night" in comment


def test_the_output_suffix_sets_the_format_of_one_image(catalog, tmp_path, settings):
    edit(catalog / "b.jpg", tmp_path / "night.png", settings)
    with Pil.open(tmp_path / "night.png") as picture:
        assert picture.format == "PNG" and picture.size == (64, 96)


def test_an_empty_instruction_is_refused_before_anything_is_read(catalog, tmp_path, settings):
    with pytest.raises(RecipeError, match="instruction"):
        edit(catalog, tmp_path / "out", settings, recipe=Recipe(instruction="  "))
    assert not (tmp_path / "out").exists()


def test_a_chunk_that_keeps_failing_fails_the_job_and_keeps_finished_chunks(tmp_path, settings):
    calls = []

    def fail_late(image):
        calls.append(1)
        if len(calls) > 40:
            raise EditError("the model gave up", hint="try less")
        return image

    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    events = list(scheduler.follow_job(folder, local(fail_late)))
    assert events[-1].kind == "failed" and "the model gave up" in events[-1].message
    assert folder.receipts.ids() and not (tmp_path / "o.mp4").exists()
    assert scheduler.read_status(folder).state == "failed"
    finish(folder)
    assert len(frames_of(tmp_path / "o.mp4")) == 96


def test_a_cancelled_job_stops_and_resumes(tmp_path, settings):
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    events = []
    for event in scheduler.follow_job(folder, local()):
        events.append(event.kind)
        if event.kind == "chunk":
            folder.cancel()
    assert events[-1] == "cancelled" and scheduler.read_status(folder).state == "cancelled"
    finish(folder)


def test_lost_messages_are_sent_again(tmp_path, settings):
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=RECIPE, end=2.0)
    folder = scheduler.create_job(request, settings)
    executor = local()
    limits = scheduler.ReconcileLimits(heartbeat_timeout=15.0, idle_seconds=0.5)
    for event in scheduler.follow_job(folder, executor, limits=limits):
        if event.kind == "chunk":
            executor._chunks.clear()
    assert event.kind == "done"


def test_jobs_are_found_by_the_start_of_their_id_and_by_path(tmp_path, settings):
    request = scheduler.EditRequest(source=DEMO, output=tmp_path / "o.mp4", recipe=RECIPE)
    folder = scheduler.create_job(request, settings)
    assert scheduler.find_job(folder.path.name[:7], settings).path == folder.path
    assert scheduler.find_job(str(folder.path), settings).path == folder.path
    assert [j.path for j in scheduler.list_jobs(settings)] == [folder.path]


def settle(folder, *chunks):
    for chunk in chunks:
        folder.receipts.write(
            Receipt(
                chunk=chunk, fingerprint="f", frames=1, digest="d",
                worker=WorkerInfo(host="h", pid=1), finished=1.0,
            )
        )  # fmt: skip


def test_dispatch_after_a_finished_chunk_does_not_read_all_receipts(tmp_path):
    folder, executor = image_job(tmp_path, 40), StubExecutor(64)
    scheduler.dispatch_next(folder, executor)
    ids = [c.id for c in folder.plan().chunks]
    for chunk in ids[:-1]:
        settle(folder, chunk)
        with touched(folder.path) as paths:
            scheduler.dispatch_next(folder, executor, (chunk,))
        assert not [p for p in paths if not p.startswith(("dispatch.lock", "inflight/"))]
        assert len(paths) <= 5
    assert executor.sent == ids
    settle(folder, ids[-1])
    scheduler.dispatch_next(folder, executor)
    assert executor.sent == [*ids, ASSEMBLY]


def test_a_job_is_assembled_in_whatever_order_its_chunks_are_settled(tmp_path):
    folder, executor = image_job(tmp_path, 8), StubExecutor(64)
    scheduler.dispatch_next(folder, executor)
    ids = [c.id for c in folder.plan().chunks]
    order = [7, 2, 6, 0, 5, 1, 4, 3]
    for number in order:
        assert executor.sent == ids
        settle(folder, ids[number])
        scheduler.dispatch_next(folder, executor)
    assert executor.sent == [*ids, ASSEMBLY]


def test_a_submitted_job_dispatches_lost_chunks_and_chunks_without_a_receipt(tmp_path):
    folder, executor = image_job(tmp_path, 3), StubExecutor(64)
    scheduler.dispatch_next(folder, executor)
    ids = [c.id for c in folder.plan().chunks]
    settle(folder, ids[0])
    executor.wipe()
    scheduler.submit_job(folder, executor)
    assert executor.sent == ids + ids[1:]
    shutil.rmtree(folder.path / "receipts")
    executor.wipe()
    scheduler.submit_job(folder, executor)
    assert executor.sent == ids + ids[1:] + ids


def test_the_status_of_a_long_job_opens_few_receipts(tmp_path):
    folder = image_job(tmp_path, 300)
    ids = [c.id for c in folder.plan().chunks]
    settle(folder, *ids[:250])
    bad = ItemResult(index=7, error="it is empty")
    receipt = msgspec.structs.replace(folder.receipts.get(ids[7]), items=(bad,))
    folder.receipts.write(receipt)
    with touched(folder.path) as paths:
        found = scheduler.read_status(folder)
    assert (found.done, found.chunks_done, found.total) == (250, 250, 300)
    assert found.failures == (f"{tmp_path}/in/7.png: it is empty",)
    assert len([p for p in paths if p.startswith("receipts/")]) < 80


def test_the_status_of_an_ended_job_reads_no_receipt(tmp_path):
    folder = image_job(tmp_path, 3)
    finish(folder)
    with touched(folder.path) as paths:
        found = scheduler.read_status(folder)
    assert (found.state, found.done, found.chunks_done) == ("finished", 3, 3)
    assert found.fps > 0 and found.started is not None
    assert not [p for p in paths if p.startswith("receipts")]
