"""Companions: matching with the source while planning, and reading while editing."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from ip2p_batch.errors import OutsideRoots, RecipeError, SourceError
from ip2p_batch.jobs.companion import Companion
from ip2p_batch.jobs.spec import Item
from ip2p_batch.media.companion.files import listed_images, read_over_black
from ip2p_batch.media.companion.items import match_items, read_item_companion
from ip2p_batch.media.companion.match import SourceFrames, _first_frame, match_video
from ip2p_batch.media.companion.reader import check_unchanged, open_companion
from ip2p_batch.media.companion.shape import same_shape
from ip2p_batch.media.frames import index_frames
from ip2p_batch.media.images.listing import find_items, measure_items
from ip2p_batch.media.resize import Resize
from ip2p_batch.storage.roots import Roots

from . import clips, pictures
from .sequences import write_sequence

FRAMES = 6


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> SourceFrames:
    path = clips.make(tmp_path_factory.mktemp("source") / "clip.mp4", FRAMES)
    index = index_frames(path, scenes=False)
    return SourceFrames(index.facts, index.pts, 0, FRAMES)


def part_of(source: SourceFrames, start: int, stop: int) -> SourceFrames:
    return SourceFrames(source.facts, source.pts, start, stop)


def match(path: Path, source: SourceFrames, *, shared: bool = False) -> Companion:
    return match_video("hints-0", path, source, shared=shared)


def numbers(companion: Companion, start: int, stop: int) -> list[int]:
    with open_companion(companion) as reader:
        return [clips.number(image) for image in reader.images(start, stop)]


def folder_of(path: Path, count: int, *, first: int = 0, size=(64, 64)) -> Path:
    """Images whose alphabetic order is not that of their numbers."""
    for number in range(count):
        pictures.save(path / f"f{first + number}.png", clips.picture(first + number, *size))
    return path


@pytest.mark.parametrize("kind", ["video", "sequence", "folder"])
def test_each_frame_finds_its_own_image(tmp_path, source, kind):
    if kind == "video":
        path = clips.make(tmp_path / "own.mkv", FRAMES)
    elif kind == "sequence":
        path = write_sequence(tmp_path / "own/f_%03d.png", FRAMES, first=7)
    else:
        path = folder_of(tmp_path / "own", FRAMES)
    companion = match(path, source)
    assert (companion.count, companion.first) == (FRAMES, 0)
    assert numbers(companion, 2, 5) == [2, 3, 4]
    with open_companion(companion) as reader:
        assert [clips.number(image) for image in reader.images_at([0, 3, 5])] == [0, 3, 5]


def test_numbers_in_names_are_compared_by_value(tmp_path):
    folder = folder_of(tmp_path / "own", 12)
    assert [path.name for path in listed_images(folder)] == [f"f{n}.png" for n in range(12)]


def test_a_companion_of_the_edited_part_starts_at_its_first_frame(tmp_path, source):
    companion = match(folder_of(tmp_path, 3, first=2), part_of(source, 2, 5))
    assert companion.first == 2
    assert numbers(companion, 2, 5) == [2, 3, 4]


def test_a_companion_of_the_whole_video_fits_a_part_of_it(tmp_path, source):
    companion = match(folder_of(tmp_path, FRAMES), part_of(source, 2, 5))
    assert numbers(companion, 2, 5) == [2, 3, 4]


def test_the_first_frame_without_an_image_is_named(tmp_path, source):
    with pytest.raises(RecipeError, match=r"has 4 images, .* 6 frames\. Frame 4 is the first"):
        match(folder_of(tmp_path, 4), source)


def test_the_missing_number_of_a_sequence_is_named(tmp_path, source):
    pattern = write_sequence(tmp_path / "f_%03d.png", FRAMES)
    (tmp_path / "f_003.png").unlink()
    with pytest.raises(SourceError, match=r"f_003\.png is missing"):
        match(pattern, source)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.data())
def test_a_count_is_that_of_the_whole_or_of_the_part(whole, data):
    start = data.draw(st.integers(0, whole - 1))
    stop = data.draw(st.integers(start + 1, whole))
    count = data.draw(st.integers(1, whole + 2))
    frames = SourceFrames(None, np.arange(whole), start, stop)
    if count not in (whole, stop - start):
        with pytest.raises(RecipeError, match=f"has {count} image"):
            _first_frame(Path("own"), count, frames)
        return
    first = _first_frame(Path("own"), count, frames)
    assert first <= start
    assert stop <= first + count <= whole


def test_another_size_of_the_same_shape_is_accepted(tmp_path, source):
    companion = match(folder_of(tmp_path, FRAMES, size=(32, 32)), source)
    assert (companion.width, companion.height) == (32, 32)


def test_another_shape_is_refused(tmp_path, source):
    with pytest.raises(RecipeError, match="64x48 pixels, another shape than the source's 64x64"):
        match(folder_of(tmp_path, FRAMES, size=(64, 48)), source)


def test_an_image_of_another_size_in_a_folder_is_refused(tmp_path, source):
    folder_of(tmp_path, FRAMES)
    pictures.save(tmp_path / "f3.png", clips.picture(3, 32, 32))
    with pytest.raises(SourceError, match=r"f3\.png has 32x32 pixels, and f0\.png has 64x64"):
        match(tmp_path, source)


@settings(deadline=None)
@given(st.integers(16, 4096), st.integers(16, 4096), st.integers(64, 1024))
def test_every_edit_size_of_a_source_has_its_shape(width, height, size):
    resize = Resize.for_size(width, height, size)
    if max(resize.content) == size and min(resize.content) > 8:
        assert same_shape(resize.content, (width, height))
        assert same_shape((width, height), resize.content)


def test_a_video_with_another_frame_rate_is_refused(tmp_path, source):
    path = clips.make(tmp_path / "own.mp4", FRAMES, rate=24)
    with pytest.raises(RecipeError, match="the frame rates are 24 and 25"):
        match(path, source)


def test_one_image_is_for_all_frames_only_where_that_makes_sense(tmp_path, source):
    path = pictures.save(tmp_path / "own.png", clips.picture(9))
    assert numbers(match(path, source, shared=True), 0, 3) == [9, 9, 9]
    with pytest.raises(RecipeError, match="has 1 image, and the source has 6 frames"):
        match(path, source)


@pytest.mark.parametrize("kind", ["video", "sequence", "folder"])
def test_a_companion_that_changed_is_refused_by_name(tmp_path, source, kind):
    if kind == "video":
        path = file = clips.make(tmp_path / "own.mkv", FRAMES)
    elif kind == "sequence":
        path, file = write_sequence(tmp_path / "f_%03d.png", FRAMES), tmp_path / "f_002.png"
    else:
        path = folder_of(tmp_path / "own", FRAMES)
        file = path / "f2.png"
    companion = match(path, source)
    check_unchanged(companion)
    os.utime(file, ns=(1, 1))
    with pytest.raises(SourceError, match="has changed since the job was planned"):
        check_unchanged(companion)
    with (
        pytest.raises(SourceError, match="has changed since the job was planned"),
        open_companion(companion),
    ):
        pass


def test_a_companion_outside_the_allowed_folders_is_not_read(tmp_path, source):
    companion = match(folder_of(tmp_path / "own", FRAMES), source)
    with (
        pytest.raises(OutsideRoots),
        open_companion(companion, Roots([tmp_path / "other"]).allow),
    ):
        pass


def image_folder(tmp_path: Path) -> tuple[Path, list[Item]]:
    for name in ("a.png", "b.png", "cats/a.png"):
        pictures.save(tmp_path / "source" / name, pictures.scene())
    source = tmp_path / "source"
    return source, measure_items(find_items(source, tmp_path / "out"))


def own_images(source: Path, items: list[Item], own: Path, *, shared=False):
    return match_items("hints-0", own, source, "folder", items, shared=shared)


def test_each_image_finds_the_image_of_its_name(tmp_path):
    source, items = image_folder(tmp_path)
    for name, level in (("a.jpg", 10), ("b.png", 20), ("cats/a.webp", 30)):
        image = np.full((32, 48, 3), level, np.uint8)
        pictures.save(tmp_path / "own" / name, image)
    companion, matched = own_images(source, items, tmp_path / "own")
    assert companion.kind == "items"
    levels = [round(read_item_companion(i.companion("hints-0")).mean()) for i in matched]
    assert levels == [10, 20, 30]


def test_an_image_without_a_companion_gets_an_error_and_the_others_remain(tmp_path):
    source, items = image_folder(tmp_path)
    pictures.save(tmp_path / "own/a.png", pictures.scene())
    pictures.save(tmp_path / "own/cats/a.png", pictures.scene(32, 32))
    _, matched = own_images(source, items, tmp_path / "own")
    errors = [item.error for item in matched]
    assert errors[0] is None
    assert errors[1] == f"{tmp_path}/own has no image b.*"
    assert "32x32 pixels, another shape than the source's 48x32" in errors[2]


def test_two_companions_of_one_name_are_an_error(tmp_path):
    source, items = image_folder(tmp_path)
    for name in ("b.jpg", "b.webp"):
        pictures.save(tmp_path / "own" / name, pictures.scene())
    _, matched = own_images(source, items, tmp_path / "own")
    assert matched[1].error.endswith("has several images for it: b.jpg and b.webp")


def test_one_image_for_several_is_refused_unless_shared(tmp_path):
    source, items = image_folder(tmp_path)
    path = pictures.save(tmp_path / "own.png", pictures.scene())
    with pytest.raises(RecipeError, match="is one image, and the source has several images"):
        own_images(source, items, path)
    _, matched = own_images(source, items, path, shared=True)
    assert {item.companions[0].path for item in matched} == {str(path)}


def test_the_companion_image_of_an_item_is_refused_after_a_change(tmp_path):
    source, items = image_folder(tmp_path)
    pictures.save(tmp_path / "own/a.png", pictures.scene())
    _, matched = own_images(source, items, tmp_path / "own")
    own = matched[0].companion("hints-0")
    os.utime(own.path, ns=(1, 1))
    with pytest.raises(SourceError, match=r"a\.png has changed since the job was planned"):
        read_item_companion(own)


def test_a_companion_is_stored_as_json():
    companion = Companion(use="mask", path="/m.mp4", kind="video", stamp="1:2", count=3)
    assert msgspec.json.decode(msgspec.json.encode(companion), type=Companion) == companion


def test_what_is_transparent_is_black(tmp_path):
    image = np.full((8, 8, 4), 255, np.uint8)
    image[:, :4, 3] = (0, 0, 100, 255)
    Pil.fromarray(image).save(tmp_path / "m.png")
    assert read_over_black(tmp_path / "m.png")[0, :, 1].tolist() == [0, 0, 100] + [255] * 5
