"""How stored frames are turned and mirrored to be shown, by the file's display matrix."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
from av.sidedata.sidedata import Type

from ...frame import FullImage
from ...jobs.video_facts import VideoFacts
from .types import VideoFrame

Pixels = TypeVar("Pixels", bound=FullImage)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """``(rotation, mirrored)`` as in :class:`VideoFacts`, of a frame as it was decoded."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return 0, False
    return from_matrix(struct.unpack("=9i", bytes(data)))


def from_matrix(matrix: Sequence[int]) -> tuple[int, bool]:
    """Split a display matrix into clockwise degrees, and whether a mirror follows.

    A stored point (x, y), y downwards, is shown at (a x + c y, b x + d y) for the matrix
    ``a b u c d v x y w`` (ISO/IEC 14496-12, 6.2.2). A mirror left to right changes the signs of
    a and c; what is left then is a rotation. Angles are rounded to 90 degrees.

    Args:
        matrix: 9 numbers, row by row; scale does not matter.

    >>> from_matrix([0, 1, 0, -1, 0, 0, 0, 0, 1]), from_matrix([-1, 0, 0, 0, 1, 0, 0, 0, 1])
    ((90, False), (0, True))
    """
    a, b, _, c, d = matrix[:5]
    mirrored = a * d - b * c < 0
    degrees = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(degrees / 90) * 90 % 360, mirrored


def turn_upright(image: Pixels, facts: VideoFacts) -> Pixels:
    """Crop and turn a stored image, shape ``(height, width, ...)``, as it is to be shown."""
    if any(facts.crop):
        left, top, _, _ = facts.crop
        part = image[top : top + facts.height, left : left + facts.width]
        image = cast(Pixels, np.ascontiguousarray(part))
    if not facts.rotation and not facts.mirrored:
        return image
    turned = np.rot90(image, -(facts.rotation // 90))
    return cast(Pixels, np.ascontiguousarray(turned[:, ::-1] if facts.mirrored else turned))
