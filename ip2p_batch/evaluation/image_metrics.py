"""Similarity of two images: PSNR, SSIM, and how far an edit went."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

Values = npt.NDArray[np.float64]


def psnr(first: Image, second: Image) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(255^2 / MSE)`` over all pixels and channels.

    Takes no account of where an error is or how visible it is. Returns at most 100, the value of
    equal images.

    Args:
        first, second: uint8 RGB of the same shape.

    Raises:
        ValueError: the shapes differ.

    >>> psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))
    0.0
    """
    _same_shape(first, second)
    error = float(np.square(first.astype(np.float64) - second).mean())
    return min(100.0, float(10 * np.log10(255**2 / error))) if error else 100.0


def ssim(first: Image, second: Image) -> float:
    """Structural similarity of the grey values of two images, -1 to 1; 1 for equal images.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004 (https://doi.org/10.1109/TIP.2003.819861): Gaussian
    window of 11 pixels with sigma 1.5, K1 0.01, K2 0.03, mean over the positions where the window
    lies inside the image. Colour has no influence.

    Args:
        first, second: uint8 RGB of the same shape.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    _same_shape(first, second)
    if min(first.shape[:2]) < 11:
        raise ValueError(
            f"{first.shape[1]}x{first.shape[0]} is too small for SSIM's window of 11 pixels"
        )
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (first, second))

    def local(values: Values) -> Values:
        mean: Values = cv2.GaussianBlur(values, (11, 11), 1.5)
        return mean[5:-5, 5:-5]

    mean_x, mean_y = local(x), local(y)
    variance_x = local(x * x) - mean_x**2
    variance_y = local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(index.mean())


def edit_strength(source: Image, output: Image, target: Image) -> float:
    """How far an edit went from the source to the target: 0 is the source, 1 the target.

    ``<output - source, target - source> / |target - source|^2``. Above 1, the edit overshoots.
    Changes in other directions have no influence.

    Args:
        source, output, target: uint8 RGB of the same shape.

    Raises:
        ValueError: the shapes differ, or the target equals the source.
    """
    _same_shape(source, output)
    _same_shape(source, target)
    base = source.astype(np.float64)
    direction = target - base
    length = float(np.square(direction).sum())
    if not length:
        raise ValueError("the target is the source")
    return float(((output - base) * direction).sum() / length)


def _same_shape(first: Image, second: Image) -> None:
    if first.shape != second.shape:
        raise ValueError(f"images of two shapes, {first.shape} and {second.shape}")
