"""Hints of lines: white on black.

Scales are those of the control nets' training size. A larger image gets the lines that it has at
that size: it is blurred as scaling down would, and its gradient is multiplied by the scale
(normalized derivatives; Lindeberg, "Edge detection and ridge detection with automatic scale
selection", IJCV 1998).
"""

from __future__ import annotations

import cv2
import numpy as np

from ..frame import Image
from .planes import gray, three_planes

#: Longest side, in pixels, of the images that SD 1.5's control nets were trained with.
TRAINING_SIZE = 512
#: Thresholds of the gradient (Sobel, L1 norm), as in ControlNet's own code and diffusers' examples.
CANNY_LOW, CANNY_HIGH = 100, 200
#: Standard deviation, in pixels, of the blur that an image has at any size.
PIXEL_SIGMA = 0.5
#: Standard deviation of the blur that a line is darker than, in pixels at the training size; as in
#: the "standard lineart" preprocessor for ControlNet 1.1.
LINEART_SIGMA = 6.0
#: A line that is this many grey levels darker than its surroundings is drawn in half of white.
LINEART_CONTRAST = 16.0


def canny(image: Image) -> Image:
    """Edges by Canny ("A computational approach to edge detection", PAMI 1986), a pixel wide.

    Args:
        image: uint8 RGB, shape ``(height, width, 3)``.

    Returns:
        0 or 255, of the same shape.
    """
    scale = _scale(image)
    plane = gray(image)
    if scale > 1:
        sigma = PIXEL_SIGMA * float(np.sqrt(scale**2 - 1))
        plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), dtype=np.uint8)
    return three_planes(cv2.Canny(plane, CANNY_LOW / scale, CANNY_HIGH / scale))


def lineart(image: Image) -> Image:
    """Lines that are darker than their surroundings: a difference of the image and its blur.

    ``255 min(1, max(0, blur - image) / (2 c))`` with c of :data:`LINEART_CONTRAST`, of the channel
    where it is least. The preprocessor divides by the median of each image instead of c, so that
    its lines become lighter and darker from frame to frame.

    Args:
        image: uint8 RGB, shape ``(height, width, 3)``.

    Returns:
        0 to 255, of the same shape.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), LINEART_SIGMA * max(image.shape[:2]) / TRAINING_SIZE)
    darker = cv2.subtract(blurred, image).min(axis=2)  # saturates at 0
    return three_planes(cv2.convertScaleAbs(darker, alpha=255 / (2 * LINEART_CONTRAST)))


def _scale(image: Image) -> float:
    height, width = image.shape[:2]
    return max(1.0, float(max(height, width)) / TRAINING_SIZE)
