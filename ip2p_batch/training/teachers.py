"""Edits that a program can make: what the bundled model learns to do when it is told to.

Each teacher is a function of the picture alone. It draws no random numbers and does not look at
where a pixel is, only at its surroundings: moved by some pixels, the picture gets the same edit
moved likewise. So a video edited by a teacher is as steady as its source, and every flicker of a
model that learned from it is the model's own.

Strengths are chosen so that someone who sees only the result can name the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

#: Values 0 to 1, shape ``(height, width, 3)`` or, for luma and masks, ``(height, width)``.
Plane = npt.NDArray[np.float32]
Teacher = Callable[[Image], Image]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in most of the tools imitated
_MIRROR = cv2.BORDER_REFLECT_101


# -- parts --------------------------------------------------------------------------------


def to_float(image: Image) -> Plane:
    """uint8 pixels as values from 0 to 1."""
    return image.astype(np.float32) / np.float32(255)


def to_image(values: Plane) -> Image:
    """The reverse of :func:`to_float`; clips, and repeats a single plane for all colours."""
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return np.ascontiguousarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))


def luma(values: Plane) -> Plane:
    """Brightness as seen, shape ``(height, width)``."""
    grey: Plane = values @ _LUMA
    return grey


def smoothstep(values: Plane, low: float, high: float) -> Plane:
    """0 below ``low``, 1 above ``high``, ``t*t*(3 - 2*t)`` between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    result: Plane = (t * t * (3 - 2 * t)).astype(np.float32)
    return result


def saturated(values: Plane, factor: float) -> Plane:
    """Colours pushed away from grey by ``factor``; below 1 towards it."""
    grey = luma(values)[..., None]
    return grey + (values - grey) * np.float32(factor)


def blurred(values: Plane, sigma: float) -> Plane:
    """Gaussian blur, ``sigma`` in pixels."""
    result: Plane = cv2.GaussianBlur(values, (0, 0), sigma, borderType=_MIRROR)
    return result


def kuwahara(values: Plane, radius: int) -> Plane:
    """Each pixel becomes the mean of the calmest of the four squares it is a corner of.

    Flat patches with sharp borders, like strokes of a brush (Kuwahara et al., 1976).
    """
    size = (radius + 1, radius + 1)
    grey = luma(values)
    means, variances = [], []
    for anchor in ((0, 0), (radius, 0), (0, radius), (radius, radius)):
        mean = cv2.blur(grey, size, anchor=anchor, borderType=_MIRROR)
        square = cv2.blur(grey * grey, size, anchor=anchor, borderType=_MIRROR)
        means.append(cv2.blur(values, size, anchor=anchor, borderType=_MIRROR))
        variances.append(square - mean * mean)
    calmest = np.argmin(np.stack(variances), axis=0)[None, ..., None]
    chosen: Plane = np.take_along_axis(np.stack(means), calmest, axis=0)[0]
    return chosen


def edges(grey: Plane, sigma: float, low: float, high: float) -> Plane:
    """How much of an edge each pixel is: smoothed gradient of brightness, 0 to 1."""
    soft = blurred(grey, sigma)
    across = cv2.Sobel(soft, -1, 1, 0, ksize=3, borderType=_MIRROR)
    down = cv2.Sobel(soft, -1, 0, 1, ksize=3, borderType=_MIRROR)
    return smoothstep(np.hypot(across, down), low, high)


def mixed(first: Plane, second: Plane, share: Plane) -> Plane:
    """``first`` where ``share`` is 0, ``second`` where it is 1."""
    weight = share[..., None] if share.ndim == 2 else share
    return first + (second - first) * weight


def _color(*rgb: float) -> Plane:
    return np.array(rgb, np.float32)


def _hsv(values: Plane) -> tuple[Plane, Plane, Plane]:
    """Hue in degrees, saturation and value from 0 to 1."""
    hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
    return hsv[..., 0], hsv[..., 1], hsv[..., 2]


def _ramp(grey: Plane, stops: tuple[tuple[float, Plane], ...]) -> Plane:
    """Brightness as a colour between those of ``stops``, which are in rising order."""
    at = [stop for stop, _ in stops]
    return np.stack(
        [np.interp(grey, at, [color[c] for _, color in stops]) for c in range(3)], axis=-1
    ).astype(np.float32)


# -- edits --------------------------------------------------------------------------------


def keep(image: Image) -> Image:
    """The picture as it is."""
    return image.copy()


def black_and_white(image: Image) -> Image:
    """Brightness only."""
    return to_image(luma(to_float(image)))


def sepia(image: Image) -> Image:
    """Brightness in browns, on slightly yellowed paper."""
    grey = luma(to_float(image))[..., None]
    return to_image(grey**0.95 * _color(1.07, 0.86, 0.60) + _color(0.06, 0.035, 0.0))


def negative(image: Image) -> Image:
    """Every value its opposite, as on film."""
    return np.ascontiguousarray(255 - image)


def night(image: Image) -> Image:
    """Dark, blue, and short of colour, as eyes see by the moon."""
    values = saturated(to_float(image), 0.45)
    dark: Plane = np.power(np.maximum(values, 0), np.float32(1.35), dtype=np.float32)
    return to_image(dark * _color(0.28, 0.38, 0.72) + _color(0, 0.01, 0.05))


def pencil(image: Image) -> Image:
    """A drawing on white paper: brightness divided by its own surroundings, darks hatched grey."""
    grey = luma(to_float(image))
    dodge = np.clip(grey / np.maximum(blurred(grey, 5), 0.01), 0, 1) ** 3
    return to_image(dodge * 0.97 * (0.86 + 0.14 * smoothstep(grey, 0.0, 0.45)))


def watercolor(image: Image) -> Image:
    """Flat washes with darker rims, thin paint on white paper."""
    washes = saturated(kuwahara(kuwahara(to_float(image), 5), 4), 1.3)
    grey = luma(washes)
    rims = np.maximum(blurred(grey, 2.5) - grey, 0)
    return to_image(1 - (1 - (washes - 0.9 * rims[..., None])) * 0.70)


def oil(image: Image) -> Image:
    """Broad opaque strokes in strong colours."""
    return to_image((saturated(kuwahara(kuwahara(to_float(image), 6), 5), 1.55) - 0.5) * 1.15 + 0.5)


def cartoon(image: Image) -> Image:
    """Few tones, strong colours, black outlines."""
    smooth = image
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 7, 45, 7, borderType=_MIRROR)
    values = to_float(smooth)
    grey = luma(values)
    # Soft steps: a hard threshold would make noise jump by a whole tone.
    steps = grey * 5 - 0.5
    tones = (np.floor(steps) + smoothstep(steps - np.floor(steps), 0.35, 0.65) + 0.5) / 5
    flat = saturated(values * (0.25 + 0.75 * tones / np.maximum(grey, 0.04))[..., None], 1.6)
    soft = blurred(luma(to_float(image)), 1.1)
    outline = smoothstep(blurred(soft, 2.2) - soft, 0.02, 0.06)
    return to_image(mixed(flat, _color(0.03, 0.03, 0.03), outline))


def fog(image: Image) -> Image:
    """A pale veil over everything, details soft."""
    values = saturated(blurred(to_float(image), 1.6), 0.5)
    return to_image(0.36 * values + 0.64 * _color(0.80, 0.82, 0.84))


def winter(image: Image) -> Image:
    """Whatever is coloured like plants or earth lies under snow; the rest is cold and pale."""
    values = to_float(image)
    hue, saturation, _ = _hsv(values)
    ground = smoothstep(saturation, 0.10, 0.30) * (1 - smoothstep(np.abs(hue - 75), 75, 105))
    grey = luma(values)[..., None]
    snow = (0.30 + 1.05 * grey**0.75) * _color(0.95, 0.98, 1.03)
    cold = saturated(values, 0.45) * 1.12 + _color(0.05, 0.07, 0.11)
    return to_image(mixed(cold, snow, 0.95 * ground))


def autumn(image: Image) -> Image:
    """Greens turn orange and red, the light is warm."""
    values = to_float(image)
    hue, saturation, value = _hsv(values)
    green = smoothstep(hue, 35, 60) * (1 - smoothstep(hue, 160, 185))
    green = green * smoothstep(saturation, 0.06, 0.18)
    turned = np.dstack(
        [
            np.clip(18 + (hue - 60) * 0.12, 8, 40),
            np.clip(saturation * 1.5 + 0.25, 0, 0.95),
            np.clip(value * 1.15 + 0.05, 0, 1),
        ]
    ).astype(np.float32)
    leaves = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)
    return to_image(mixed(values, leaves, green) * _color(1.10, 0.98, 0.80) + _color(0.03, 0.01, 0))


def sunset(image: Image) -> Image:
    """Low orange light, shadows purple."""
    values = to_float(image)
    grey = luma(values)
    tint = mixed(
        np.broadcast_to(_color(0.30, 0.08, 0.22), values.shape),
        _color(1.0, 0.70, 0.32),
        smoothstep(grey, 0, 1),
    )
    warm = 0.45 * values * _color(1.15, 0.82, 0.60)
    return to_image(warm + 0.62 * tint * (0.35 + 0.75 * grey[..., None]))


def blueprint(image: Image) -> Image:
    """White lines on blue."""
    grey = luma(to_float(image))
    lines = edges(grey, 1.0, 0.06, 0.45)
    paper = _color(0.04, 0.16, 0.46) + 0.10 * grey[..., None]
    return to_image(mixed(paper, _color(0.90, 0.95, 1.0), lines))


def contrast(image: Image) -> Image:
    """Darks darker, lights lighter, colours stronger."""
    values = 1 / (1 + np.exp(-9 * (to_float(image) - 0.5)))
    return to_image(saturated(((values - 0.011) / 0.978).astype(np.float32), 1.2))


def blur(image: Image) -> Image:
    """Out of focus."""
    return to_image(blurred(to_float(image), 5))


def underwater(image: Image) -> Image:
    """Red is gone, blue-green light, details soft."""
    values = saturated(blurred(to_float(image), 1.0), 0.5)
    return to_image(values * _color(0.18, 0.72, 0.80) + _color(0, 0.12, 0.20))


def thermal(image: Image) -> Image:
    """As a heat camera shows it: dark is violet, then red and orange, bright is yellow-white."""
    stops = (
        (0.0, _color(0.02, 0.0, 0.20)),
        (0.25, _color(0.45, 0.0, 0.60)),
        (0.5, _color(0.90, 0.15, 0.25)),
        (0.75, _color(1.0, 0.65, 0.05)),
        (1.0, _color(1.0, 1.0, 0.85)),
    )
    return to_image(_ramp(blurred(luma(to_float(image)), 1.0), stops))


def neon(image: Image) -> Image:
    """Glowing coloured outlines on black."""
    values = to_float(image)
    lines = edges(luma(values), 1.2, 0.08, 0.50)
    strong = saturated(values, 2.5)
    bright = strong / np.maximum(strong.max(axis=2, keepdims=True), 0.35)
    glow = blurred(bright * lines[..., None], 2.5)
    return to_image(0.08 * values * _color(0.6, 0.4, 1.0) + bright * lines[..., None] + 0.9 * glow)


#: Name -> teacher. ``keep`` comes first: it is what every other one is compared with.
TEACHERS: Mapping[str, Teacher] = MappingProxyType(
    {
        teacher.__name__: teacher
        for teacher in (
            keep, black_and_white, sepia, negative, night, pencil, watercolor, oil, cartoon, fog,
            winter, autumn, sunset, blueprint, contrast, blur, underwater, thermal, neon,
        )
    }
)  # fmt: skip
