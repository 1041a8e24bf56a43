"""Brush strokes: a source painted in flat patches with sharp edges, as fine as its own pixels.

Paintings flatten the detail of an image, which no affine model can. The Kuwahara filter (Kuwahara
et al., 1976) does: each pixel becomes the mean of the square with the lowest variance, among the
four squares that have it in a corner. Two passes, with squares of 6 and then 5 pixels, make the
patches flat. The model of an edit gets the difference to the source as a further regressor.
"""

from __future__ import annotations

import cv2
import numpy as np

from . import kernels
from .kernels import Colours, Floats

#: Sides of the squares, in pixels, of one pass after the other.
_SIDES = (6, 5)

_MIRROR = cv2.BORDER_REFLECT_101


def strokes(colours: Colours, peak: float) -> Floats:
    """The painted image minus the image, in parts of white.

    Args:
        colours: red, green and blue, of any numeric type, each ``(h, w)``.
        peak: the value of white.

    Returns:
        shape ``(3, h, w)``.
    """
    scale = np.float32(1 / peak)
    image = np.stack([plane.astype(np.float32) * scale for plane in colours])
    painted = image
    for side in _SIDES:
        painted = kuwahara(painted, side)
    return np.asarray(painted - image, dtype=np.float32)


def kuwahara(image: Floats, side: int) -> Floats:
    """One pass of the filter over planes ``(3, h, w)``; the image is mirrored at its border."""
    reach = side - 1
    padded = [
        np.asarray(cv2.copyMakeBorder(plane, reach, reach, reach, reach, _MIRROR), np.float32)
        for plane in image
    ]
    grey = kernels.luma(padded[0], padded[1], padded[2], np.float32(1))
    # Means of the squares to the lower right of each pixel; the others are the same, moved.
    means = np.stack([_square_means(plane, side) for plane in padded])
    squares = _square_means(grey * grey, side)
    result = np.empty_like(image)
    kernels.smoothest_square(means, squares, reach, result)
    return result


def _square_means(plane: Floats, side: int) -> Floats:
    blurred = cv2.boxFilter(plane, cv2.CV_32F, (side, side), anchor=(0, 0), borderType=_MIRROR)
    return np.asarray(blurred, dtype=np.float32)
