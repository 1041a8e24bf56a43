"""PSNR, SSIM and edit strength: values that follow from their formulas."""

import numpy as np
import pytest

from ip2p_batch.evaluation import edit_strength, psnr, ssim

from .pictures import scene


def noisy(image, amount, seed=0):
    noise = np.random.default_rng(seed).normal(0, amount, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_equal_images_score_the_maximum():
    image = scene(64, 48)
    assert psnr(image, image) == 100 and ssim(image, image) == pytest.approx(1)


def test_psnr_follows_from_the_mean_squared_error():
    image = scene(64, 48)
    other = image.copy()
    other[0, 0, 0] -= 10
    error = 100 / image.size
    assert psnr(image, other) == pytest.approx(10 * np.log10(255**2 / error))


def test_more_noise_lowers_both_metrics():
    image = scene(64, 48)
    for measure in (psnr, ssim):
        values = [measure(image, noisy(image, amount)) for amount in (2, 8, 32, 90)]
        assert values == sorted(values, reverse=True)


def test_ssim_is_negative_for_a_negative_and_hardly_changes_with_brightness():
    image = noisy(scene(64, 48), 20)
    assert ssim(image, 255 - image) < 0
    assert ssim(image, (image * 0.9 + 20).astype(np.uint8)) > 0.95


def test_ssim_equals_the_papers_formula_computed_window_by_window():
    first, second = noisy(scene(24, 20), 15, 1), noisy(scene(24, 20), 15, 2)
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    import cv2

    x, y = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(float) for i in (first, second))
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append(
                ((2 * ma * mb + 6.5025) * (2 * cov + 58.5225))
                / ((ma**2 + mb**2 + 6.5025) * (va + vb + 58.5225))
            )
    assert ssim(first, second) == pytest.approx(np.mean(values), abs=1e-9)


def test_edit_strength_is_the_distance_covered_from_source_to_target():
    source, target = scene(32, 32), 255 - scene(32, 32)
    middle = ((source.astype(int) + target) // 2).astype(np.uint8)
    assert edit_strength(source, source, target) == 0
    assert edit_strength(source, target, target) == 1
    assert edit_strength(source, middle, target) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="is the source"):
        edit_strength(source, target, source)


def test_images_that_cannot_be_compared_are_refused():
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match="two shapes"):
            measure(scene(32, 32), scene(32, 30))
    with pytest.raises(ValueError, match="too small"):
        ssim(scene(32, 10), scene(32, 10))
