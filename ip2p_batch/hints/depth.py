"""Hints of depth: near is white. The estimator is :mod:`ip2p_batch.editing.depth`.

Estimators of relative depth have no fixed scale, so their maps are normalized, by one scale for a
whole shot: a scale of each frame's own would pump, as its nearest thing comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image
from .planes import three_planes

#: Frames of a shot that decide its scale.
SAMPLES = 8
#: Percentiles of their maps that become black and white.
LOW, HIGH = 1.0, 99.0

#: Relative depth, larger is nearer; float32, shape ``(height, width)`` of any size.
DepthMap = npt.NDArray[np.float32]
#: Estimates the depth of a uint8 RGB image.
Estimate = Callable[[Image], DepthMap]


class Scale(NamedTuple):
    """The depths that become black and white."""

    low: float
    high: float


def sampled(shot: range) -> list[int]:
    """The frames that decide the scale of a shot: evenly spaced, with its first and last.

    >>> sampled(range(10, 13)), sampled(range(0, 71))
    ([10, 11, 12], [0, 10, 20, 30, 40, 50, 60, 70])
    """
    return sorted({int(n) for n in np.linspace(shot.start, shot.stop - 1, SAMPLES).round()})


def scale_of(maps: Sequence[DepthMap]) -> Scale:
    """The scale of a shot, from the maps of its sampled frames."""
    low, high = np.percentile(np.concatenate([depth.ravel() for depth in maps]), (LOW, HIGH))
    return Scale(float(low), float(high))


def depth_hint(depth: DepthMap, scale: Scale, image: Image) -> Image:
    """The hint of an image: ``255 (depth - low) / (high - low)``, rounded and clipped.

    Returns:
        uint8 RGB of the shape of ``image``; black where the scale has no extent.
    """
    extent = scale.high - scale.low
    if extent <= 0:
        return np.zeros_like(image)
    plane = cv2.resize(depth, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    levels = np.rint((plane - scale.low) * (255 / extent))
    return three_planes(np.clip(levels, 0, 255).astype(np.uint8))
