"""Interlaced frames become progressive ones, one for each, the same whatever range is read."""

import numpy as np
import pytest

from ip2p_batch.cli.plan_text import fields_of
from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.coding import Decoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.reader import VideoReader

from . import clips
from .interlaced_clips import combed, make, moment, telecined

OFF = Decoding(deinterlace="off")
IVTC = Decoding(deinterlace="ivtc")


def read(path, ranges=None, **options):
    """The facts, and the images of every range; of all frames without ranges."""
    index = probe.index_video(path, **options)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        parts = [
            {frame.index: frame.image for frame in reader.frames(*part)}
            for part in ranges or [(0, len(index.pts))]
        ]
    return index, parts


def error(image, truth):
    return np.abs(image.astype(int) - truth)[4:-4, 4:-4].mean()


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(("codec", "options", "suffix"), [
    ("ffv1", {}, ".mkv"),
    ("libx264", {"crf": "4", "x264-params": "{}=1:keyint=8"}, ".mp4"),
    ("libx264", {"crf": "4", "x264-params": "{}=1:keyint=8"}, ".ts"),
    ("mpeg2video", {"qscale": "2", "b": "20M"}, ".mpg"),
])  # fmt: skip
def test_interlaced_frames_become_the_moments_of_their_first_fields(
    tmp_path, order, codec, options, suffix
):
    options = {name: value.format(order) for name, value in options.items()}
    pix_fmt = "yuv420p" if codec == "mpeg2video" else "yuv444p"
    images = [combed(number, order) for number in range(10)]
    clip = make(
        tmp_path / f"c{suffix}", images, [order] * 10, codec=codec, pix_fmt=pix_fmt, options=options
    )
    index, (frames,) = read(clip)
    assert (index.facts.interlaced, index.facts.field_order) == (10, order)
    assert index.facts.deinterlace == "auto"
    assert len(frames) == 10
    _, (woven,) = read(clip, decoding=OFF)
    for number in range(1, 9):
        truth = moment(2 * number)
        assert error(frames[number], truth) < 0.6 * error(woven[number], truth)
    assert any("deinterlaced (bwdif)" in note for note in index.facts.notes)
    assert f"interlaced ({order}): deinterlaced (bwdif)" in fields_of(index.facts)


#: Progressive frames, then both field orders, then a switch with every frame.
MIXED = [None] * 7 + ["tff"] * 8 + ["bff"] * 6 + [None, "tff"] * 4 + [None] * 3


def mixed(path, **options):
    images = [
        combed(number, order) if order else moment(2 * number) for number, order in enumerate(MIXED)
    ]
    return make(path, images, MIXED, **options)


@pytest.mark.parametrize("scenes", [True, False])
def test_any_range_gives_the_frames_of_a_read_from_the_beginning(tmp_path, scenes):
    clip = mixed(tmp_path / "c.mkv")
    ranges = [(0, len(MIXED)), (1, 3), (6, 9), (7, 8), (8, 20), (14, 17), (20, 30), (31, 32)]
    _, (whole, *parts) = read(clip, ranges, scenes=scenes)
    for part in parts:
        assert all(np.array_equal(image, whole[number]) for number, image in part.items())


def test_any_range_of_a_video_with_long_groups_gives_the_same_frames(tmp_path):
    images = [combed(number, "tff") for number in range(30)]
    options = {"crf": "10", "x264-params": "tff=1:keyint=9:bframes=3"}
    clip = make(tmp_path / "c.mp4", images, ["tff"] * 30, codec="libx264", options=options)
    ranges = [(0, 30), *((start, start + 2) for start in range(0, 29, 3))]
    for scenes in (True, False):
        index, (whole, *parts) = read(clip, ranges, scenes=scenes)
        for part in parts:
            assert all(np.array_equal(image, whole[number]) for number, image in part.items())
        with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
            for frame in reader.frames_at([3, 8, 9, 27]):
                assert np.array_equal(frame.image, whole[frame.index])


def test_every_frame_is_inspected_and_progressive_ones_stay_as_they_are(tmp_path):
    clip = mixed(tmp_path / "c.mkv")
    index, (frames,) = read(clip)
    assert index.facts.interlaced == sum(order is not None for order in MIXED)
    assert index.facts.field_order == "tff"
    _, (woven,) = read(clip, decoding=OFF)
    for number, order in enumerate(MIXED):
        same = np.array_equal(frames[number], woven[number])
        assert same == (order is None), number


def test_a_progressive_video_is_read_without_a_filter(tmp_path):
    index, _ = read(clips.make(tmp_path / "c.mp4", 3))
    assert (index.facts.interlaced, index.facts.deinterlace) == (0, "off")
    assert fields_of(index.facts) == ""
    assert not any("nterlace" in note for note in index.facts.notes)


def test_interlaced_frames_that_are_too_small_for_the_filter_stay_as_they_are(tmp_path):
    images = [combed(number, "tff")[:8, :8] for number in range(3)]
    clip = make(tmp_path / "c.mkv", images, ["tff"] * 3)
    _, (frames,) = read(clip)
    _, (woven,) = read(clip, decoding=OFF)
    assert all(np.array_equal(frames[number], woven[number]) for number in range(3))


def test_a_change_of_the_frame_size_starts_the_filter_again(tmp_path):
    sizes = {"a.ts": (0, 64), "b.ts": (6, 48)}
    for name, (first, height) in sizes.items():
        images = [combed(number, "tff")[:height] for number in range(6)]
        make(tmp_path / name, images, ["tff"] * 6, codec="mpeg2video", pix_fmt="yuv420p",
             options={"b": "20M"}, first=first)  # fmt: skip
    joined = tmp_path / "c.ts"
    joined.write_bytes(b"".join((tmp_path / name).read_bytes() for name in sizes))
    index, (frames, *parts) = read(joined, [(0, 11), (4, 8), (6, 9)])
    assert index.facts.interlaced == 11  # the decoder loses one at the change
    assert all(image.shape == (64, 96, 3) for image in frames.values())
    for part in parts:
        assert all(np.array_equal(image, frames[number]) for number, image in part.items())


def film(tmp_path, frames=30, **options):
    images = [telecined(number) for number in range(frames)]
    return make(tmp_path / "c.mkv", images, ["tff"] * frames, **options)


def test_inverse_telecine_restores_the_film_frames_with_their_times(tmp_path):
    index, (frames,) = read(film(tmp_path), decoding=IVTC)
    assert len(frames) == index.facts.frames == 24
    assert index.facts.frame_rate == (20, 1)
    assert any("24 of 30 frames" in note for note in index.facts.notes)
    assert "film frames of telecined video" in fields_of(index.facts)
    shown = index.pts * 25 * index.facts.time_base[0] / index.facts.time_base[1]
    for number in range(1, 23):
        assert error(frames[number], moment(2 * number)) < 2, number
        # Within a frame of the time at which film of 4/5 of the rate shows it.
        assert abs(shown[number] - number * 5 / 4) <= 1
    assert np.all(np.diff(index.pts) > 0)


@pytest.mark.parametrize("scenes", [True, False])
def test_any_range_of_film_frames_gives_those_of_a_read_from_the_beginning(tmp_path, scenes):
    options = {"crf": "4", "x264-params": "tff=1:keyint=7:bframes=2"}
    clip = film(tmp_path, codec="libx264", options=options)
    ranges = [(0, 24), *((start, start + 3) for start in range(0, 21, 4))]
    _, (whole, *parts) = read(clip, ranges, scenes=scenes, decoding=IVTC)
    for part in parts:
        assert all(np.array_equal(image, whole[number]) for number, image in part.items())


def test_inverse_telecine_keeps_all_frames_that_do_not_repeat(tmp_path):
    images = [moment(2 * number) for number in range(12)]
    index, (frames,) = read(make(tmp_path / "c.mkv", images, [None] * 12), decoding=IVTC)
    assert len(frames) == 12
    assert index.facts.frame_rate == (25, 1)


def test_inverse_telecine_of_a_program_stream_is_refused_with_a_way_out(tmp_path):
    clip = clips.make(tmp_path / "c.mpg", 12, codec="mpeg2video", options={"b": "5M"})
    with pytest.raises(SourceError, match="presentation times") as caught:
        probe.index_video(clip, decoding=IVTC)
    assert "mkvmerge" in caught.value.hint
