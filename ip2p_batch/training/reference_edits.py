"""Reference edits: image filters that the bundled model learns to imitate.

Each reference edit is a deterministic function of the image alone. It is translation-invariant: it
uses the neighborhood of a pixel, not its position. A shifted image gets the same edit, shifted. A
video edited frame by frame with a reference edit is therefore as steady as its source, so any
flicker of a model trained on these edits comes from the model.

The effects are strong enough to recognize the edit from the result alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

#: Values in [0, 1], shape ``(height, width, 3)``, or ``(height, width)`` for luma and masks.
Plane = npt.NDArray[np.float32]
ReferenceEdit = Callable[[Image], Image]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in most image editors
_MIRROR = cv2.BORDER_REFLECT_101


# -- building blocks ----------------------------------------------------------------------


def to_float(image: Image) -> Plane:
    """Convert uint8 pixels to values in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def to_image(values: Plane) -> Image:
    """Convert values in [0, 1] to uint8 pixels; clip, and repeat a single plane three times."""
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return np.ascontiguousarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))


def luma(values: Plane) -> Plane:
    """Return the perceived brightness, shape ``(height, width)``."""
    grey: Plane = values @ _LUMA
    return grey


def smoothstep(values: Plane, low: float, high: float) -> Plane:
    """Return 0 below ``low``, 1 above ``high``, and ``t*t*(3 - 2*t)`` between them."""
    t = np.clip((values - low) / (high - low), 0, 1)
    result: Plane = (t * t * (3 - 2 * t)).astype(np.float32)
    return result


def saturated(values: Plane, factor: float) -> Plane:
    """Multiply the distance of each color from grey by ``factor``."""
    grey = luma(values)[..., None]
    return grey + (values - grey) * np.float32(factor)


def blurred(values: Plane, sigma: float) -> Plane:
    """Apply a Gaussian blur, ``sigma`` in pixels."""
    result: Plane = cv2.GaussianBlur(values, (0, 0), sigma, borderType=_MIRROR)
    return result


def kuwahara(values: Plane, radius: int) -> Plane:
    """Apply the Kuwahara filter: flat patches with sharp edges, like brush strokes.

    Each pixel becomes the mean of the square with the lowest variance among the four squares of
    which it is a corner (Kuwahara et al., 1976).

    Args:
        values: shape ``(height, width, 3)``.
        radius: side of the squares in pixels, minus 1.
    """
    size = (radius + 1, radius + 1)
    grey = luma(values)
    means, variances = [], []
    for anchor in ((0, 0), (radius, 0), (0, radius), (radius, radius)):
        mean = cv2.blur(grey, size, anchor=anchor, borderType=_MIRROR)
        square = cv2.blur(grey * grey, size, anchor=anchor, borderType=_MIRROR)
        means.append(cv2.blur(values, size, anchor=anchor, borderType=_MIRROR))
        variances.append(square - mean * mean)
    smoothest = np.argmin(np.stack(variances), axis=0)[None, ..., None]
    chosen: Plane = np.take_along_axis(np.stack(means), smoothest, axis=0)[0]
    return chosen


def edges(grey: Plane, sigma: float, low: float, high: float) -> Plane:
    """Return the edge strength of each pixel, 0 to 1: the gradient of the blurred brightness."""
    soft = blurred(grey, sigma)
    horizontal = cv2.Sobel(soft, -1, 1, 0, ksize=3, borderType=_MIRROR)
    vertical = cv2.Sobel(soft, -1, 0, 1, ksize=3, borderType=_MIRROR)
    return smoothstep(np.hypot(horizontal, vertical), low, high)


def mixed(first: Plane, second: Plane, alpha: Plane) -> Plane:
    """Blend two images: ``first`` where ``alpha`` is 0, ``second`` where it is 1."""
    weight = alpha[..., None] if alpha.ndim == 2 else alpha
    return first + (second - first) * weight


def _color(*rgb: float) -> Plane:
    return np.array(rgb, np.float32)


def _hsv(values: Plane) -> tuple[Plane, Plane, Plane]:
    """Return hue in degrees, saturation and value in [0, 1]."""
    hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
    return hsv[..., 0], hsv[..., 1], hsv[..., 2]


def _ramp(grey: Plane, stops: tuple[tuple[float, Plane], ...]) -> Plane:
    """Map brightness to a color gradient; ``stops`` are in increasing order."""
    positions = [position for position, _ in stops]
    return np.stack(
        [np.interp(grey, positions, [color[c] for _, color in stops]) for c in range(3)], axis=-1
    ).astype(np.float32)


# -- edits --------------------------------------------------------------------------------


def keep(image: Image) -> Image:
    """Leave the image unchanged."""
    return image.copy()


def black_and_white(image: Image) -> Image:
    """Remove all color."""
    return to_image(luma(to_float(image)))


def sepia(image: Image) -> Image:
    """Map brightness to browns, on slightly yellowed paper."""
    grey = luma(to_float(image))[..., None]
    return to_image(grey**0.95 * _color(1.07, 0.86, 0.60) + _color(0.06, 0.035, 0.0))


def negative(image: Image) -> Image:
    """Invert every value, as on negative film."""
    return np.ascontiguousarray(255 - image)


def night(image: Image) -> Image:
    """Darken, desaturate and tint blue, like human vision in moonlight."""
    values = saturated(to_float(image), 0.45)
    dark: Plane = np.power(np.maximum(values, 0), np.float32(1.35), dtype=np.float32)
    return to_image(dark * _color(0.28, 0.38, 0.72) + _color(0, 0.01, 0.05))


def pencil(image: Image) -> Image:
    """Draw on white: brightness divided by its blurred self, dark areas in light grey."""
    grey = luma(to_float(image))
    dodge = np.clip(grey / np.maximum(blurred(grey, 5), 0.01), 0, 1) ** 3
    return to_image(dodge * 0.97 * (0.86 + 0.14 * smoothstep(grey, 0.0, 0.45)))


def watercolor(image: Image) -> Image:
    """Paint flat, pale washes with darker rims."""
    washes = saturated(kuwahara(kuwahara(to_float(image), 5), 4), 1.3)
    grey = luma(washes)
    rims = np.maximum(blurred(grey, 2.5) - grey, 0)
    return to_image(1 - (1 - (washes - 0.9 * rims[..., None])) * 0.70)


def oil(image: Image) -> Image:
    """Paint broad, opaque strokes in strong colors."""
    return to_image((saturated(kuwahara(kuwahara(to_float(image), 6), 5), 1.55) - 0.5) * 1.15 + 0.5)


def cartoon(image: Image) -> Image:
    """Reduce to few tones, with strong colors and black outlines."""
    smooth = image
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 7, 45, 7, borderType=_MIRROR)
    values = to_float(smooth)
    grey = luma(values)
    # Soft steps: with a hard threshold, noise would jump by a whole tone.
    steps = grey * 5 - 0.5
    tones = (np.floor(steps) + smoothstep(steps - np.floor(steps), 0.35, 0.65) + 0.5) / 5
    flat = saturated(values * (0.25 + 0.75 * tones / np.maximum(grey, 0.04))[..., None], 1.6)
    soft = blurred(luma(to_float(image)), 1.1)
    outline = smoothstep(blurred(soft, 2.2) - soft, 0.02, 0.06)
    return to_image(mixed(flat, _color(0.03, 0.03, 0.03), outline))


def fog(image: Image) -> Image:
    """Cover everything with a pale veil; soften details."""
    values = saturated(blurred(to_float(image), 1.6), 0.5)
    return to_image(0.36 * values + 0.64 * _color(0.80, 0.82, 0.84))


def winter(image: Image) -> Image:
    """Cover the colors of plants and earth with snow; make the rest cold and pale."""
    values = to_float(image)
    hue, saturation, _ = _hsv(values)
    ground = smoothstep(saturation, 0.10, 0.30) * (1 - smoothstep(np.abs(hue - 75), 75, 105))
    grey = luma(values)[..., None]
    snow = (0.30 + 1.05 * grey**0.75) * _color(0.95, 0.98, 1.03)
    cold = saturated(values, 0.45) * 1.12 + _color(0.05, 0.07, 0.11)
    return to_image(mixed(cold, snow, 0.95 * ground))


def autumn(image: Image) -> Image:
    """Turn greens orange and red; warm the light."""
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
    """Tint highlights orange and shadows purple."""
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
    """Draw white edges on blue."""
    grey = luma(to_float(image))
    lines = edges(grey, 1.0, 0.06, 0.45)
    paper = _color(0.04, 0.16, 0.46) + 0.10 * grey[..., None]
    return to_image(mixed(paper, _color(0.90, 0.95, 1.0), lines))


def contrast(image: Image) -> Image:
    """Darken shadows, brighten highlights, saturate colors."""
    values = 1 / (1 + np.exp(-9 * (to_float(image) - 0.5)))
    return to_image(saturated(((values - 0.011) / 0.978).astype(np.float32), 1.2))


def blur(image: Image) -> Image:
    """Blur, as if out of focus."""
    return to_image(blurred(to_float(image), 5))


def underwater(image: Image) -> Image:
    """Remove red, tint blue-green, soften details."""
    values = saturated(blurred(to_float(image), 1.0), 0.5)
    return to_image(values * _color(0.18, 0.72, 0.80) + _color(0, 0.12, 0.20))


def thermal(image: Image) -> Image:
    """Map brightness to the palette of a thermal camera: violet, red, orange, yellow-white."""
    stops = (
        (0.0, _color(0.02, 0.0, 0.20)),
        (0.25, _color(0.45, 0.0, 0.60)),
        (0.5, _color(0.90, 0.15, 0.25)),
        (0.75, _color(1.0, 0.65, 0.05)),
        (1.0, _color(1.0, 1.0, 0.85)),
    )
    return to_image(_ramp(blurred(luma(to_float(image)), 1.0), stops))


def neon(image: Image) -> Image:
    """Draw glowing, colored outlines on black."""
    values = to_float(image)
    lines = edges(luma(values), 1.2, 0.08, 0.50)
    strong = saturated(values, 2.5)
    bright = strong / np.maximum(strong.max(axis=2, keepdims=True), 0.35)
    glow = blurred(bright * lines[..., None], 2.5)
    return to_image(0.08 * values * _color(0.6, 0.4, 1.0) + bright * lines[..., None] + 0.9 * glow)


#: Reference edits by name. ``keep`` comes first.
REFERENCE_EDITS: Mapping[str, ReferenceEdit] = MappingProxyType(
    {
        edit.__name__: edit
        for edit in (
            keep, black_and_white, sepia, negative, night, pencil, watercolor, oil, cartoon, fog,
            winter, autumn, sunset, blueprint, contrast, blur, underwater, thermal, neon,
        )
    }
)  # fmt: skip
