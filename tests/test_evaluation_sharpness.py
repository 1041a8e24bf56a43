"""Gradient energy and edge F1: values that follow from their formulas, and what changes them."""

import cv2
import numpy as np
import pytest

from ip2p_batch.evaluation import EdgeMatch, edge_f1, edge_match, gradient_energy
from ip2p_batch.evaluation.sharpness import find_edges

from .pictures import scene


def blurred(image, sigma):
    return cv2.GaussianBlur(image, (0, 0), sigma)


def noisy(image, amount):
    noise = np.random.default_rng(0).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def shapes(width=200, height=160):
    """Draw discs and lines on a ramp: edges in all directions."""
    image = scene(width, height)
    cv2.circle(image, (width // 2, height // 2), height // 4, (20, 30, 200), -1)
    cv2.circle(image, (width // 2, height // 2), height // 8, (240, 240, 240), -1)
    cv2.line(image, (10, height - 10), (width - 10, height // 2), (0, 0, 0), 5)
    return image


def square(left, size=60):
    image = np.full((100, 120, 3), 60, np.uint8)
    image[20 : 20 + size, left : left + size] = 200
    return image


def test_gradient_energy_is_the_slope_of_a_ramp():
    ramp = np.repeat(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], 3, axis=2)
    wide = ramp.repeat(40, axis=0)
    # The mirrored border columns have no slope.
    assert gradient_energy(wide) == pytest.approx(5 / 255 * 48 / 50, rel=1e-5)
    assert gradient_energy(wide.transpose(1, 0, 2)) == pytest.approx(5 / 255 * 48 / 50, rel=1e-5)


def test_gradient_energy_is_zero_without_detail_and_proportional_to_contrast():
    assert gradient_energy(np.full((30, 40, 3), 130, np.uint8)) == 0
    image = shapes() // 2 * 2
    assert gradient_energy(image // 2) == pytest.approx(gradient_energy(image) / 2, rel=1e-5)


def test_blur_lowers_gradient_energy_and_noise_raises_it():
    image = shapes()
    values = [gradient_energy(i) for i in (blurred(image, 4), blurred(image, 1), image)]
    assert values == sorted(values)
    assert gradient_energy(noisy(image, 10)) > 1.5 * values[-1]


def test_an_image_matches_its_own_edges_completely():
    assert edge_match(shapes(), shapes()) == EdgeMatch(1, 1, 1)
    flat = np.full((30, 40, 3), 130, np.uint8)
    assert edge_match(flat, flat) == EdgeMatch(1, 1, 1)
    assert edge_match(flat, square(30)[:30, :40]) == EdgeMatch(0, 0, 0)


def test_edges_match_within_the_tolerance_only():
    first, moved = square(30), square(33)
    assert edge_f1(first, moved, tolerance=3) == 1
    # The upper and lower sides overlap, the left and right ones do not.
    assert 0.4 < edge_f1(first, moved, tolerance=2) < 0.6
    assert edge_f1(first, moved, tolerance=0) < edge_f1(first, moved, tolerance=2)


def test_a_missing_shape_lowers_recall_and_an_added_one_precision():
    full = shapes()
    part = full.copy()
    cv2.circle(part, (100, 80), 25, (20, 30, 200), -1)  # the inner disc is gone
    missing, added = edge_match(part, full), edge_match(full, part)
    assert missing.recall < 0.9 and missing.precision > 0.98
    assert (added.precision, added.recall) == (missing.recall, missing.precision)
    expected = 2 * missing.precision * missing.recall / (missing.precision + missing.recall)
    assert added.f1 == missing.f1 == pytest.approx(expected)


@pytest.mark.parametrize(("contrast", "brightness"), [(0.25, 96), (0.6, 0), (0.1, 200)])
def test_an_edit_that_only_lowers_contrast_keeps_the_edges(contrast, brightness):
    image = shapes()
    faint = np.rint(image * contrast + brightness).astype(np.uint8)
    assert edge_f1(faint, image) > 0.97


def test_blur_removes_edges_and_noise_adds_some():
    rng = np.random.default_rng(0)
    fine = cv2.GaussianBlur(rng.normal(size=(160, 200, 3)), (0, 0), 1.5)
    image = np.clip(128 + 250 * fine, 0, 255).astype(np.uint8)
    values = [edge_match(blurred(image, sigma), image) for sigma in (1, 2, 4)]
    assert [v.f1 for v in values] == sorted((v.f1 for v in values), reverse=True)
    assert values[-1].recall < 0.5
    dirty = edge_match(noisy(shapes(), 50), shapes())
    assert dirty.precision < 0.8 and dirty.recall > 0.95


def test_the_rounding_of_a_flat_image_is_no_edge():
    levels = np.where(np.random.default_rng(0).random((60, 80, 1)) < 0.5, 130, 131)
    assert not find_edges(np.repeat(levels, 3, axis=2).astype(np.uint8)).any()


def test_edges_do_not_depend_on_the_strips(monkeypatch):
    from ip2p_batch.media import gradient

    image = noisy(shapes(150, 190), 8)
    strips = find_edges(image), gradient_energy(image)
    monkeypatch.setattr(gradient.luma_gradients, "__kwdefaults__", {"sigma": 0, "rows": 1000})
    whole = find_edges(image), gradient_energy(image)
    assert np.array_equal(strips[0], whole[0]) and strips[1] == pytest.approx(whole[1], rel=1e-9)


def test_images_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="two shapes"):
        edge_match(scene(32, 32), scene(32, 30))
    with pytest.raises(ValueError, match="negative tolerance"):
        edge_match(scene(32, 32), scene(32, 32), tolerance=-1)
