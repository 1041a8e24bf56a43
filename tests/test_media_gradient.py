"""Gradients in strips, and the window with the most detail."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.media.gradient import busiest_window, luma_gradients


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("sigma", [0, 1, 1.5])
@pytest.mark.parametrize("height", [1, 2, 63, 64, 65, 200])
def test_strips_give_the_derivatives_of_the_whole_image(height, sigma):
    image = noise(50, height)
    strips = list(luma_gradients(image, sigma=sigma))
    (_, *whole), = luma_gradients(image, sigma=sigma, rows=height)  # fmt: skip
    assert [rows.start for rows, *_ in strips] == list(range(0, height, 64))
    for axis in (0, 1):
        joined = np.concatenate([strip[1 + axis] for strip in strips])
        assert np.allclose(joined, whole[axis], atol=1e-6)


def test_derivatives_are_those_of_sobels_filters():
    image = noise(9, 7)
    luma = image.astype(float) @ [0.299, 0.587, 0.114] / 255
    (_, dx, dy), = luma_gradients(image)  # fmt: skip
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    y, x = 3, 4
    around = luma[y - 1 : y + 2, x - 1 : x + 2]
    assert dx[y, x] == pytest.approx((around * kernel).sum(), abs=1e-5)
    assert dy[y, x] == pytest.approx((around * kernel.T).sum(), abs=1e-5)


def test_the_window_contains_the_only_detail():
    image = np.full((500, 900, 3), 128, np.uint8)
    image[330:390, 610:680] = noise(70, 60)
    left, top = busiest_window(image, (200, 150))
    assert left <= 610 and left + 200 >= 680 and top <= 330 and top + 150 >= 390


def test_the_window_prefers_more_detail_and_then_the_upper_left():
    image = np.full((400, 600, 3), 128, np.uint8)
    image[32:96, 32:96] = cv2.GaussianBlur(noise(64, 64), (0, 0), 2)
    image[288:352, 480:544] = noise(64, 64)
    assert busiest_window(image, (64, 64)) == (480, 288)
    image[32:96, 32:96] = image[288:352, 480:544]
    assert busiest_window(image, (64, 64)) == (32, 32)
    assert busiest_window(np.full((400, 600, 3), 9, np.uint8), (64, 64)) == (0, 0)


def test_the_window_avoids_others_where_it_can():
    image = np.full((400, 600, 3), 128, np.uint8)
    image[288:352, 480:544] = noise(64, 64)
    image[32:96, 32:96] = cv2.GaussianBlur(noise(64, 64), (0, 0), 2)
    assert busiest_window(image, (64, 64), [(480, 288)]) == (32, 32)
    left, top = busiest_window(image, (64, 64), [(32, 32), (500, 300)])
    assert (left, top) == (436 // 16 * 16, 288)  # the strip that the avoided window leaves
    assert busiest_window(image, (560, 390), [(16, 0)]) == busiest_window(image, (560, 390))


@given(
    image=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    window=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=200)
def test_the_window_lies_inside_the_image(image, window, seed):
    pixels = noise(image[0], image[1], seed)
    left, top = busiest_window(pixels, window)
    assert 0 <= left <= max(0, image[0] - window[0])
    assert 0 <= top <= max(0, image[1] - window[1])
    assert busiest_window(pixels.copy(), window) == (left, top)
