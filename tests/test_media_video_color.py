"""Colour patches through every conversion are restored within rounding."""

from typing import Any

import av
import numpy as np
import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.video_facts import ColorFacts
from ip2p_batch.media.video import color, probe
from ip2p_batch.media.video.deep_color import from_image, to_rgb48
from ip2p_batch.media.video.reader import VideoReader

from . import clips

PATCH = (30, 200, 40)


def patch(index, width, height):
    return np.full((height, width, 3), PATCH, np.uint8)


def read(path):
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return index.facts, reader.frame(0).image


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_tagged_samples_are_converted_by_their_tag(tmp_path, matrix, full_range):
    clip = clips.make(tmp_path / "c.mp4", 2, matrix=matrix, full_range=full_range, image=patch)
    facts, image = read(clip)
    assert (facts.color.matrix, facts.color.full_range) == (matrix, full_range)
    assert facts.color.tagged
    assert np.abs(image.astype(int) - PATCH).max() <= 3


@pytest.mark.parametrize(
    ("size", "matrix"), [((64, 64), 6), ((1280, 720), 1), ((1280, 528), 1), ((720, 576), 6)]
)
def test_untagged_samples_are_converted_by_frame_size_as_in_players(tmp_path, size, matrix):
    clip = clips.make(tmp_path / "c.mp4", 1, size=size, matrix=matrix, tag=False, image=patch)
    facts, image = read(clip)
    assert facts.color == ColorFacts(matrix=matrix)
    assert np.abs(image.astype(int) - PATCH).max() <= 3


def test_rgb_video_needs_no_matrix(tmp_path):
    clip = clips.make(
        tmp_path / "c.mkv", 2, codec="ffv1", pix_fmt="bgr0", matrix=None, options={}, image=patch
    )
    _, image = read(clip)
    assert (image == PATCH).all()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "bgr0"])
@pytest.mark.parametrize("facts", [ColorFacts(), ColorFacts(matrix=6, full_range=True)])
def test_a_round_trip_restores_the_colours(pix_fmt, facts):
    image = clips.picture(5)
    smooth = np.repeat(np.repeat(image[::8, ::8], 8, 0), 8, 1)
    frame = from_image(smooth, facts, pix_fmt)
    assert frame.format.name == pix_fmt
    error = np.abs(color.to_rgb(frame, facts).astype(int) - smooth)
    assert error.mean() < (0.01 if pix_fmt == "bgr0" else 6 if pix_fmt == "yuv420p" else 1.2)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_eight_passes_keep_the_mean_of_every_channel(pix_fmt, matrix, full_range):
    noise = np.random.default_rng(0).normal(0, 3, (48, 64, 3))
    source = np.clip(np.cumsum(noise, 1) + np.array([90, 130, 170]), 0, 255).astype(np.uint8)
    facts = ColorFacts(matrix=matrix, full_range=full_range)
    image = source
    for _ in range(8):
        frame = from_image(image, facts, pix_fmt)
        image = (color.to_rgb if pix_fmt.endswith("p") else to_rgb48)(frame, facts)
    scale = 1 if image.dtype == np.uint8 else 257
    assert np.abs((image / scale - source).mean((0, 1))).max() < 0.5


@pytest.mark.parametrize("size", [(64, 48), (63, 49)])
def test_full_range_of_any_size_is_converted_to_the_nearest_samples(size):
    width, height = size
    for value in (0, 58, 128, 255):
        grey = np.full((height, width, 3), value, np.uint8)
        frame = from_image(grey, ColorFacts(full_range=True), "yuv420p")
        planes = [
            np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in frame.planes
        ]
        assert [plane.min() for plane in planes] == [value, 128, 128]
        assert [plane.max() for plane in planes] == [value, 128, 128]


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_without_a_matrix_counts_as_bt2020(tmp_path, transfer):
    clip = clips.make(tmp_path / "hdr.mp4", 2, matrix=9, tag=False, transfer=transfer)
    color = probe.index_video(clip).facts.color
    assert (color.matrix, color.transfer, color.tagged) == (9, transfer, False)


def test_a_matrix_without_a_conversion_is_refused(tmp_path):
    frame: Any = av.VideoFrame(64, 64, "yuv420p")
    frame.colorspace = 8  # YCgCo
    with pytest.raises(SourceError, match="matrix"):
        color.color_facts(frame, tmp_path / "x.mp4", color.frame_tags(frame, "h264"))
