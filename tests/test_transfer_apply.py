"""Applying an edit at full size: exact without an edit, in strips, at any depth."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.transfer import strips as strips_module
from ip2p_batch.transfer.apply import apply
from ip2p_batch.transfer.model import EditModel, fit
from ip2p_batch.transfer.strips import strips

from .transfer_images import photo


def small(image, size):
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def deep(image):
    """The image in 16 bits, with values that 8 bits cannot hold."""
    return image.astype(np.uint16) * 257 - (image > 0) * np.uint16(100)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_an_edit_that_changes_nothing_gives_the_source_bit_for_bit(kind):
    source = photo(150, 200)
    little = small(source, (64, 48))
    full = source if kind == "uint8" else deep(source)
    assert np.array_equal(apply(fit(little, little), full), full)


@settings(deadline=None, max_examples=25)
@given(height=st.integers(8, 90), width=st.integers(8, 90), seed=st.integers(0, 99))
def test_any_size_comes_out_in_its_own_size(height, width, seed):
    source = photo(height, width, seed)
    little = small(source, (16, 16))
    result = apply(fit(little, 255 - little), source)
    assert result.shape == source.shape and result.dtype == np.uint8


def test_an_inverted_edit_inverts_the_sources_own_detail():
    source = photo(360, 480)
    little = small(source, (96, 72))
    result = apply(fit(little, 255 - little), source)
    enlarged = cv2.resize(255 - little, (480, 360), interpolation=cv2.INTER_CUBIC)
    truth = 255 - source.astype(int)
    assert np.abs(result - truth).mean() < 4
    assert np.abs(result - truth).mean() < np.abs(enlarged - truth).mean() / 3


def test_a_dark_edit_of_a_deep_source_has_more_than_256_levels():
    ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
    full = np.dstack([ramp] * 3)
    little = small((full // 257).astype(np.uint8), (64, 64))
    result = apply(fit(little, little // 3), full)
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 5000
    assert np.abs(result.astype(int) - full // 3).mean() < 400


def test_the_result_does_not_depend_on_the_strips(monkeypatch):
    source = photo(210, 160)
    little = small(source, (40, 52))
    model = fit(little, cv2.GaussianBlur(255 - little, (0, 0), 2))
    whole = apply(model, source)
    monkeypatch.setattr(strips_module, "_PIXELS", 160 * 24)
    assert len(list(strips(210, 160))) == 9
    assert np.array_equal(apply(model, source), whole)


def test_a_colour_out_of_range_keeps_its_hue():
    grid = np.zeros((12, 2, 2), np.float32)
    grid[9:] = 0.4  # adds four tenths of white to each colour
    model = EditModel(np.zeros((3, 6), np.float32), grid, None, 0.0, None)
    source = np.full((8, 8, 3), (160, 80, 0), np.uint8)
    red, green, blue = apply(model, source)[4, 4].astype(int)
    assert red == 255, "as bright as possible"
    assert (red - green) / (green - blue) == pytest.approx(1, abs=0.05), "the source's hue"


def test_a_new_object_of_the_edit_is_in_the_result():
    source = photo(400, 400)
    little = small(source, (128, 128))
    edited = little.copy()
    cv2.circle(edited, (64, 64), 26, (250, 20, 20), -1)
    result = apply(fit(little, edited), source)
    middle = result[170:230, 170:230].reshape(-1, 3).mean(axis=0)
    assert middle[0] > 215 and middle[1:].max() < 70


def test_an_enlarged_residual_is_in_the_place_of_its_pixels():
    grid = np.zeros((12, 2, 2), np.float32)
    residual = np.zeros((10, 10, 3), np.float32)
    residual[2, 7] = 0.5
    model = EditModel(np.zeros((3, 6), np.float32), grid, None, 0.0, residual)
    result = apply(model, np.full((100, 100, 3), 50, np.uint8))
    y, x = np.unravel_index(result[..., 0].argmax(), (100, 100))
    assert 20 <= y < 30 and 70 <= x < 80
