"""Deflicker: smooth the brightness of whole frames within a shot.

The brightness of some edits pulses: the whole image is lighter in one frame and darker in the
next. Each frame's mean luma l is scaled to a mean over its neighbours, like ffmpeg's ``deflicker``.
Unlike there, a neighbour is weighted by the similarity of the SOURCE's mean luma s, so that a
flash, a fade or a lamp in the scene remains::

    gain_t = (sum_s w_s l_s / sum_s w_s) / l_t,   w_s = exp(-(s_s - s_t)^2 / (2 sigma^2)),  w_t = 1

With masks, both lumas are means over what may change, and protected frames do not count.

It does not treat flicker of parts of an image, or of colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..frame import Image, Mask
from .pipeline import Pair

#: Standard deviation of the weight over the difference of the sources' mean luma, in grey levels.
SIGMA = 3.0
#: No frame is made lighter or darker by more than this factor.
MAX_GAIN = 1.25
#: BT.601's weights of red, green and blue.
_LUMA = np.array((0.299, 0.587, 0.114))


class Deflicker:
    """A stage of :class:`~.pipeline.TemporalPipeline`.

    Args:
        radius: neighbours on either side, at least 1. ffmpeg's default window of 5 is radius 2.
    """

    def __init__(self, radius: int) -> None:
        self._radius = radius

    @property
    def radius(self) -> int:
        return self._radius

    def apply(self, middle: Pair, around: Sequence[Pair]) -> Image:
        if middle.source.is_protected:
            return middle.edited.image
        pairs = [pair for pair in (middle, *around) if not pair.source.is_protected]
        masks = [pair.source.mask for pair in pairs]
        factor = gain(
            [luma(pair.source.image, own) for pair, own in zip(pairs, masks, strict=True)],
            [luma(pair.edited.image, own) for pair, own in zip(pairs, masks, strict=True)],
        )
        image = np.rint(middle.edited.image * np.float32(factor))
        return np.asarray(np.clip(image, 0, 255), dtype=np.uint8)


def luma(image: Image, mask: Mask | None = None) -> float:
    """Mean brightness of a uint8 RGB image, 0 to 255, weighted by the mask if there is one."""
    if mask is None:
        return float(image.reshape(-1, 3).mean(axis=0) @ _LUMA)
    weights = mask.reshape(-1).astype(np.float64)
    return float(weights @ image.reshape(-1, 3) / weights.sum() @ _LUMA)


def gain(sources: Sequence[float], edited: Sequence[float]) -> float:
    """The gain of a frame by this module's formula.

    Args:
        sources, edited: mean lumas of the frame, then of its neighbours.

    >>> gain([100, 100, 100], [110, 100, 90])
    0.9090909090909091
    >>> gain([100, 200, 200], [100, 200, 200])  # the scene itself got lighter
    1.0
    """
    weights = np.exp(-np.square(np.subtract(sources, sources[0])) / (2 * SIGMA**2))
    target = float(weights @ np.asarray(edited) / weights.sum())
    factor = target / max(edited[0], 1.0)
    return min(max(factor, 1 / MAX_GAIN), MAX_GAIN)
