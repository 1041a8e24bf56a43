"""Warp error, flicker and seam ratio of frames with known motion, flicker and seams."""

import cv2
import numpy as np
import pytest

from ip2p_batch.evaluation import pair_errors, seam_ratio, video_flicker, warp_error
from ip2p_batch.temporal.flow import Motion, measured_flow


def texture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    return np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)


def panned(shift):
    """Two frames of an image that moves to the left by ``shift`` pixels."""
    wide = texture(96, 160 + shift)
    return wide[:, :160].copy(), wide[:, shift : 160 + shift].copy()


@pytest.mark.parametrize("shift", [0, 1, 3, 7])
def test_change_along_the_sources_motion_is_no_error(shift):
    first, second = panned(shift)
    motion = measured_flow(first, second)
    assert warp_error(255 - first, 255 - second, motion) < 2e-4
    assert warp_error(first, second, motion) < 2e-4


def test_a_still_output_of_a_moving_source_is_an_error():
    first, second = panned(7)
    motion = measured_flow(first, second)
    still = texture(96, 160, seed=4)
    assert warp_error(still, still, motion) > 100 * warp_error(first, second, motion)


def test_a_change_of_brightness_gives_its_square_as_warp_error():
    """In uint8, the difference -20 would wrap around to 236."""
    still = Motion(np.zeros((96, 160, 2), np.float32), np.zeros((96, 160), bool))
    image = np.full((96, 160, 3), 100, np.uint8)
    for change in (-20, 20):
        other = (image.astype(int) + change).astype(np.uint8)
        assert warp_error(image, other, still) == pytest.approx((20 / 255) ** 2, rel=1e-5)
        assert video_flicker(image, other) == pytest.approx(20 / 255, rel=1e-5)


def test_occluded_pixels_do_not_count():
    occluded = np.zeros((96, 160), bool)
    occluded[:, 80:] = True
    motion = Motion(np.zeros((96, 160, 2), np.float32), occluded)
    first = texture(96, 160)
    second = first.copy()
    second[:, 90:] = 0
    assert warp_error(first, second, motion) == 0
    everything = Motion(motion.flow, np.ones((96, 160), bool))
    assert warp_error(first, second, everything) == 0


def test_frames_of_two_sizes_are_refused():
    still = Motion(np.zeros((96, 160, 2), np.float32), np.zeros((96, 160), bool))
    with pytest.raises(ValueError, match="two shapes"):
        warp_error(texture(96, 160), texture(96, 152), still)


def test_pair_errors_measures_output_and_source_alike():
    first, second = panned(3)
    errors = pair_errors((first, second), (first, second))
    assert errors.output == errors.source
    assert errors.output_flicker == errors.source_flicker
    worse = pair_errors((first, second), (first, np.clip(second + 30.0, 0, 255).astype(np.uint8)))
    assert worse.output > 10 * worse.source


def test_a_seam_is_compared_with_the_pairs_around_it():
    calm, fast = [1.0] * 10, [5.0] * 10
    errors = calm + fast
    errors[14] *= 2  # the pair of frames 14 and 15
    assert seam_ratio(errors, [15]) == pytest.approx(2)
    assert seam_ratio(calm, [3, 6]) == pytest.approx(1)


def test_pairs_across_cuts_are_neither_seams_nor_neighbours():
    errors = [1.0] * 12
    errors[5] = 100.0  # a cut at frame 6
    assert seam_ratio(errors, [6, 8], cuts=[6]) == pytest.approx(1)
    assert seam_ratio(errors, [6], cuts=[6]) is None
    assert seam_ratio([], [3]) is None
