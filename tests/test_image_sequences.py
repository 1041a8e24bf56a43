"""Whole jobs from and to image sequences."""

import os
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest

import ip2p_batch
from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import OutputError, RecipeError, ResumeMismatch, SourceError
from ip2p_batch.evaluation.video import ScoreRequest, score_video
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.media.sequence.frame import read_frame
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .clips import DEMO, images_of, make, number
from .jobs import TINY
from .sequences import opacity, write_sequence

#: Every frame comes out as it went in.
SAME = Recipe(
    instruction="x", model="identity", size=64, chunk_frames=4, temporal_filter=0, carryover=0
)


def create(source, output, settings, recipe=SAME, **options):
    request = scheduler.EditRequest(source=Path(source), output=output, recipe=recipe, **options)
    return scheduler.create_job(request, settings)


def finish(folder):
    events = list(scheduler.follow_job(folder, LocalExecutor(lambda _: IdentityEditor())))
    assert events[-1].kind == "done", events[-1]
    return scheduler.read_result(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def images(pattern: Path, first: int, count: int) -> list[np.ndarray]:
    paths = [pattern.with_name(pattern.name % n) for n in range(first, first + count)]
    return [read_frame(path).image for path in paths]


@pytest.mark.parametrize(
    ("suffix", "deep"),
    [(".png", False), (".png", True), (".tif", True), (".dpx", True), (".exr", True)],
)
def test_a_sequence_becomes_one_with_the_same_numbers_and_samples(tmp_path, settings, suffix, deep):
    source = write_sequence(tmp_path / "shot" / f"f.%04d{suffix}", 6, first=98, deep=deep)
    recipe = msgspec.structs.replace(SAME, detail="source" if deep else "edit")
    job = create(source, None, settings, recipe)
    assert len(job.plan().chunks) == 2
    finish(job)
    output = tmp_path / "shot-edited" / source.name
    assert names(output.parent) == [source.name % n for n in range(98, 104)]
    for before, after in zip(images(source, 98, 6), images(output, 98, 6), strict=True):
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)


def test_opacity_passes_through_and_jpeg_blends_it_with_white(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 2, alpha=opacity())
    finish(create(source, tmp_path / "b" / "f_%d.png", settings))
    frame = read_frame(tmp_path / "b" / "f_2.png")
    assert np.array_equal(frame.alpha, opacity())
    job = create(source, tmp_path / "c" / "f_%d.jpg", settings)
    assert any("blended with white" in warning for warning in job.plan().warnings)
    finish(job)
    assert read_frame(tmp_path / "c" / "f_1.jpg").image[:, 0].min() > 240


def test_a_sequence_becomes_a_video_at_its_rate(tmp_path, settings):
    source = write_sequence(tmp_path / "f_%03d.png", 6)
    output = tmp_path / "o.mkv"
    decoding = Decoding(fps="30000/1001")
    finish(create(source, output, settings, decoding=decoding, encoding=Encoding(codec="ffv1")))
    frames = images_of(output)
    assert [number(frame) for frame in frames] == list(range(6))
    assert all(map(np.array_equal, images(source, 1, 6), frames))
    with av.open(str(output)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def test_a_video_becomes_a_sequence_from_1_and_names_what_is_lost(tmp_path, settings):
    job = create(DEMO, tmp_path / "o_%05d.png", settings, start=0.5, end=0.75)
    warnings = " ".join(job.plan().warnings)
    assert "1 audio stream" in warnings
    assert "frames per second" in warnings
    finish(job)
    stop = job.job().source.stop - job.job().source.start
    assert names(tmp_path) == [f"o_{n:05d}.png" for n in range(1, stop + 1)]


def test_a_part_of_a_sequence_keeps_its_numbers(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 6, first=11)
    decoding = Decoding(fps=2)
    finish(create(source, tmp_path / "b" / "f_%d.png", settings, start=1, end=2, decoding=decoding))
    assert names(tmp_path / "b") == ["f_13.png", "f_14.png"]


def test_a_sequence_is_edited_and_scored_from_python(tmp_path):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 3)
    result = ip2p_batch.edit(
        str(source), "x", recipe=SAME, editor=IdentityEditor(), decoding=Decoding(fps=24)
    )
    output = tmp_path / "a-edited" / "f_%d.png"
    assert (result.output, result.frames) == (str(output), 3)
    score, _ = score_video(ScoreRequest(source=source, output=output))
    assert score.frames == 3
    assert score.source_ssim == pytest.approx(1.0)


def test_results_never_replace_frames_of_the_source(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 3)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for output in (source, tmp_path / "link" / "f_%d.png", tmp_path / "a" / "f_%01d.png"):
        with pytest.raises(OutputError, match=r"source itself|which this job reads"):
            create(source, output, settings, overwrite=True)
    video = tmp_path / "a" / "f_2.png"
    os.link(video, tmp_path / "o_2.png")
    with pytest.raises(OutputError, match="which this job reads"):
        create(source, tmp_path / "o_%d.png", settings, overwrite=True)


def test_an_existing_frame_is_replaced_only_with_overwrite(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 3)
    output = tmp_path / "b" / "f_%d.png"
    output.parent.mkdir()
    (tmp_path / "b" / "f_2.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"f_2\.png exists already"):
        create(source, output, settings)
    finish(create(source, output, settings, overwrite=True))
    assert np.array_equal(images(output, 2, 1)[0], images(source, 2, 1)[0])


def test_a_frame_that_appears_later_is_left_alone_and_the_job_continues(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 3)
    output = tmp_path / "b" / "f_%d.png"
    job = create(source, output, settings)
    foreign = tmp_path / "b" / "f_2.png"
    foreign.write_bytes(b"precious")
    event = list(scheduler.follow_job(job, LocalExecutor(lambda _: IdentityEditor())))[-1]
    assert (event.kind, event.data["error"]) == ("failed", "OutputTaken")
    assert foreign.read_bytes() == b"precious"
    foreign.unlink()
    finish(job)
    assert names(tmp_path / "b") == ["f_1.png", "f_2.png", "f_3.png"]


def test_a_changed_frame_is_refused_on_resume(tmp_path, settings):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 3)
    job = create(source, None, settings)
    os.utime(tmp_path / "a" / "f_2.png", ns=(1, 1))
    with pytest.raises(ResumeMismatch, match="has changed"):
        finish(job)


def test_equal_commands_find_their_results_up_to_date(tmp_path, settings):
    sources = [write_sequence(tmp_path / name / "f_%d.png", 2) for name in "ab"]
    request = scheduler.EditRequest(source=sources[0], recipe=SAME, output=tmp_path / "out")
    made = scheduler.create_jobs(request, sources, settings).made
    assert len(made) == 2
    for job in made:
        finish(job)
    assert (tmp_path / "out" / "b" / "f_2.png").exists()
    again = scheduler.create_jobs(request, sources, settings)
    assert (len(again.made), len(again.skipped)) == (0, 2)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_one_and_two_workers_write_the_same_files(tmp_path, settings, redis):
    source = write_sequence(tmp_path / "a" / "f_%d.png", 8)
    recipe = msgspec.structs.replace(TINY, size=64, chunk_frames=3, anchors=0)
    files = []
    for workers in (1, 2):
        job = create(source, tmp_path / f"out{workers}" / "f_%d.png", settings, recipe)
        with LocalWorkers(redis.url, workers, "cpu", tmp_path / "workers.log"):
            event = list(scheduler.follow_job(job, CeleryExecutor(redis.url)))[-1]
        assert event.kind == "done", event
        paths = sorted((tmp_path / f"out{workers}").iterdir())
        files.append([(path.name, path.read_bytes()) for path in paths])
    assert len(files[0]) == 8
    assert files[0] == files[1]


def test_a_row_of_a_list_can_be_a_sequence(tmp_path, settings):
    for name in ("a", "b"):
        write_sequence(tmp_path / name / "f_%d.png", 2)
    rows = "path,instruction\na/f_%d.png,x\nb/f_##.png,y\n"
    (tmp_path / "b" / "f_1.png").rename(tmp_path / "b" / "f_01.png")
    (tmp_path / "b" / "f_2.png").rename(tmp_path / "b" / "f_02.png")
    (tmp_path / "list.csv").write_text(rows)
    request = scheduler.EditRequest(
        source=tmp_path / "list.csv", recipe=SAME, output=tmp_path / "out"
    )
    jobs = scheduler.create_jobs(request, [tmp_path / "list.csv"], settings)
    assert [Path(job.job().output).relative_to(tmp_path) for job in jobs.made] == [
        Path("out/a/f_%d.png"), Path("out/b/f_##.png"),
    ]  # fmt: skip
    assert [job.job().recipe.instruction for job in jobs.made] == ["x", "y"]


def test_a_folder_of_film_frames_names_the_way_to_edit_them(tmp_path, settings):
    write_sequence(tmp_path / "a" / "f_%d.dpx", 2)
    with pytest.raises(SourceError) as caught:
        create(tmp_path / "a", None, settings)
    assert "2 .dpx" in str(caught.value) and "f_%05d.exr" in caught.value.hint


def test_a_pattern_of_other_files_is_refused_with_the_formats_of_frames(tmp_path, settings):
    with pytest.raises(SourceError) as caught:
        create(tmp_path / "f_%d.tga", None, settings)
    assert "Image sequences are .png" in caught.value.hint
    with pytest.raises(OutputError) as refused:
        create(make(tmp_path / "clip.mp4", 3), tmp_path / "o_%d.tga", settings)
    assert "Image sequences are .png" in refused.value.hint


def test_the_rate_of_a_video_file_cannot_be_set(tmp_path, settings):
    clip = make(tmp_path / "clip.mp4", 3)
    with pytest.raises(RecipeError, match="--fps is for image sequences"):
        create(clip, None, settings, decoding=Decoding(fps=24))
