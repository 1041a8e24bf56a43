"""Colour tags that change within a video, and tags that only the container has."""

import numpy as np
import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.media.video import color, probe
from ip2p_batch.media.video.reader import VideoReader

from . import clips

PATCH = (30, 200, 40)


def patch(index, width, height):
    return np.full((height, width, 3), PATCH, np.uint8)


def joined(path, *parts, frames=6):
    """A transport stream of several videos, one after another."""
    data = b""
    for number, options in enumerate(parts):
        part = path.with_name(f"{number}.ts")
        times = range(number * frames, (number + 1) * frames)
        # Without B-frames: they would move the times of the first part only.
        options = {"options": {"x264-params": "bframes=0"}} | options
        clips.make(part, frames, pts=list(times), image=patch, **options)
        data += part.read_bytes()
    path.write_bytes(data)
    return path


def images(path, **options):
    index = probe.index_video(path, **options)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return index.facts, [frame.image for frame in reader.frames(0, len(index.pts))]


@pytest.mark.parametrize("scenes", [True, False])
def test_each_frame_is_converted_by_its_own_matrix_and_range(tmp_path, scenes):
    parts = [{"matrix": 6}, {"matrix": 1, "full_range": True}, {"matrix": 9}]
    facts, frames = images(joined(tmp_path / "c.ts", *parts), scenes=scenes)
    assert (facts.color.matrix, facts.color.full_range) == (6, False)
    assert len(frames) == 18
    for image in frames:
        assert np.abs(image.astype(int) - PATCH).max() <= 3


def test_a_change_of_the_dynamic_range_is_refused_with_its_time(tmp_path):
    clip = joined(tmp_path / "c.ts", {}, {"transfer": 16})
    with pytest.raises(SourceError, match=r"SDR at first, and HDR10 \(PQ\) from 0\.24 s"):
        probe.index_video(clip)


def test_a_change_of_the_dynamic_range_that_planning_did_not_see_is_refused(tmp_path):
    clip = joined(tmp_path / "c.ts", {}, {"transfer": 18})
    with pytest.raises(SourceError, match=r"it is SDR at first, and HDR \(HLG\) later"):
        images(clip, scenes=False)


def test_a_change_of_the_primaries_is_said(tmp_path):
    clip = joined(tmp_path / "c.ts", {"primaries": 6}, {"primaries": 1})
    facts, _ = images(clip)
    assert facts.color.primaries == 6
    assert any("primaries change" in note for note in facts.notes)


def test_a_later_matrix_without_a_conversion_is_refused(tmp_path):
    clip = joined(
        tmp_path / "c.ts", {}, {"options": {"x264-params": "colormatrix=YCgCo:bframes=0"}}
    )
    with pytest.raises(SourceError, match=r"H\.273 code 8"):
        probe.index_video(clip)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("full_range", [False, True])
def test_tags_that_only_the_container_has_are_used(tmp_path, suffix, full_range):
    hidden = "colormatrix=undef:colorprim=undef:transfer=undef:range=limited:log-level=none"
    clip = clips.make(
        tmp_path / f"c{suffix}", 2, codec="libx265", options={"x265-params": hidden},
        matrix=9, primaries=9, transfer=14, full_range=full_range, image=patch,
    )  # fmt: skip
    facts, frames = images(clip)
    assert (facts.color.matrix, facts.color.full_range) == (9, full_range)
    assert facts.color.tagged
    for image in frames:
        assert np.abs(image.astype(int) - PATCH).max() <= 4


def test_the_stream_wins_over_the_container():
    stream, container = color.Tags(matrix=1, transfer=1), color.Tags(9, 2, 9, 16)
    assert stream.or_else(container) == color.Tags(1, 2, 9, 1)


def test_rgb_video_keeps_its_primaries_without_a_note(tmp_path):
    clip = clips.make(
        tmp_path / "c.mkv", 6, image=patch, codec="libx264rgb", pix_fmt="rgb24", matrix=None,
        primaries=12, transfer=13,
    )  # fmt: skip
    facts, _ = images(clip)
    assert (facts.pix_fmt, facts.color.primaries, facts.notes) == ("gbrp", 12, ())
