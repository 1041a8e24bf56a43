"""Hints without weights: each kind shows what its control nets were trained with."""

import cv2
import numpy as np
import pytest

from ip2p_batch.errors import RecipeError
from ip2p_batch.hints.areas import COLOR_FIELD
from ip2p_batch.hints.kinds import KINDS, check_kinds
from ip2p_batch.hints.make import MAKERS, make_hint
from ip2p_batch.recipe_parts import Control


def scene(width=512, height=288):
    """A light disc and a dark line on a ramp, smooth at each size."""
    y, x = np.mgrid[0:height, 0:width] / width
    image = np.stack([60 + 60 * x, 80 + 60 * y, np.full_like(x, 90)], -1)
    image[np.hypot(x - 0.3, y - 0.25) < 0.15] += 100
    image[abs(x - 0.7) < 0.006] = 20
    return image.astype(np.uint8)


def test_every_kind_has_a_maker():
    assert tuple(MAKERS) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_hint_has_the_shape_of_its_image_and_leaves_it_unchanged(kind):
    image = scene(200, 104)
    before = image.copy()
    hint = make_hint(kind, image)
    assert hint.shape == image.shape
    assert hint.dtype == np.uint8
    assert hint.flags.c_contiguous
    assert np.array_equal(image, before)
    assert np.array_equal(hint, make_hint(kind, image))


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_image_has_a_hint(kind):
    assert make_hint(kind, np.zeros((8, 8, 3), np.uint8)).shape == (8, 8, 3)


def test_canny_at_the_training_size_is_opencv_with_the_documented_thresholds():
    image = scene()
    expected = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 100, 200)
    assert np.array_equal(make_hint("canny", image), np.stack([expected] * 3, -1))


def test_canny_of_a_larger_image_shows_the_same_edges():
    small = make_hint("canny", scene())[..., 0] > 0
    large = make_hint("canny", scene(1536, 864))[..., 0] > 0
    near = np.ones((5, 5), np.uint8)
    back = cv2.resize(large * np.uint8(255), small.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    found = cv2.dilate(back.astype(np.uint8), near)[small].mean()
    true = cv2.dilate(small.astype(np.uint8), near)[back].mean()
    assert found > 0.95
    assert true > 0.95


def test_lineart_draws_the_dark_line_white_and_the_ramp_black():
    hint = make_hint("lineart", scene())[..., 0]
    assert hint[200, 358] == 255
    assert hint[200, 450:].max() < 10


def test_color_is_a_grid_of_the_means():
    image = scene()
    hint = make_hint("color", image)
    assert len(np.unique(hint.reshape(-1, 3), axis=0)) <= 8 * 5
    field = image[:64, :COLOR_FIELD].reshape(-1, 3).mean(axis=0)
    assert np.abs(hint[5, 5] - field).max() < 6


def test_luminance_is_the_luma_in_each_channel():
    image = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    assert np.unique(make_hint("luminance", image)).tolist() == [76]


@pytest.mark.parametrize("kind", ["tile", "blur"])
def test_detail_is_removed_and_the_mean_kept(kind):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    hint = make_hint(kind, noise)
    assert hint.std() < noise.std() * 0.7
    assert abs(hint.mean() - noise.mean()) < 2


def test_an_unknown_kind_without_hints_is_refused_and_the_kinds_are_named():
    with pytest.raises(RecipeError, match="canny, lineart, tile, blur, luminance, color"):
        check_kinds((Control(kind="pose"),))
    check_kinds((Control(kind="pose", hints="own.mp4"), Control(kind="canny")))
