"""Videos are shown as their display matrix says: turned, and mirrored."""

import itertools

import numpy as np
import pytest

from ip2p_batch.cli.plan_text import orientation_of
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.orientation import from_matrix
from ip2p_batch.media.video.reader import VideoReader

from . import clips

ORIENTATIONS = list(itertools.product((0, 90, 180, 270), (False, True)))
SIZE = (96, 64)


@pytest.mark.parametrize(("rotation", "mirror"), ORIENTATIONS)
def test_every_turned_or_mirrored_video_is_read_as_players_show_it(tmp_path, rotation, mirror):
    clip = clips.make(tmp_path / "c.mp4", 2, size=SIZE, rotation=rotation, mirror=mirror)
    index = probe.index_video(clip)
    with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
        image = reader.frame(1).image
    expected = np.rot90(clips.picture(1, *SIZE), rotation // 90)
    if mirror:
        expected = expected[:, ::-1]
    assert image.shape[1::-1] == index.facts.upright
    assert np.abs(image.astype(int) - expected).mean() < 4


def test_orientation_follows_from_a_display_matrix_of_any_scale():
    for rotation, mirrored in ORIENTATIONS:
        cos, sin = round(np.cos(np.radians(rotation))), round(np.sin(np.radians(rotation)))
        sign = -1 if mirrored else 1
        for scale in (1, 65536):
            matrix = [sign * cos * scale, sin * scale, 0, -sign * sin * scale, cos * scale, 0]
            assert from_matrix([*matrix, 0, 0, 1 << 30]) == (rotation, mirrored)


@pytest.mark.parametrize(
    ("rotation", "mirror", "said"),
    [
        (0, False, ""),
        (0, True, ", mirrored left to right"),
        (180, True, ", mirrored top to bottom"),
        (90, True, ", rotated by 270 degrees, mirrored left to right"),
    ],
)
def test_plan_says_how_frames_are_turned(tmp_path, rotation, mirror, said):
    clip = clips.make(tmp_path / "c.mp4", 1, rotation=rotation, mirror=mirror)
    facts = probe.index_video(clip, scenes=False).facts
    # The matrix mirrors last, as the facts do.
    assert orientation_of(facts) == said
