"""The tone curve: any function of luma from 0 to 1, piecewise linear.

Contrast curves and palettes change colours by their luma l, and not in proportion. The colours'
own part of the model is a line, ``B s + c``; the hats

    h_k(l) = max(0, 1 - |8 l - k|),   k = 1 .. 7

add every function that is linear between multiples of 1/8 (linear B-splines). At full size they see
the source's own luma, so that steps of a palette are as sharp as its edges.
"""

from __future__ import annotations

import numpy as np

from .kernels import Floats

#: Pieces of the curve.
PIECES = 8
#: Number of hats: the ends belong to the line.
COUNT = PIECES - 1


def hats(luma: Floats) -> Floats:
    """All h_k of a plane ``(h, w)``: ``(7, h, w)``."""
    places = np.clip(luma, 0, 1) * np.float32(PIECES)
    knots = np.arange(1, PIECES, dtype=np.float32)[:, None, None]
    return np.asarray(np.maximum(0, 1 - np.abs(places - knots)), dtype=np.float32)


def table(curve: Floats) -> Floats:
    """The curve at its knots, both ends included: ``(3, 7)`` weights of hats to ``(3, 9)``."""
    return np.ascontiguousarray(np.pad(curve, ((0, 0), (1, 1))))
