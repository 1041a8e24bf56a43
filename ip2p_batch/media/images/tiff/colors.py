"""Colours and alpha of a TIFF page, from its samples as stored."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ...alpha import divided_by_alpha
from ...depth import Samples8, Samples16, to_8_bits
from ..unsupported import UnsupportedSamplesError
from .page import Page
from .samples import Layout, Samples, color_map, layout, read_samples

_WHITE = 65535
_ORIENTATION, _INK_SET = 274, 332
_FLOAT = 3
_MULTIPLIED = 1


class Colors(NamedTuple):
    """A decoded page, turned by its orientation.

    Attributes:
        mode: ``L``, ``RGB``, ``CMYK`` or ``LAB``, in Pillow's conventions.
        colors: uint8 or, for grey and RGB of more than 8 bits, uint16; shape ``(height, width)``
            for grey, else ``(height, width, channels)``.
        alpha: of the type of ``colors``, shape ``(height, width)``; None without alpha.
        deep: words for samples of more than 8 bits; empty otherwise.
        is_real: whether they are floating-point.
    """

    mode: str
    colors: Samples8 | Samples16
    alpha: Samples8 | Samples16 | None
    deep: str
    is_real: bool


def decode(page: Page) -> Colors:
    """Decode a page completely.

    Raises:
        UnsupportedSamplesError: samples without a known white value: 32-bit integers beyond 16
            bits, floats beyond 0 to 1.
        ValueError: damaged or truncated.
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    kind = layout(page)
    if kind.photometric == 5 and page.value(_INK_SET, 1) != 1:
        raise UnsupportedSamplesError("of a kind that cannot be edited: inks other than CMYK")
    stored = _upright(read_samples(page), page.value(_ORIENTATION, 1))
    colors, alpha = stored[..., : kind.colors], None
    if kind.alpha:
        alpha = _scaled(stored[..., -1], kind)
    if kind.photometric == 3:
        table = color_map(page)
        shades = table[np.minimum(colors[..., 0], len(table) - 1)]
        return Colors("RGB", shades, None if alpha is None else to_8_bits(alpha), "", False)
    is_real = kind.format == _FLOAT
    words = "floating-point samples, 0 to 1," if is_real else f"{kind.bits}-bit samples"
    deep = words if kind.bits > 8 else ""
    if kind.photometric in (8, 9):
        lab = _lab(colors, kind)
        return Colors("LAB", lab, None if alpha is None else to_8_bits(alpha), deep, is_real)
    numbers = _scaled(colors, kind)
    if kind.photometric == 5:
        return _cmyk(to_8_bits(numbers), alpha, kind, deep)
    if kind.photometric == 0:
        numbers = np.subtract(np.iinfo(numbers.dtype).max, numbers, dtype=numbers.dtype)
    if alpha is not None and kind.alpha == _MULTIPLIED:
        numbers = divided_by_alpha(numbers, alpha)
    if kind.colors == 1:
        return Colors("L", numbers[..., 0], alpha, deep, is_real)
    return Colors("RGB", numbers, alpha, deep, is_real)


def _upright(samples: Samples, orientation: int) -> Samples:
    """Apply an orientation (TIFF 6.0, section 8)."""
    if orientation in (5, 6, 7, 8):
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples)


def _scaled(samples: Samples, kind: Layout) -> Samples8 | Samples16:
    """Samples whose white is 255, or 65535 where they have more than 8 bits."""
    if kind.format == _FLOAT:
        low, high = _range(samples)
        if not 0 <= low <= high <= 1:  # also refuses NaN
            raise UnsupportedSamplesError(
                f"floating-point samples from {low:g} to {high:g}; only 0 to 1 have a known white"
            )
        return np.asarray(
            np.rint(
                np.multiply(samples, _WHITE, dtype=np.float64 if kind.bits > 32 else np.float32)
            ),
            dtype=np.uint16,
        )
    if kind.bits > 16:
        if not _range(samples)[1] <= _WHITE:
            raise UnsupportedSamplesError("32-bit samples beyond 16 bits have no known white")
        return samples.astype(np.uint16)
    white, own = (255 if kind.bits <= 8 else _WHITE), (1 << kind.bits) - 1
    dtype = np.uint8 if kind.bits <= 8 else np.uint16
    if white == own:
        return cast(Samples16, samples.astype(dtype, copy=False))
    numbers = samples.astype(np.uint32)
    return cast(Samples16, ((numbers * 2 * white + own) // (2 * own)).astype(dtype))


def _range(samples: Samples) -> tuple[float, float]:
    if not samples.size:
        return 0.0, 0.0
    numbers = cast(npt.NDArray[np.float64], samples)
    return float(numbers.min()), float(numbers.max())


def _cmyk(inks: Samples8, alpha: Samples8 | Samples16 | None, kind: Layout, deep: str) -> Colors:
    opacity = None if alpha is None else to_8_bits(alpha)
    # Some programs say "multiplied" and do not multiply. More ink than alpha shows it.
    is_multiplied = kind.alpha == _MULTIPLIED and opacity is not None
    if opacity is not None and is_multiplied and bool((inks.max(axis=2) <= opacity).all()):
        inks = to_8_bits(divided_by_alpha(inks, opacity))
    return Colors("CMYK", inks, opacity, deep, False)


def _lab(colors: Samples, kind: Layout) -> Samples8:
    """Lab of 8 bits with signed a and b as bytes, from signed (8) or unsigned (9) ones."""
    if kind.bits not in (8, 16) or kind.format == _FLOAT:
        raise UnsupportedSamplesError(f"of a kind that cannot be edited: {kind.words}")
    numbers = colors.astype(np.int32)
    if kind.bits == 16:
        light = (numbers[..., :1] + 128) // (257 if kind.photometric == 8 else 256)
        numbers = np.concatenate([np.minimum(light, 255), numbers[..., 1:] >> 8], axis=2)
    if kind.photometric == 9:
        numbers[..., 1:] -= 128
    return (numbers % 256).astype(np.uint8)
