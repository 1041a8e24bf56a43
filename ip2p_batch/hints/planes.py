"""Planes of images."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image


def gray(image: Image) -> npt.NDArray[np.uint8]:
    """Luma (BT.601) of a uint8 RGB image, shape ``(height, width)``."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def three_planes(plane: npt.NDArray[Any]) -> Image:
    """A uint8 RGB image with a plane in each channel."""
    return np.ascontiguousarray(cv2.merge([plane, plane, plane]), dtype=np.uint8)
