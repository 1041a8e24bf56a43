"""Colours of transparent pixels, so that what is invisible never shows.

A file may hold any colour under opacity 0. Scaling, the model and the transfer to full size look at
neighbours, so such colours would reach visible pixels. They are replaced by a smooth continuation
of the visible ones: averages weighted by opacity over ever larger blocks, from the smallest block
that has an answer (push-pull, Gortler et al., "The Lumigraph", SIGGRAPH 1996, 4.3).
"""

from __future__ import annotations

from typing import TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Alpha, FullImage
from .depth import Samples8, Samples16

Pixels = TypeVar("Pixels", bound=FullImage)
Floats = npt.NDArray[np.float32]

#: Rows that are weighted at a time; even.
_STRIP = 256
#: Opacity from which no difference is visible. Conversions between depths often leave 99.7 %.
_OPAQUE = 0.99


def fill_hidden(image: Pixels, alpha: Alpha) -> Pixels:
    """Replace the colours of pixels with opacity 0; they have no influence on the result.

    Args:
        image: uint8 or uint16, shape ``(height, width, 3)``.
        alpha: its opacity.

    Returns:
        ``image`` itself if all of it is visible; black where none of it is.
    """
    hidden = alpha == 0
    if not hidden.any():
        return image
    if hidden.all():
        return np.zeros_like(image)
    filled = image.copy()
    filled[hidden] = _background(image, alpha)[hidden]
    return cast(Pixels, filled)


def weigh_visible(image: Pixels, alpha: Alpha) -> Pixels:
    """Replace each colour by a mix of itself, by its opacity, and of its surroundings.

    So the model sees a colour only as much as a viewer does.

    Args, returns: as :func:`fill_hidden`.
    """
    peak = int(np.iinfo(alpha.dtype).max)
    if (alpha == peak).all():
        return image
    if not alpha.any():
        return np.zeros_like(image)
    mixed = _background(image, alpha)
    for start in range(0, len(image), _STRIP):
        rows = slice(start, start + _STRIP)
        weight = alpha[rows, :, None].astype(np.uint64)
        own, around = image[rows].astype(np.uint64), mixed[rows].astype(np.uint64)
        mixed[rows] = (own * weight + around * (peak - weight) + peak // 2) // peak
    return mixed


def partly_visible(alpha: Alpha) -> npt.NDArray[np.bool_]:
    """Where pixels are neither hidden nor opaque to the eye."""
    return np.asarray((alpha > 0) & (alpha < _OPAQUE * np.iinfo(alpha.dtype).max))


def _background(image: Pixels, alpha: Alpha) -> Pixels:
    """A smooth image of the visible colours, defined everywhere; like ``image``.

    Args:
        alpha: with at least one value above 0.
    """
    height, width = alpha.shape
    half = ((height + 1) // 2, (width + 1) // 2)
    colours, weights = np.empty((*half, 3), np.float32), np.empty(half, np.float32)
    peak = np.float32(np.iinfo(alpha.dtype).max)
    for start in range(0, height, _STRIP):
        weight = alpha[start : start + _STRIP].astype(np.float32) / peak
        weighted = image[start : start + _STRIP].astype(np.float32) * weight[..., None]
        rows = slice(start // 2, (start + _STRIP) // 2)
        colours[rows], weights[rows] = _halved(weighted, weight)
    small = _pulled(colours, weights)
    rounded = np.clip(np.rint(small), 0, np.iinfo(image.dtype).max).astype(image.dtype)
    enlarged = cv2.resize(rounded, (2 * half[1], 2 * half[0]), interpolation=cv2.INTER_LINEAR)
    return cast(Pixels, np.ascontiguousarray(enlarged[:height, :width]))


def _pulled(colours: Floats, weights: Floats) -> Floats:
    """Colours everywhere: own averages by their weight, the rest from blocks twice as large.

    Args:
        colours: averages of colours times opacity, shape ``(height, width, 3)``.
        weights: averages of opacity from 0 to 1, shape ``(height, width)``.
    """
    height, width = weights.shape
    least = np.float32(1e-12)
    own: Floats = (colours / np.maximum(weights, least)[..., None]).astype(np.float32)
    if (height, width) == (1, 1):
        return own
    coarse = _pulled(*_halved(colours, weights))
    size = (2 * coarse.shape[1], 2 * coarse.shape[0])
    around = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    around = around.reshape(*size[::-1], 3)[:height, :width]
    share = weights[..., None]
    return np.asarray(share * own + (1 - share) * around, np.float32)


def _halved(colours: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Averages over blocks of 2 x 2; what is beyond an odd side has weight 0."""
    height, width = weights.shape
    odd = ((0, height % 2), (0, width % 2))
    colours, weights = np.pad(colours, (*odd, (0, 0))), np.pad(weights, odd)
    return _block_means(colours), _block_means(weights)


def _block_means(planes: Floats) -> Floats:
    rows = planes[::2] + planes[1::2]
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / 4, np.float32)


def on_black(image: Pixels, alpha: Alpha | None) -> Pixels:
    """The image over a black ground; ``image`` itself without opacity."""
    if alpha is None:
        return image
    peak = int(np.iinfo(alpha.dtype).max)
    shown = (image.astype(np.uint64) * alpha[..., None].astype(np.uint64) + peak // 2) // peak
    return cast(Pixels, shown.astype(image.dtype))


def divided_by_alpha(
    colors: Samples8 | Samples16, alpha: Samples8 | Samples16
) -> Samples8 | Samples16:
    """Divide colours that alpha was multiplied into, where it is not zero.

    Args:
        colors: shape ``(height, width, channels)``.
        alpha: shape ``(height, width)``, of the same type.
    """
    white = int(np.iinfo(colors.dtype).max)
    weight = alpha[..., None].astype(np.float32)
    scale = np.divide(white, weight, out=np.zeros_like(weight), where=weight > 0)
    return cast(Samples16, np.minimum(np.rint(colors * scale), white).astype(colors.dtype))
