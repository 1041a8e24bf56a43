"""PSNR, SSIM and edit strength: values that follow from their formulas."""

import subprocess
import sys

import cv2
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
    assert ssim(first, second) == pytest.approx(np.mean(values), abs=1e-5)


@pytest.mark.parametrize("height", [11, 74, 75, 200])
def test_ssim_in_strips_equals_ssim_of_the_whole_image_in_float64(height):
    bright = np.clip(scene(90, height).astype(int) + 120, 0, 255).astype(np.uint8)
    for first, second in ((bright, noisy(bright, 4)), (bright, bright), (bright // 8, bright // 9)):
        assert ssim(first, second) == pytest.approx(float64_ssim(first, second), abs=1e-5)


def float64_ssim(first, second):
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (first, second))

    def local(values):
        return cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    index = (2 * mx * my + 6.5025) * (2 * cov + 58.5225)
    return (index / ((mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225))).mean()


def test_metrics_of_a_large_image_need_little_memory():
    """In a process of its own, whose peak memory no other test has raised."""
    code = """
import resource
import numpy as np
from ip2p_batch.evaluation import edge_match, gradient_energy, psnr, ssim

image = np.random.default_rng(0).integers(0, 256, (4000, 3000, 3), dtype=np.uint8)
other = image[::-1].copy()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for measure in (psnr, ssim, edge_match):
    measure(image, other)
gradient_energy(image)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 250  # MiB for 12 megapixels; SSIM in float64 took a GiB


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
