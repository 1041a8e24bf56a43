"""Masks from opacity, brightness and screens."""

import numpy as np
import pytest

from ip2p_batch.masks.keys import from_alpha, from_luma, from_screen, without_screen


def row(*colors):
    return np.array([colors], np.uint8)


def test_opacity_is_the_mask_and_only_0_becomes_0():
    deep = np.array([[0, 1, 256, 32768, 65535]], np.uint16)
    assert from_alpha(deep).tolist() == [[0, 1, 1, 127, 255]]
    assert from_alpha(np.array([[0, 1, 255]], np.uint8)).tolist() == [[0, 1, 255]]


def test_brightness_is_selected_with_soft_ends_inside():
    grays = np.repeat(np.array([[0, 100, 127, 128, 141, 200, 255]], np.uint8)[..., None], 3, 2)
    assert from_luma(grays, 0.5, 1)[0].tolist()[:3] == [0, 0, 0]
    selected = from_luma(grays, 0.5, 1)[0]
    assert 0 < selected[3] < 20 and selected[4:].tolist() == [255] * 3
    assert from_luma(grays, 0, 0.4)[0].tolist() == [255, 40, 0, 0, 0, 0, 0]
    deep = grays.astype(np.uint16) * 257
    assert np.array_equal(from_luma(deep, 0.5, 1), from_luma(grays, 0.5, 1))


GREEN = (40, 180, 70)  # as a camera sees a screen


@pytest.mark.parametrize(
    ("color", "may_change"),
    [
        (GREEN, 255),
        ((26, 120, 46), 255),  # in shadow
        ((60, 200, 95), 255),  # in light
        ((128, 128, 128), 0),
        ((118, 138, 120), 0),  # grey with light from the screen
        ((220, 40, 40), 0),
        ((40, 60, 200), 0),
        ((230, 220, 40), 0),  # yellow
        ((0, 0, 0), 0),
        ((255, 255, 255), 0),
    ],
)
def test_a_screen_is_told_from_objects(color, may_change):
    image = np.full((40, 40, 3), GREEN, np.uint8)
    image[10:20, 10:20] = color
    mask = from_screen(image, (0, 255, 0), measured=True)
    assert (mask[10:20, 10:20] == may_change).all() and (mask[:10] == 255).all()


def test_a_screen_named_by_its_colour_is_not_measured():
    image = row((0, 0, 200), (200, 0, 0))
    assert from_screen(image, (0, 0, 255), measured=False).tolist() == [[255, 0]]


def test_a_frame_without_the_screen_is_protected():
    image = np.random.default_rng(0).integers(90, 110, (20, 20, 3)).astype(np.uint8)
    assert not from_screen(image, (0, 255, 0), measured=True).any()


def test_the_screen_is_taken_out_of_mixed_pixels():
    red, share = np.array((200, 60, 50)), 0.5
    image = np.full((8, 8, 3), GREEN, np.uint8)
    image[:, 4] = share * np.array(GREEN) + (1 - share) * red
    image[:, 5:] = red
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4], mask[:, 4] = 255, 128
    own = without_screen(image, mask)
    assert np.abs(own[:, 4].astype(int) - red).max() <= 2
    assert np.array_equal(np.delete(own, 4, 1), np.delete(image, 4, 1))
