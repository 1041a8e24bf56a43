"""Follow one drawn mask along the motion of its shot.

Frame by frame, away from the frame where the mask was drawn (the *key frame*), the place of each
pixel in the key frame is known by the flow to the neighbour before: ``C_t(p) = C_(t-1)(p + f(p))``.
Errors of such a chain add up, so each step is then corrected: the key frame is warped to frame t by
``C_t``, and where the flow to this image is consistent and the images match, it is added. What
matches counts as seen; the mask is lost where little of it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from ..frame import Image, Mask
from ..temporal.flow import (
    LONGEST_SIDE,
    Flow,
    Motion,
    backward_flow,
    followed_mask,
    remap,
    target_coordinates,
    warp_image,
)

#: A mask counts as lost from the frame on in which less than this share of it is seen.
LEAST_SEEN = 0.5


class Followed(NamedTuple):
    """The mask of one frame.

    Attributes:
        mask: at full size.
        seen: the share of the drawn mask that is still there and matches the key frame, 0 to 1.
    """

    mask: Mask
    seen: float


def follow(drawn: Mask, key: Image, frames: Iterable[Image]) -> Iterator[Followed]:
    """The masks of ``frames``, which come in order, forwards or backwards, from the key frame.

    Args:
        drawn: the mask of the key frame.
        key, frames: uint8 RGB of one shape, of any size; see :func:`small`.
    """
    before, total = key, Motion(*_still(key))
    for frame in frames:
        step = backward_flow(frame, before)
        chained = _then(step.flow, total.flow)
        total = _corrected(frame, key, chained)
        yield Followed(followed_mask(drawn, total.flow), _seen(drawn, total))
        before = frame


def small(image: Image) -> Image:
    """An image as :func:`follow` needs it, reduced to the size at which flow is computed."""
    height, width = image.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _corrected(frame: Image, key: Image, chained: Flow) -> Motion:
    """The motion to the key frame, corrected where the frame matches the warped key frame."""
    expected = np.rint(warp_image(key, chained)).astype(np.uint8)
    rest = backward_flow(frame, expected)
    flow = np.where(rest.occluded[..., None], chained, _then(rest.flow, chained))
    return Motion(np.asarray(flow, np.float32), rest.occluded)


def _then(first: Flow, second: Flow) -> Flow:
    """One flow after the other, both relative to the image: ``first(p) + second(p + first(p))``."""
    height, width = first.shape[:2]
    moved = remap(second, target_coordinates(first, (width, height)))
    return np.asarray(np.add(first, moved), np.float32)


def _seen(drawn: Mask, motion: Motion) -> float:
    height, width = motion.occluded.shape
    key = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA) >= 128
    here = followed_mask(np.asarray(255 * key, np.uint8), motion.flow) >= 128
    return min(1.0, float((here & ~motion.occluded).sum() / max(1, key.sum())))


def _still(key: Image) -> Motion:
    """No motion, in the shape of the flows of ``key``."""
    motion = backward_flow(key, key)
    return Motion(np.zeros_like(motion.flow), np.zeros_like(motion.occluded))
