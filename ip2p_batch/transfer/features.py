"""Structure features: what a drawn edit depends on, apart from a pixel's own colour.

Six numbers for each pixel, from the luma l (0 to 1) of the source and of its blurs, at scales in
pixels of the image itself: a line in the result is as fine as the source's own edges, whatever
size the model worked at. With G_s a Gaussian blur of s pixels::

    e      = |Sobel(G_1 l)|                 edge strength
    min(e, 1/2)^2                           ... of strong edges
    l - G_2 l                               fine detail
    G_2 l - G_5 l                           coarse detail
    min(l / (G_5 l + 0.03), 3/2)            brightness relative to the surroundings ("dodge")
    max(G_2 l - G_1 l, 0)                   dark side of an edge

G_2 and G_5 are computed on images that are halved and quartered, so that their cost does not grow
with the blur.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from . import kernels
from .kernels import Colours, Floats, Inputs

#: Number of structure features.
COUNT = 6
#: Rows and columns around an area that its features depend on; a multiple of the quartering.
MARGIN = 32

_MIRROR = cv2.BORDER_REFLECT_101


def planes(colours: Colours, peak: float) -> Inputs:
    """Compute the inputs of the features.

    Args:
        colours: red, green and blue, of any numeric type, each ``(h, w)``.
        peak: the value of white.
    """
    luma = kernels.luma(*colours, np.float32(1 / peak))
    fine = _floats(cv2.GaussianBlur(luma, (5, 5), 1.0, borderType=_MIRROR))
    across = _floats(cv2.Sobel(fine, cv2.CV_32F, 1, 0, ksize=3, borderType=_MIRROR))
    down = _floats(cv2.Sobel(fine, cv2.CV_32F, 0, 1, ksize=3, borderType=_MIRROR))
    edge = kernels.lengths(across, down)
    return luma, edge, fine, _blurred(luma, 2, 0.95), _blurred(luma, 4, 1.15)


def features(colours: Colours, peak: float) -> Floats:
    """The structure features of each pixel, shape ``(6, h, w)``; arguments as :func:`planes`."""
    inputs = planes(colours, peak)
    result = np.empty((COUNT, *inputs[0].shape), np.float32)
    kernels.fill_features(inputs, result)
    return result


def _blurred(luma: Floats, factor: int, sigma: float) -> Floats:
    """A Gaussian blur of about ``factor * sqrt(sigma^2 + 1/4)`` pixels.

    Averages squares of ``factor`` pixels, blurs those, and interpolates.
    """
    height, width = luma.shape
    bottom, right = -height % factor, -width % factor
    if bottom or right:
        luma = _floats(cv2.copyMakeBorder(luma, 0, bottom, 0, right, _MIRROR))
    small = cv2.resize(
        luma, (luma.shape[1] // factor, luma.shape[0] // factor), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma, borderType=_MIRROR)
    size = (luma.shape[1], luma.shape[0])
    return _floats(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR))[:height, :width]


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float32)
