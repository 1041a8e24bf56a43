"""Similarity of two images: PSNR, SSIM, and how far an edit went."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

Values = npt.NDArray[np.float32]

#: Rows in a strip of SSIM: its planes stay in the processor's cache.
_ROWS = 64


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
    error = float(cv2.norm(first, second, cv2.NORM_L2SQR)) / first.size
    return min(100.0, float(10 * np.log10(255**2 / error))) if error else 100.0


def ssim(first: Image, second: Image) -> float:
    """Structural similarity of the grey values of two images, -1 to 1; 1 for equal images.

    Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004 (https://doi.org/10.1109/TIP.2003.819861): Gaussian
    window of 11 pixels with sigma 1.5, K1 0.01, K2 0.03, mean over the positions where the window
    lies inside the image. Colour has no influence. Computed in strips of rows in float32, in little
    memory whatever the size of the image; values differ by less than 1e-5 from float64's.

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
    height, width = first.shape[:2]
    total = 0.0
    for top in range(0, height - 10, _ROWS):
        rows = slice(top, min(height, top + _ROWS + 10))
        total += float(_ssim_index(first[rows], second[rows]).sum(dtype=np.float64))
    return float(total / ((height - 10) * (width - 10)))


def _ssim_index(first: Image, second: Image) -> Values:
    """SSIM at each position where the window lies inside, shape ``(height - 10, width - 10)``."""
    planes = [
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (first, second)
    ]
    # Around 0, since float32 loses digits where one large mean square is subtracted from another.
    offset_x, offset_y = (np.rint(plane.mean()) for plane in planes)
    x, y = planes[0] - offset_x, planes[1] - offset_y
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + offset_x, mean_y + offset_y
    c1, c2 = np.float32((0.01 * 255) ** 2), np.float32((0.03 * 255) ** 2)
    index: Values = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return index


def _windowed(values: Values) -> Values:
    """Means under the Gaussian window, where it lies inside."""
    means: Values = cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5]
    return means


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
