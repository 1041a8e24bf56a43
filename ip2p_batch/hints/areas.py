"""Hints of areas: the source with less detail, its brightness or its colours."""

from __future__ import annotations

import cv2
import numpy as np

from ..frame import Image
from .lines import TRAINING_SIZE
from .planes import gray, three_planes

#: Tile nets were trained with images scaled down by up to 8; by 2, they keep all but the texture.
TILE_FACTOR = 2
#: Standard deviation of the blur, in pixels at the training size.
BLUR_SIGMA = 9.0
#: Side of a field of one colour, in pixels at the training size, as for the colour T2I-Adapter.
COLOR_FIELD = 64


def tile(image: Image) -> Image:
    """The image, scaled down and up again: uint8 RGB of the same shape."""
    height, width = image.shape[:2]
    small = (max(1, width // TILE_FACTOR), max(1, height // TILE_FACTOR))
    return _resized(_resized(image, small, cv2.INTER_AREA), (width, height), cv2.INTER_CUBIC)


def blur(image: Image) -> Image:
    """The image, blurred: uint8 RGB of the same shape."""
    sigma = BLUR_SIGMA * max(image.shape[:2]) / TRAINING_SIZE
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8)


def luminance(image: Image) -> Image:
    """The image in grey: uint8 RGB of the same shape."""
    return three_planes(gray(image))


def color(image: Image) -> Image:
    """Fields of one colour, the mean of the image there: uint8 RGB of the same shape."""
    height, width = image.shape[:2]
    field = COLOR_FIELD * max(width, height) / TRAINING_SIZE
    fields = (max(1, round(width / field)), max(1, round(height / field)))
    return _resized(_resized(image, fields, cv2.INTER_AREA), (width, height), cv2.INTER_NEAREST)


def _resized(image: Image, size: tuple[int, int], method: int) -> Image:
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
