"""A motion-compensated temporal filter: each edited frame is averaged with its neighbours.

What a model invents anew in every frame averages out; what belongs to the scene is met again along
the SOURCE's motion and stays. The way of video denoising and of x265's ``--mctf``. A neighbour's
pixel counts by how visible it is and by how much the source itself looks alike at both ends, so
that nothing is carried over what the flow got wrong::

    out(p) = sum_s w_s(p) O_s(p + f_s(p)) / sum_s w_s(p),    w_t = 1,
    w_s = visible_s(p) exp(-|S_s(p + f_s(p)) - S_t(p)|^2 / (2 sigma^2)),   s = t - r .. t + r

Since the neighbours are within r frames, flow is at its best and nothing drifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..frame import Frame, Image
from ..threads import CpuPool
from .flow import Motion, backward_flow, flow_both_ways, looked_up, places
from .pipeline import Pair

#: Grey levels by which the source may differ along the motion before a neighbour counts for less.
SIGMA = 8.0


class Aligned(NamedTuple):
    """A neighbour at the frame's own places.

    Attributes:
        weighted: its edited picture times the weight, float32, shape ``(height, width, 3)``.
        weight: 0 to 1, float32, shape ``(height, width)``.
    """

    weighted: np.ndarray
    weight: np.ndarray


class TemporalFilter:
    """The filter as a stage of :class:`~.temporal_pipeline.TemporalPipeline`.

    Args:
        radius: neighbours on either side, at least 1.
        cpu_pool: each takes a neighbour.
    """

    def __init__(self, radius: int, cpu_pool: CpuPool | None = None) -> None:
        self._radius = radius
        self._helpers = cpu_pool or CpuPool()
        #: Motions that later frames will ask for, by target and reference.
        self._known: dict[tuple[int, int], Motion] = {}

    @property
    def radius(self) -> int:
        return self._radius

    def apply(self, middle: Pair, around: Sequence[Pair]) -> Image:
        source = middle.source.image

        def aligned(pair: Pair) -> Aligned:
            motion = self._motion(middle.source, pair.source)
            return align(source, pair.source.image, pair.edited.image, motion)

        return average(middle.edited.image, self._helpers.map(aligned, around))

    def _motion(self, target: Frame, reference: Frame) -> Motion:
        known = self._known.pop((target.index, reference.index), None)
        if known is not None:
            return known
        if reference.index < target.index:  # nobody will ask for the way back
            return backward_flow(target.image, reference.image)
        there, back = flow_both_ways(target.image, reference.image)
        self._known[reference.index, target.index] = back
        return there


def align(source: Image, their_source: Image, their_edited: Image, motion: Motion) -> Aligned:
    """A neighbour's edited picture as the frame would show it, and how much it counts there.

    Args:
        source, their_source, their_edited: uint8 RGB of one shape.
        motion: from the frame to the neighbour.
    """
    height, width = source.shape[:2]
    where = places(motion.flow, (width, height))
    weight = _trust(source, looked_up(their_source, where), motion)
    picture = looked_up(their_edited, where)
    return Aligned(_times(picture, weight), weight)


def average(edited: Image, neighbours: Iterable[Aligned]) -> Image:
    """The edited frame averaged with its neighbours, as in this module's formula."""
    total = edited.astype(np.float32)
    weights = np.ones(total.shape[:2], np.float32)
    for neighbour in neighbours:
        total += neighbour.weighted
        weights += neighbour.weight
    mean = cv2.divide(total, _three(weights), dtype=cv2.CV_8U)  # rounds
    return np.asarray(mean, dtype=np.uint8)


def _trust(source: Image, aligned: Image, motion: Motion) -> np.ndarray:
    """How much a neighbour counts at each pixel, by its source's picture at the frame's places."""
    height, width = source.shape[:2]
    visible = cv2.resize(
        1 - motion.occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    # OpenCV's arithmetic throughout: numpy takes five times as long here.
    off = cv2.subtract(aligned, source, dtype=cv2.CV_32F)
    gap = cv2.transform(cv2.multiply(off, off), np.full((1, 3), 1 / 3, np.float32))
    alike = cv2.exp(cv2.multiply(cv2.blur(gap, (3, 3)), -1 / (2 * SIGMA**2)))
    return np.asarray(cv2.multiply(visible, alike), dtype=np.float32)


def _times(picture: Image, weight: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.multiply(picture, _three(weight), dtype=cv2.CV_32F), dtype=np.float32)


def _three(plane: np.ndarray) -> np.ndarray:
    """The plane for each of three colours."""
    return np.asarray(cv2.merge([plane, plane, plane]))
