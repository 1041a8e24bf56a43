"""Removing an image model's noise from an edit at full size, without losing what it drew."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.transfer import model_noise, strips
from ip2p_batch.transfer.model_noise import blocks, fit, gate, without_noise

from .transfer_images import photo


def noisy(image, deviation, seed=1):
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def error(image, truth):
    return float(np.abs(image.astype(float) - truth).mean())


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_an_edit_that_changes_nothing_gives_the_source_bit_for_bit(kind):
    source = photo(150, 200)
    full = source if kind == "uint8" else source.astype(np.uint16) * 257
    assert np.array_equal(without_noise(full, source), full)


def test_noise_of_an_edit_is_removed():
    source = photo(300, 260)
    truth = 255 - source
    edited = noisy(truth, 8)
    assert error(without_noise(source, edited), truth) < 0.35 * error(edited, truth)


def test_lines_that_do_not_follow_from_the_source_are_kept():
    source = photo(300, 260)
    edited = source.copy()
    for n in range(8):
        cv2.line(edited, (20, 20 + 30 * n), (240, 50 + 30 * n), (0, 0, 0), 2)
    line = (edited != source).any(axis=2) & (source.mean(axis=2) > 60)
    assert line.sum() > 500
    result = without_noise(source, edited)
    assert result[line].mean() < 0.15 * source[line].mean()
    assert error(result[~line], edited[~line]) < 6


def test_a_deep_source_keeps_its_depth():
    ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
    source = np.dstack([ramp] * 3)
    edited = noisy((source // 257 // 2).astype(np.uint8), 2)
    result = without_noise(source, edited)
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 5000
    assert np.abs(result.astype(int) - source // 2).mean() < 400


def test_the_result_does_not_depend_on_the_strips(monkeypatch):
    source = photo(210, 160)
    edited = noisy(cv2.GaussianBlur(255 - source, (0, 0), 2), 20)
    whole = without_noise(source, edited)
    monkeypatch.setattr(strips, "_PIXELS", 160 * 24)
    assert len(list(strips.strips(210, 160))) == 9
    assert np.array_equal(without_noise(source, edited), whole)
    monkeypatch.setattr(strips, "_PIXELS", 1)
    assert np.array_equal(without_noise(source, edited), whole), "strips narrower than their margin"


@settings(deadline=None, max_examples=20)
@given(height=st.integers(8, 90), width=st.integers(8, 90))
def test_any_size_comes_out_in_its_own_size(height, width):
    source = photo(height, width)
    assert without_noise(source, 255 - source).shape == source.shape


def test_a_reduced_image_gives_the_tone_of_an_area(monkeypatch):
    """As for images above 512 pixels."""
    monkeypatch.setattr(model_noise, "_REDUCED", 60)
    source = photo(400, 330)
    edited = source.copy()
    edited[:200] = edited[:200] // 2
    result = without_noise(source, edited)
    assert error(result[:150], edited[:150]) < 6
    assert error(result[250:], edited[250:]) < 6


@given(height=st.integers(1, 9000), width=st.integers(1, 9000))
def test_blocks_lie_in_the_image_and_do_not_overlap(height, width):
    areas = blocks(height, width)
    assert 1 <= len(areas) <= 32
    corners = [(rows.start, columns.start) for rows, columns in areas]
    assert len(set(corners)) == len(corners) and corners == sorted(corners)
    for rows, columns in areas:
        assert rows.start % 128 == columns.start % 128 == 0
        assert 0 < rows.stop - rows.start <= 128 and 0 < columns.stop - columns.start <= 128
        assert rows.stop <= height and columns.stop <= width
    if height * width <= 128 * 128 * 8:
        covered = sum((r.stop - r.start) * (c.stop - c.start) for r, c in areas)
        assert covered == height * width or len(areas) == 32


def test_the_gate_is_closed_for_noise_and_open_for_lines():
    assert gate(np.full((20, 20, 3), 0.04, np.float32)).max() == 0
    assert gate(np.full((20, 20, 3), 0.5, np.float32)).min() > 0.98


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="two shapes"):
        fit(photo(20, 30), photo(30, 20))
