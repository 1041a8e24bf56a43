"""A motion-compensated temporal filter: each edited frame is averaged with its neighbours.

What a model invents anew in every frame averages out; what belongs to the scene is met again along
the SOURCE's motion and stays. The way of video denoising and of x265's ``--mctf``. A neighbour's
pixel counts by how visible it is and by how much the source itself looks alike at both ends, so
that nothing is carried over what the flow got wrong::

    out(p) = sum_s w_s(p) O_s(p + f_s(p)) / sum_s w_s(p),    w_t = 1,
    w_s = visible_s(p) exp(-|S_s(p + f_s(p)) - S_t(p)|^2 / (2 sigma^2)),   s = t - r .. t + r

Works on finished pictures, so it costs no steps of the model; and since the neighbours are within
r frames, flow is at its best and nothing drifts.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from ..flow import Motion, backward_flow, moved
from ..frame import Frame, Image

#: Grey levels by which the source may differ along the motion before a neighbour counts for less.
SIGMA = 8.0


class TemporalFilter:
    """Takes the frames of one shot in order and gives them back filtered, ``radius`` later.

    Args:
        radius: neighbours on either side, at least 1.
    """

    def __init__(self, radius: int) -> None:
        self._radius = radius
        self._held: deque[tuple[Frame, Frame]] = deque()
        self._waiting = 0

    def push(self, source: Frame, edited: Frame) -> list[Frame]:
        """The next frame; returns those that now have all their neighbours."""
        self._held.append((source, edited))
        self._waiting += 1
        return self._give(self._radius)

    def rest(self) -> list[Frame]:
        """The last frames; they have no more neighbours to come."""
        given = self._give(0)
        self._held.clear()
        return given

    def _give(self, left: int) -> list[Frame]:
        given = []
        while self._waiting > left:
            at = len(self._held) - self._waiting
            given.append(self._filtered(at))
            self._waiting -= 1
            if at >= self._radius:
                self._held.popleft()
        return given

    def _filtered(self, at: int) -> Frame:
        source, edited = self._held[at]
        low, high = max(0, at - self._radius), at + self._radius + 1
        around = [pair for n, pair in enumerate(self._held) if low <= n < high and n != at]
        images = [(theirs.image, mine.image) for theirs, mine in around]
        return edited.with_image(average(source.image, edited.image, images))


def average(source: Image, edited: Image, around: list[tuple[Image, Image]]) -> Image:
    """The edited frame averaged with its neighbours, as in this module's formula.

    Args:
        source, edited: the frame, uint8 RGB of one shape.
        around: ``(source, edited)`` of each neighbour, same shape.
    """
    total = edited.astype(np.float32)
    weights = np.ones(total.shape[:2], np.float32)
    for their_source, their_edited in around:
        motion = backward_flow(source, their_source)
        weight = _trust(source, their_source, motion)
        total += moved(their_edited, motion.flow) * weight[..., None]
        weights += weight
    mean = np.clip(np.rint(total / weights[..., None]), 0, 255)
    return np.asarray(mean, dtype=np.uint8)


def _trust(source: Image, neighbour: Image, motion: Motion) -> np.ndarray:
    height, width = source.shape[:2]
    visible = cv2.resize(
        1 - motion.occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    gap = np.square(moved(neighbour, motion.flow) - source.astype(np.float32)).mean(-1)
    alike = np.exp(-cv2.blur(gap, (3, 3)) / (2 * SIGMA**2))
    return np.asarray(visible * alike, dtype=np.float32)
