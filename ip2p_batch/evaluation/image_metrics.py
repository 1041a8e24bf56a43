"""How alike two pictures are, in the field's usual numbers."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

Values = npt.NDArray[np.float64]


def psnr(first: Image, second: Image) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(255^2 / MSE)`` over all pixels and colours.

    Blind to where the error is and to what eyes see of it. Equal pictures give 100.

    Raises:
        ValueError: the shapes differ.

    >>> psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8))
    0.0
    """
    _same_shape(first, second)
    error = float(np.square(first.astype(np.float64) - second).mean())
    return min(100.0, float(10 * np.log10(255**2 / error))) if error else 100.0


def ssim(first: Image, second: Image) -> float:
    """Structural similarity of the two brightnesses, -1 to 1; equal pictures give 1.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004: Gaussian window of 11 pixels with sigma 1.5, K1 0.01,
    K2 0.03, mean over the places where the window fits. Blind to colour.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    _same_shape(first, second)
    if min(first.shape[:2]) < 11:
        raise ValueError(f"{first.shape[1]}x{first.shape[0]} is too small for a window of 11")
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


def edit_strength(source: Image, output: Image, wanted: Image) -> float:
    """How far an output has gone from the source towards what was wanted: 0 not at all, 1 there.

    ``<output - source, wanted - source> / |wanted - source|^2``. Above 1 the edit is overdone.
    Blind to whatever else was changed.

    Raises:
        ValueError: the shapes differ, or nothing was wanted.
    """
    _same_shape(source, output)
    _same_shape(source, wanted)
    base = source.astype(np.float64)
    direction = wanted - base
    length = float(np.square(direction).sum())
    if not length:
        raise ValueError("the wanted picture is the source")
    return float(((output - base) * direction).sum() / length)


def _same_shape(first: Image, second: Image) -> None:
    if first.shape != second.shape:
        raise ValueError(f"pictures of two shapes, {first.shape} and {second.shape}")
