"""One palette for all frames of a GIF, so that still areas keep their colours."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

#: Bits per channel of the cells that colours are counted in.
_BITS = 6
_CELLS = 1 << 3 * _BITS
#: Weights of red, green and blue in a distance: their share of brightness (ITU-R BT.601), to the
#: nearest tenth, since the eye sees differences of brightness best.
_WEIGHTS = np.array([0.3, 0.6, 0.1])
_ROUNDS = 4
_ROWS = 4096
#: Pixels of a frame that are counted, evenly spread.
_MOST_PIXELS = 1 << 17
#: Levels by which ordered dithering moves a colour at most. Its pattern stands still, while error
#: diffusion changes everywhere as soon as one pixel does.
_AMPLITUDE = 4


class ColorCount:
    """Counts the colours of frames.

    Args:
        most: colours of the palette.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sums = np.zeros((4, _CELLS))
        self._exact: npt.NDArray[np.uint32] | None = np.zeros(0, np.uint32)

    def feed(self, colors: Bytes) -> None:
        """Count the colours of visible pixels, shape ``(pixels, 3)``."""
        if not len(colors):
            return
        if self._exact is not None:
            found = np.unique(np.concatenate([self._exact, packed(colors)]))
            self._exact = found if len(found) <= self._most else None
        cells = _cell(colors := colors[:: -(-len(colors) // _MOST_PIXELS)])
        self._sums[0] += np.bincount(cells, minlength=_CELLS)
        for channel in range(3):
            self._sums[channel + 1] += np.bincount(cells, colors[:, channel], _CELLS)

    def palette(self) -> Palette:
        """The palette of all frames: their colours if they are few enough."""
        if self._exact is not None:
            found = self._exact if len(self._exact) else np.zeros(1, np.uint32)
            exact = np.stack([found >> shift & 255 for shift in (16, 8, 0)], -1)
            return Palette(exact.astype(np.uint8), is_exact=True)
        used = self._sums[0] > 0
        weights = self._sums[0, used]
        colors = (self._sums[1:, used] / weights).T
        return Palette(_reduced(colors, weights, self._most), is_exact=False)


class Palette:
    """Colours, and how any other colour is replaced by them.

    Args:
        colors: uint8, shape ``(colors, 3)``.
        is_exact: whether frames have no other colours; they are then sorted as numbers.
    """

    def __init__(self, colors: Bytes, *, is_exact: bool) -> None:
        self.colors = colors
        self._is_exact = is_exact
        self._table = packed(colors) if is_exact else _nearest_of_cells(colors)

    def numbers(self, image: Bytes) -> Bytes:
        """The number of the colour of each pixel, shape ``(height, width)``."""
        if self._is_exact:
            found = np.searchsorted(self._table, packed(image)).clip(0, len(self.colors) - 1)
            return cast(Bytes, found.astype(np.uint8))
        height, width = image.shape[:2]
        pattern = np.tile(_DITHER, (-(-height // 8), -(-width // 8)))[:height, :width, None]
        dithered = np.clip(image.astype(np.int16) + pattern, 0, 255).astype(np.uint8)
        return cast(Bytes, self._table[_cell(dithered.reshape(-1, 3))].reshape(height, width))


def packed(colors: Bytes) -> npt.NDArray[np.uint32]:
    """Colours as numbers ``0xRRGGBB``."""
    wide = colors.astype(np.uint32)
    return cast(npt.NDArray[np.uint32], wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def _cell(colors: Bytes) -> npt.NDArray[np.int64]:
    high = (colors >> (8 - _BITS)).astype(np.int64)
    return cast(
        npt.NDArray[np.int64], high[..., 0] << 2 * _BITS | high[..., 1] << _BITS | high[..., 2]
    )


def _reduced(colors: Floats, weights: Floats, most: int) -> Bytes:
    """Colours that represent weighted ones with small squared error.

    Boxes of colours are divided at their mean along their widest axis, the one with the largest
    error first; then each colour moves to the mean of those nearest to it (Lloyd, "Least squares
    quantization in PCM", 1982).
    """
    scaled = colors * np.sqrt(_WEIGHTS)
    boxes = [np.arange(len(colors))]
    errors = [_error(scaled[boxes[0]], weights[boxes[0]])]
    while len(boxes) < most:
        widest = int(np.argmax([error.max() for error in errors]))
        members, axis = boxes[widest], int(np.argmax(errors[widest]))
        values = scaled[members, axis]
        is_low = values <= np.average(values, weights=weights[members])
        if is_low.all() or not is_low.any():  # one colour, but for rounding
            break
        for position, box in ((widest, members[is_low]), (len(boxes), members[~is_low])):
            boxes[position : position + 1] = [box]
            errors[position : position + 1] = [_error(scaled[box], weights[box])]
    centers = np.array([np.average(scaled[b], axis=0, weights=weights[b]) for b in boxes])
    for _ in range(_ROUNDS):
        nearest = _nearest(scaled, centers)
        total = np.bincount(nearest, weights, len(centers))
        for axis in range(3):
            sums = np.bincount(nearest, weights * scaled[:, axis], len(centers))
            np.divide(sums, total, out=centers[:, axis], where=total > 0)
    levels = np.clip(np.rint(centers / np.sqrt(_WEIGHTS)), 0, 255)
    return cast(Bytes, levels.astype(np.uint8))


def _error(colors: Floats, weights: Floats) -> Floats:
    """Sum of weighted squared distances to the mean, by axis."""
    mean = np.average(colors, axis=0, weights=weights)
    return cast(Floats, (weights[:, None] * (colors - mean) ** 2).sum(0))


def _nearest(colors: Floats, centers: Floats) -> npt.NDArray[np.int64]:
    found = np.empty(len(colors), np.int64)
    squares = (centers**2).sum(1)
    for start in range(0, len(colors), _ROWS):
        part = colors[start : start + _ROWS]
        found[start : start + _ROWS] = np.argmin(squares - 2 * part @ centers.T, axis=1)
    return found


def _nearest_of_cells(colors: Bytes) -> Bytes:
    """The number of the nearest colour for the middle of each cell."""
    levels = (np.arange(1 << _BITS) * 255 + ((1 << _BITS) - 1) // 2) // ((1 << _BITS) - 1)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    root = np.sqrt(_WEIGHTS)
    return _nearest(grid * root, colors.astype(np.float64) * root).astype(np.uint8)


def _bayer(size: int) -> npt.NDArray[np.int64]:
    """Threshold matrix for ordered dithering (Bayer, ICC 1973): 0 to ``size ** 2 - 1``."""
    if size == 1:
        return np.zeros((1, 1), np.int64)
    half = 4 * _bayer(size // 2)
    return np.block([[half, half + 2], [half + 3, half + 1]])


_DITHER: npt.NDArray[np.int16] = np.rint((_bayer(8) - 31.5) / 32 * _AMPLITUDE).astype(np.int16)
