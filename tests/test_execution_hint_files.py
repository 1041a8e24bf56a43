"""Hints in files: the pixels of an edit, with the source's times; never half a file."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ip2p_batch
from ip2p_batch.errors import OutputError
from ip2p_batch.media.frames import index_frames, open_frames
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Control

from . import clips, pictures
from .test_execution_hints import NETS, ShowsHints, run_chunks

FIELDS: dict[str, Any] = {"size": 64, "temporal_filter": 2}


def make(source, output=None, kind="canny", **options):
    recipe = Recipe(instruction="", **FIELDS)
    return ip2p_batch.make_hints(source, kind, output=output, recipe=recipe, **options)


def frames_of(path: Path):
    index = index_frames(path, scenes=False)
    with open_frames(path, index.facts, index.pts, index.ids) as reader:
        return index, [frame.image for frame in reader.frames(0, len(index.pts))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Frames of 96x72 at uneven times."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pts = [0, 512, 1024, 2048, 2560, 3072, 4096, 4608]

    def image(n, width, height):
        return np.roll(clips.picture(5, width, height), 3 * n, axis=1)

    return clips.make(
        path, len(pts), size=(96, 72), pts=pts, time_base=Fraction(1, 12800), image=image
    )


def test_a_lossless_video_has_the_pixels_of_the_edit_and_the_times_of_the_source(
    tmp_path, settings, clip
):
    made = make(clip, tmp_path / "hints.mkv")
    assert (made.count, made.width, made.height) == (8, 64, 48)
    index, images = frames_of(made.output)
    source = index_frames(clip, scenes=False)
    seconds = [
        np.asarray(i.pts - i.pts[0]) * i.facts.time_base[0] / i.facts.time_base[1]
        for i in (index, source)
    ]
    assert np.abs(seconds[0] - seconds[1]).max() < 0.001
    (tmp_path / "edit").mkdir()
    editor = run_chunks(tmp_path / "edit", settings, clip, NETS[:1], **FIELDS)
    for number, image in enumerate(images):
        assert np.array_equal(image, editor.seen["frame", number][0])


def test_a_part_of_a_video_in_mp4_is_near_the_pixels(tmp_path, clip):
    whole = make(clip, tmp_path / "hints.mkv", "luminance")
    part = make(clip, tmp_path / "part.mp4", "luminance", start=0.08)
    _, images = frames_of(part.output)
    assert part.count == len(images) == 6
    expected = frames_of(whole.output)[1][3]  # frame 2, the first, has fewer neighbours
    assert np.abs(images[1].astype(int) - expected).mean() < 2


def test_a_video_becomes_an_image_sequence(tmp_path, clip):
    made = make(clip, tmp_path / "h/f_%03d.png", "tile")
    lossless = frames_of(make(clip, tmp_path / "hints.mkv", "tile").output)[1]
    files = sorted((tmp_path / "h").iterdir())
    assert [file.name for file in files] == [f"f_{n:03d}.png" for n in range(1, 9)]
    assert made.count == 8
    for file, image in zip(files, lossless, strict=True):
        assert np.array_equal(read_image(file), image)


def test_the_hints_of_a_video_are_companions_of_it(tmp_path, settings, clip):
    made = make(clip, tmp_path / "hints.mkv")
    own = Control(kind="canny", hints=str(made.output))
    (tmp_path / "edit").mkdir()
    editor = run_chunks(tmp_path / "edit", settings, clip, (own, NETS[0]), **FIELDS)
    for own_hint, hint in editor.seen.values():
        assert np.array_equal(own_hint, hint)


def test_images_get_a_png_each_and_the_others_remain(tmp_path):
    pictures.save(tmp_path / "in/a.jpg", pictures.scene(128, 64))
    (tmp_path / "in/b.png").write_bytes(b"no image")
    made = make(tmp_path / "in", tmp_path / "out", "lineart")
    assert made.count == 1
    ((path, reason),) = made.failed
    assert path == str(tmp_path / "in/b.png")
    assert reason
    editor = ShowsHints()
    ip2p_batch.edit(
        tmp_path / "in",
        "x",
        output=tmp_path / "edited",
        recipe=Recipe(
            instruction="x",
            model="identity",
            control=(NETS[0], Control(kind="lineart")),
            **FIELDS,
        ),
        editor=editor,
    )
    assert np.array_equal(read_image(tmp_path / "out/a.png"), editor.seen["frame", 0][1])


@pytest.mark.parametrize("name", ["hints.mkv", "f_%02d.png"])
def test_an_existing_file_is_replaced_only_on_request(tmp_path, clip, name):
    first = tmp_path / name.replace("%02d", "03")
    first.write_bytes(b"mine")
    with pytest.raises(OutputError, match=f"{first.name} exists already"):
        make(clip, tmp_path / name)
    assert first.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [first]
    make(clip, tmp_path / name, overwrite=True)
    assert first.read_bytes() != b"mine"


def test_after_an_error_no_file_remains(tmp_path, clip, monkeypatch):
    def stop(event):
        if event.stage == "making hints" and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(clip, tmp_path / "hints.mp4", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path, clip):
    with pytest.raises(OutputError, match=r"written as \.mp4, \.mkv or an image sequence"):
        make(clip, tmp_path / "hints.gif")
