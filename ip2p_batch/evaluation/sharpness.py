"""Sharpness of an image: its gradient energy, and which edges of a reference it has."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image
from ..media.gradient import luma_gradients, magnitude

Mask = npt.NDArray[np.bool_]

#: Gaussian of the edge detector, in pixels: single noisy pixels are no edges.
_SIGMA = 1.0
#: Thresholds of the gradient, in standard deviations of luma per pixel.
_HIGH, _LOW = 0.15, 0.06
#: Lowest high threshold: one of 255 levels per pixel, since smaller steps are rounding.
_LEAST_HIGH = 1 / 255
#: Derivatives as 16-bit integers, for OpenCV's Canny: 0.5 becomes 8192.
_FIXED_POINT = 2**14


def gradient_energy(image: Image) -> float:
    """Mean gradient magnitude of luma: the mean of ``sqrt(dx^2 + dy^2)`` over all pixels.

    The derivatives are Sobel's, scaled to luma (0 to 1) per pixel; see
    :func:`~ip2p_batch.media.gradient.luma_gradients`. It is the mean of the magnitude that the
    focus measure Tenengrad squares (Pertuz, Puig and Garcia, "Analysis of focus measure operators
    for shape-from-focus", Pattern Recognition 2013, https://doi.org/10.1016/j.patcog.2012.11.011).

    0 for an image of one colour, 0.005 to 0.05 for photographs. Noise and higher contrast raise it
    as detail does, so read it together with SSIM or :func:`edge_f1`.

    Args:
        image: uint8 RGB.

    >>> step = np.zeros((8, 8, 3), np.uint8)
    >>> step[:, 4:] = 255  # a derivative of 0.5 in two of eight columns
    >>> gradient_energy(step)
    0.125
    """
    total = sum(
        float(magnitude(dx, dy).sum(dtype=np.float64)) for _, dx, dy in luma_gradients(image)
    )
    return float(total / (image.shape[0] * image.shape[1]))


class EdgeMatch(NamedTuple):
    """Edges of an image compared with those of a reference; each from 0 to 1, 1 is best.

    Attributes:
        f1: harmonic mean of both.
        precision: share of the image's edge pixels that are near an edge of the reference. Noise
            and drawn lines lower it.
        recall: share of the reference's edge pixels that are near an edge of the image. Blur
            lowers it.
    """

    f1: float
    precision: float
    recall: float


def edge_match(image: Image, reference: Image, *, tolerance: float = 1.0) -> EdgeMatch:
    """Precision, recall and F1 of the edges of an image against those of a reference.

    ``F1 = 2 P R / (P + R)``, as in the boundary benchmark of Martin, Fowlkes and Malik, "Learning
    to Detect Natural Image Boundaries Using Local Brightness, Color, and Texture Cues", PAMI 2004
    (https://doi.org/10.1109/TPAMI.2004.1273918). An edge pixel counts as matched if an edge pixel
    of the other image lies within ``tolerance``: the other mask is dilated by a disc. (The
    benchmark assigns pixels one to one, and tolerates 0.75 % of the diagonal.) The edges are those
    of :func:`find_edges`.

    Two images without any edge match completely; an image without edges and one with edges have 0.

    Args:
        image, reference: uint8 RGB of the same shape.
        tolerance: largest distance of matching edge pixels, in pixels.

    Raises:
        ValueError: the shapes differ, or the tolerance is negative.
    """
    if image.shape != reference.shape:
        raise ValueError(f"images of two shapes, {image.shape} and {reference.shape}")
    if tolerance < 0:
        raise ValueError(f"a negative tolerance, {tolerance}")
    found, expected = find_edges(image), find_edges(reference)
    if not (found.any() or expected.any()):
        return EdgeMatch(1.0, 1.0, 1.0)
    precision = _share_near(found, expected, tolerance)
    recall = _share_near(expected, found, tolerance)
    total = precision + recall
    return EdgeMatch(2 * precision * recall / total if total else 0.0, precision, recall)


def edge_f1(image: Image, reference: Image, *, tolerance: float = 1.0) -> float:
    """F1 of the edges of an image against those of a reference, 0 to 1; see :func:`edge_match`."""
    return edge_match(image, reference, tolerance=tolerance).f1


def find_edges(image: Image) -> Mask:
    """Find edges with Canny's detector, at thresholds relative to the image's own contrast.

    Canny, "A Computational Approach to Edge Detection", PAMI 1986
    (https://doi.org/10.1109/TPAMI.1986.4767851): luma is smoothed by a Gaussian with sigma 1, and
    the ridges of its gradient are traced with hysteresis between a low and a high threshold.

    The high threshold is 0.15 standard deviations of the image's luma per pixel, the low one 0.4
    times that. A change of brightness or contrast, ``a I + b``, therefore keeps the edges, while
    blur, which lowers the gradient but hardly the standard deviation, removes them. The high
    threshold is at least one of 255 levels per pixel: the rounding of a flat image is no edge.

    Args:
        image: uint8 RGB.

    Returns:
        the edge pixels, shape ``(height, width)``.
    """
    deviation = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[1].item() / 255
    high = max(_HIGH * deviation, _LEAST_HIGH)
    dx, dy = (np.empty(image.shape[:2], np.int16) for _ in range(2))
    for rows, *derivatives in luma_gradients(image, sigma=_SIGMA):
        for target, derivative in zip((dx, dy), derivatives, strict=True):
            target[rows] = np.rint(derivative * np.float32(_FIXED_POINT))
    thresholds = (_LOW / _HIGH * high * _FIXED_POINT, high * _FIXED_POINT)
    edges: Mask = cv2.Canny(dx, dy, *thresholds, L2gradient=True).view(np.bool_)
    return edges


def _share_near(pixels: Mask, others: Mask, tolerance: float) -> float:
    """Share of ``pixels`` that have one of ``others`` within ``tolerance``; 0 without pixels."""
    count = np.count_nonzero(pixels)
    if not count:
        return 0.0
    radius = int(tolerance)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x * x + y * y <= tolerance * tolerance).astype(np.uint8)
    near = cv2.dilate(others.view(np.uint8), disc)
    return float(np.count_nonzero(pixels & (near > 0)) / count)
