"""Masks made from the pixels of the source: its opacity, its brightness, a screen behind it."""

from __future__ import annotations

import math
from typing import TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Alpha, FullImage, Mask
from ..temporal.flow import Selection

Floats = npt.NDArray[np.float32]
Pixels = TypeVar("Pixels", bound=FullImage)

#: Width of the soft ends of a range of brightness; they lie inside of the range.
_LUMA_RAMP = 0.05
#: BT.709's weights of red, green and blue.
_LUMA = (0.2126, 0.7152, 0.0722)
#: Cb and Cr of full-range BT.601 from colours of 0 to 1.
_CHROMA = np.array([(-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)], np.float32)
#: A screen's share of a pixel's chroma up to which the pixel is protected, and from which on it
#: may change in full.
_SCREEN_RAMP = (0.15, 0.6)
#: A measured screen has at least this much chroma, and at least this share of the pixels.
_LEAST_CHROMA, _LEAST_SHARE = 0.08, 0.005
#: Colours are measured on about so many pixels.
_SAMPLES = 1 << 16


def from_alpha(alpha: Alpha) -> Mask:
    """The opacity in 8 bits: white where the source is opaque. Only opacity 0 becomes 0."""
    if alpha.dtype == np.uint8:
        return np.asarray(alpha, np.uint8)
    return np.asarray(np.maximum(alpha // 257, alpha > 0), np.uint8)


def from_luma(image: FullImage, low: float, high: float) -> Mask:
    """White where the brightness lies between ``low`` and ``high``, 0 to 1, ends included.

    The ends are soft, except at 0 and 1.
    """
    luma = cv2.transform(_unit(image), np.array([_LUMA], np.float32))
    rise = 1.0 if low <= 0 else (luma - low) / _LUMA_RAMP
    fall = 1.0 if high >= 1 else (high - luma) / _LUMA_RAMP
    return _rounded(np.minimum(rise, fall) * np.ones_like(luma))


def from_screen(image: FullImage, color: tuple[int, int, int], *, measured: bool) -> Mask:
    """White where the source shows a screen of one colour.

    Chroma is split into a part x along the screen's hue and a part z across it. ``x - |z|``, as a
    share of the screen's own chroma, is high on the screen, also in its shadows, and negative for
    hues more than 45 degrees away; light that the screen throws on a grey object leaves it low
    (Jack, "Video Demystified", chroma keying).

    Args:
        color: RGB, 0 to 255.
        measured: replace the colour by the median of what has about its hue.
    """
    chroma = cv2.transform(_unit(image), _CHROMA)
    key: Floats = np.asarray(_CHROMA @ (np.array(color, np.float32) / 255), np.float32)
    if measured:
        key = _measured(chroma, key)
    length = float(np.hypot(*key))
    along, across = _rotated(chroma, key)
    low, high = _SCREEN_RAMP
    return _rounded(((along - np.abs(across)) / length - low) / (high - low))


def without_screen(image: Pixels, mask: Mask) -> Pixels:
    """The object's own colours where pixels are a mixture of object and screen.

    ``C = m K + (1 - m) F`` is solved for F, with the screen's colour K, the median of the pixels
    whose m is 1, so that the screen does not shine through at edges. Other pixels are unchanged.

    Args:
        mask: m, of :func:`from_screen`.
    """
    screen, mixed = mask == 255, (mask > 0) & (mask < 255)
    if not screen.any() or not mixed.any():
        return image
    peak = np.iinfo(image.dtype).max
    places = np.flatnonzero(screen)
    sampled = places[:: max(1, len(places) // _SAMPLES)]
    color = np.median(image.reshape(-1, 3)[sampled], axis=0)
    share = mask[mixed][:, None] / np.float32(255)
    own = (image[mixed] - share * color) / (1 - share)
    result = image.copy()
    result[mixed] = np.rint(np.clip(own, 0, peak)).astype(image.dtype)
    return cast(Pixels, result)


def _measured(chroma: Floats, key: Floats) -> Floats:
    """The median chroma of what has about the hue of ``key``; ``key`` where there is little."""
    step = max(1, math.isqrt(chroma.shape[0] * chroma.shape[1] // _SAMPLES))
    chroma = chroma[::step, ::step]
    along, across = _rotated(chroma, key)
    found: Selection = (along > np.abs(across)) & (along > _LEAST_CHROMA)
    if found.mean() < _LEAST_SHARE:
        return key
    return np.asarray(np.median(chroma[found], axis=0), np.float32)


def _rotated(chroma: Floats, key: Floats) -> tuple[Floats, Floats]:
    """The parts of chroma along the direction of ``key`` and across it."""
    x, y = key / np.float32(np.hypot(*key))
    first, second = chroma[..., 0], chroma[..., 1]
    return x * first + y * second, x * second - y * first


def _unit(image: FullImage) -> Floats:
    """Colours from 0 to 1."""
    return np.asarray(image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max), np.float32)


def _rounded(values: Floats) -> Mask:
    return np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)
