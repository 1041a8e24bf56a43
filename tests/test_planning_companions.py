"""Companions in a job: planned, in its fingerprint, and compared on resume."""

import os

import pytest

from ip2p_batch.errors import OutputError, RecipeError, ResumeMismatch
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler.dispatch import check_source

from . import clips, pictures


def plan(source, hints, output=None, **options):
    control = (Control(kind="own", hints=str(hints)),)
    output = output or source.with_name("out" + source.suffix)
    recipe = Recipe(instruction="x", model="identity", size=64, control=control)
    request = EditRequest(source=source, recipe=recipe, output=output, **options)
    return prepare_job(request)


def hints_of(folder, count):
    for number in range(count):
        pictures.save(folder / f"{number}.png", clips.picture(number))
    return folder


def test_a_changed_companion_is_another_job(tmp_path):
    clip = clips.make(tmp_path / "clip.mp4", 5)
    hints = hints_of(tmp_path / "hints", 5)
    first = plan(clip, hints).job
    assert plan(clip, hints).job == first
    os.utime(hints / "3.png", ns=(1, 1))
    second = plan(clip, hints).job
    assert second.id != first.id
    assert second.options != first.options
    with pytest.raises(ResumeMismatch, match="hints has changed since the job was planned"):
        check_source(first)
    check_source(second)


def test_a_missing_frame_refuses_the_job(tmp_path):
    clip = clips.make(tmp_path / "clip.mp4", 5)
    with pytest.raises(RecipeError, match="Frame 4 is the first without an image"):
        plan(clip, hints_of(tmp_path / "hints", 4))


def test_a_result_does_not_replace_a_companion(tmp_path):
    clip = clips.make(tmp_path / "clip.mp4", 5)
    own = clips.make(tmp_path / "own.mp4", 5)
    with pytest.raises(OutputError, match="which this job reads"):
        plan(clip, own, output=own, overwrite=True)


def test_an_image_without_hints_is_left_out_and_the_others_are_planned(tmp_path):
    for name in "ab":
        pictures.save(tmp_path / "in" / f"{name}.png", pictures.scene())
    pictures.save(tmp_path / "hints/b.png", pictures.scene())
    prepared = plan(tmp_path / "in", tmp_path / "hints", output=tmp_path / "out")
    assert prepared.plan.frames == 1
    assert [item.error for item in prepared.items] == [None, f"{tmp_path}/hints has no image a.*"]
    assert any("has no image a.*" in line for line in prepared.plan.warnings)


def test_the_fingerprint_of_an_image_has_the_stamp_of_its_hints_and_no_path(tmp_path):
    pictures.save(tmp_path / "in/a.png", pictures.scene())
    pictures.save(tmp_path / "hints/a.png", pictures.scene())
    before = plan(tmp_path / "in", tmp_path / "hints", output=tmp_path / "out")
    (tmp_path / "hints").rename(tmp_path / "moved")
    moved = plan(tmp_path / "in", tmp_path / "moved", output=tmp_path / "out")
    os.utime(tmp_path / "moved/a.png", ns=(1, 1))
    changed = plan(tmp_path / "in", tmp_path / "moved", output=tmp_path / "out")
    prints = [p.job.item_fingerprint(p.items[0]) for p in (before, moved, changed)]
    assert prints[0] == prints[1] != prints[2]
