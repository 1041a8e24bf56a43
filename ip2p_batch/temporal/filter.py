"""Motion-compensated temporal filter: average each edited frame with its neighbours.

What the model invents anew in every frame averages out; what belongs to the scene recurs along the
SOURCE's motion and remains, as in video denoising and x265's ``--mctf``. A neighbour's pixel is
weighted by its visibility and by the similarity of the source at both ends, so that errors of the
flow do not show::

    out(p) = sum_s w_s(p) O_s(p + f_s(p)) / sum_s w_s(p),    w_t = 1,
    w_s = visible_s(p) exp(-|S_s(p + f_s(p)) - S_t(p)|^2 / (2 sigma^2)),   s = t - r .. t + r

The neighbours are within r frames, where flow is most accurate, and nothing drifts. With masks, a
neighbour counts only as far as it could change what the frame may change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..frame import Frame, Image
from ..threads import CpuPool
from .flow import (
    Motion,
    backward_flow,
    bidirectional_flow,
    followed_mask,
    remap,
    target_coordinates,
)
from .pipeline import Pair

#: Standard deviation of the weight over the source's difference along the motion, in grey levels.
SIGMA = 8.0


class Aligned(NamedTuple):
    """A neighbour, warped to the frame.

    Attributes:
        weighted: its edited image times the weight, float32, shape ``(height, width, 3)``.
        weight: 0 to 1, float32, shape ``(height, width)``.
    """

    weighted: np.ndarray
    weight: np.ndarray

    def scaled(self, factor: np.ndarray) -> Aligned:
        """With its weight times ``factor``, 0 to 1, float32, shape ``(height, width)``."""
        return Aligned(_times(self.weighted, factor), self.weight * factor)


class Motions:
    """Flow between frames that come in order; each search gives both directions."""

    def __init__(self) -> None:
        #: Motions that later frames need, by numbers of target and reference.
        self._cache: dict[tuple[int, int], Motion] = {}

    def between(self, target: Frame, reference: Frame) -> Motion:
        """The motion from a frame to a neighbour; several threads may ask at a time."""
        cached = self._cache.pop((target.index, reference.index), None)
        if cached is not None:
            return cached
        if reference.index < target.index:  # no later frame needs the reverse
            return backward_flow(target.image, reference.image)
        forward, reverse = bidirectional_flow(target.image, reference.image)
        self._cache[reference.index, target.index] = reverse
        return forward


class TemporalFilter:
    """A stage of :class:`~.pipeline.TemporalPipeline`.

    Args:
        radius: neighbours on either side, at least 1.
        cpu_pool: threads that each align one neighbour at a time.
    """

    def __init__(self, radius: int, cpu_pool: CpuPool | None = None) -> None:
        self._radius = radius
        self._cpu_pool = cpu_pool or CpuPool()
        self._motions = Motions()

    @property
    def radius(self) -> int:
        return self._radius

    def apply(self, middle: Pair, around: Sequence[Pair]) -> Image:
        source = middle.source.image

        def aligned(pair: Pair) -> Aligned:
            motion = self._motions.between(middle.source, pair.source)
            found = align(source, pair.source.image, pair.edited.image, motion)
            covers = _coverage(middle.source, pair.source, motion)
            return found if covers is None else found.scaled(covers)

        if middle.source.is_protected:
            return middle.edited.image
        return average(middle.edited.image, self._cpu_pool.map(aligned, around))


def align(
    source: Image, neighbour_source: Image, neighbour_edited: Image, motion: Motion
) -> Aligned:
    """Warp a neighbour's edited image to the frame, and weight its pixels.

    Args:
        source, neighbour_source, neighbour_edited: uint8 RGB of one shape.
        motion: from the frame to the neighbour.
    """
    height, width = source.shape[:2]
    coordinates = target_coordinates(motion.flow, (width, height))
    weight = _weight(source, remap(neighbour_source, coordinates), motion)
    picture = remap(neighbour_edited, coordinates)
    return Aligned(_times(picture, weight), weight)


def _coverage(frame: Frame, neighbour: Frame, motion: Motion) -> np.ndarray | None:
    """How much of what a frame may change its neighbour may change, too; None: all of it."""
    if neighbour.mask is None:
        return None
    height, width = neighbour.mask.shape
    own = np.full((height, width), 255, np.uint8) if frame.mask is None else frame.mask
    missing = cv2.subtract(own, followed_mask(neighbour.mask, motion.flow))  # at least 0
    return np.asarray(1 - missing / np.float32(255), np.float32)


def average(edited: Image, neighbours: Iterable[Aligned]) -> Image:
    """Average an edited frame with its neighbours by this module's formula."""
    total = edited.astype(np.float32)
    weights = np.ones(total.shape[:2], np.float32)
    for neighbour in neighbours:
        total += neighbour.weighted
        weights += neighbour.weight
    mean = cv2.divide(total, _three_planes(weights), dtype=cv2.CV_8U)  # rounds
    return np.asarray(mean, dtype=np.uint8)


def _weight(source: Image, warped_source: Image, motion: Motion) -> np.ndarray:
    """The weight of a neighbour at each pixel, by its source warped to the frame."""
    height, width = source.shape[:2]
    visible = cv2.resize(
        1 - motion.occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    # In OpenCV throughout: numpy takes five times as long here.
    difference = cv2.subtract(warped_source, source, dtype=cv2.CV_32F)
    squared = cv2.transform(
        cv2.multiply(difference, difference), np.full((1, 3), 1 / 3, np.float32)
    )
    similarity = cv2.exp(cv2.multiply(cv2.blur(squared, (3, 3)), -1 / (2 * SIGMA**2)))
    return np.asarray(cv2.multiply(visible, similarity), dtype=np.float32)


def _times(picture: Image, weight: np.ndarray) -> np.ndarray:
    return np.asarray(
        cv2.multiply(picture, _three_planes(weight), dtype=cv2.CV_32F), dtype=np.float32
    )


def _three_planes(plane: np.ndarray) -> np.ndarray:
    """Stack a plane three times, one for each channel."""
    return np.asarray(cv2.merge([plane, plane, plane]))
