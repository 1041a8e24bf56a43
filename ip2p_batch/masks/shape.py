"""Change the shape of masks: invert, grow, soften the edge, reduce to the edit size.

Distances are Euclidean, in pixels, between pixel centres. What is less than half white counts as
protected where a mask grows or shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..frame import Mask
from ..temporal.flow import Selection
from .keys import Floats


@dataclass(frozen=True, slots=True)
class MaskShape:
    """What is done to a mask, in this order.

    Attributes:
        invert: exchange what may change and what is protected.
        grow: pixels by which it grows; negative: shrinks.
        feather: width of its soft edge in pixels, 0 or more.
    """

    invert: bool = False
    grow: int = 0
    feather: int = 0

    def applied(self, mask: Mask) -> Mask:
        """The mask in this shape; ``mask`` itself if that is the same."""
        return feathered(grown(255 - mask if self.invert else mask, self.grow), self.feather)


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask, grown by a disc of that radius, or shrunk by one if it is negative.

    A grown mask is at least ``mask`` everywhere, a shrunk one at most ``mask``.
    """
    if not pixels:
        return mask
    white = mask >= 128
    if pixels > 0:
        near = _distance(~white) <= pixels if white.any() else white
        return np.asarray(np.maximum(mask, 255 * near.astype(np.uint8)), np.uint8)
    if white.all():
        return mask
    return np.asarray(np.where(_distance(white) <= -pixels, 0, mask), np.uint8)


def feathered(mask: Mask, pixels: int) -> Mask:
    """The mask with a soft edge of that width inside of it: protected pixels stay protected.

    The mask becomes at most ``d / (pixels + 1)`` at the distance d from the next protected pixel.
    The edges of the image are not softened.
    """
    changes = mask > 0
    if not pixels or changes.all() or not changes.any():
        return mask
    ramp = np.rint(np.minimum(_distance(changes) / np.float32(pixels + 1), 1) * 255)
    # Every pixel that may change keeps a share, so that the edit is not smaller than the mask.
    return np.asarray(np.minimum(mask, np.maximum(ramp, changes)), np.uint8)


def reduced(mask: Mask, content: tuple[int, int], padding: tuple[int, int]) -> Mask:
    """A mask at the edit size: averages over areas, rounded up, and mirrored into the padding.

    Args:
        content: width and height that the image is scaled to.
        padding: pixels that are then added at the right and at the bottom.

    Returns:
        0 only where no pixel may change.
    """
    height, width = mask.shape
    if (width, height) != content:
        # Apart, since OpenCV averages over areas only where no side grows.
        shrunk = (min(width, content[0]), min(height, content[1]))
        averaged = cv2.resize(mask.astype(np.float32), shrunk, interpolation=cv2.INTER_AREA)
        scaled = cv2.resize(averaged, content, interpolation=cv2.INTER_LINEAR)
        # Averages of 255 in float32 may be a little more, and small ones must not become 0.
        rounded = np.maximum(np.ceil(scaled - 1e-3), scaled > 0)
        mask = np.asarray(np.minimum(rounded, 255), np.uint8)
    right, bottom = padding
    if right or bottom:
        mask = np.pad(mask, ((0, bottom), (0, right)), mode="symmetric")
    return np.ascontiguousarray(mask)


def _distance(inside: Selection) -> Floats:
    """The distance of each pixel to the next one that is not inside; 0 outside."""
    measured = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(measured, np.float32)
