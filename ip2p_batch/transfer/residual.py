"""What the model of an edit does not explain: keep new objects, leave out noise.

The residual has three parts. The image model's noise differs from pixel to pixel. Lines are drawn
at the edit size, so they are too coarse for the full size; the structure features draw them anew.
Both change sign within a few pixels. An added or removed object does not: its residual keeps its
sign over an area. So the gate looks at the residual R after a blur G::

    gate = G_out max(0, 1 - tau^2 / |G R|^2),    kept = gate R
"""

from __future__ import annotations

import cv2
import numpy as np

from .kernels import Floats

#: tau: root mean square, over colours from 0 to 1, below which a residual counts as noise.
THRESHOLD = 0.1
#: The blurs, as a part of the longest side: 4 and 2 pixels of 256.
_ENERGY_BLUR, _EDGE_BLUR = 1 / 64, 1 / 128

_MIRROR = cv2.BORDER_REFLECT


def gated(residual: Floats) -> Floats | None:
    """The part of a residual that is kept.

    Args:
        residual: shape ``(3, h, w)``.

    Returns:
        shape ``(h, w, 3)``; None if nothing is kept.
    """
    image = np.ascontiguousarray(residual.transpose(1, 2, 0))
    weight = gate(image)
    return image * weight[..., None] if weight.any() else None


def gate(residual: Floats) -> Floats:
    """The gate of this module's formula, 0 to 1, shape ``(h, w)``, for ``(h, w, 3)``."""
    longest = max(residual.shape[:2])
    blurred = cv2.GaussianBlur(residual, (0, 0), longest * _ENERGY_BLUR, borderType=_MIRROR)
    weight = shrinkage(np.square(blurred).mean(axis=2), THRESHOLD)
    soft = cv2.GaussianBlur(weight, (0, 0), longest * _EDGE_BLUR, borderType=_MIRROR)
    return np.asarray(soft, dtype=np.float32)


def shrinkage(energy: Floats, threshold: float) -> Floats:
    """``max(0, 1 - threshold^2 / energy)``: the Wiener-like shrinkage of wavelet denoising.

    Args:
        energy: mean square over colours from 0 to 1.
        threshold: root mean square below which all is noise.
    """
    weight = np.maximum(0, 1 - threshold**2 / np.maximum(energy, 1e-9))
    return np.asarray(weight, dtype=np.float32)
