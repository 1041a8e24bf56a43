"""Gradient of an image's luma: how much detail it has, and where most of it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import cv2
import numpy as np
import numpy.typing as npt

from ..frame import Image

Plane = npt.NDArray[np.float32]

#: BT.601's weights of red, green and blue, times 2^14. Luma and its Sobel sums are then integers
#: below 2^24, which float32 holds exactly: equal pixels have no gradient at all.
_WEIGHTS = np.array([[4899, 9617, 1868]], np.float32)
_WHITE = 255 * 2**14
#: Rows in a strip: a strip of a wide image and its derivatives stay in the processor's cache.
_ROWS = 64
#: Windows start at multiples of this many pixels.
_STEP = 16


def luma_gradients(
    image: Image, *, sigma: float = 0, rows: int = _ROWS
) -> Iterator[tuple[slice, Plane, Plane]]:
    """Yield the horizontal and vertical derivatives of luma, strip by strip from the top.

    Luma is BT.601's ``0.299 R + 0.587 G + 0.114 B`` of the encoded values, scaled to 0 to 1. The
    derivatives are Sobel's 3x3 filters divided by 8, so a ramp that rises by d per pixel has
    derivative d, and no derivative is above 0.5. The image is mirrored at its border. Strips need
    little memory whatever the size of the image, and give the values of the whole image.

    Args:
        image: uint8 RGB.
        sigma: standard deviation in pixels of a Gaussian that smooths luma first; 0: none.
        rows: rows in a strip.

    Yields:
        ``(rows, dx, dy)``: the rows of the strip, and both derivatives, float32, shape
        ``(rows, width)``, in luma per pixel.
    """
    height = image.shape[0]
    radius = int(np.ceil(3 * sigma))
    margin = radius + 1
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        top = max(0, start - margin)
        luma = cv2.transform(image[top : stop + margin].astype(np.float32), _WEIGHTS)
        if radius:
            luma = cv2.GaussianBlur(luma, (2 * radius + 1, 2 * radius + 1), sigma)
        dx, dy = (
            cv2.Sobel(luma, cv2.CV_32F, *order, ksize=3) / np.float32(8 * _WHITE)
            for order in ((1, 0), (0, 1))
        )
        own = slice(start - top, stop - top)
        yield slice(start, stop), dx[own], dy[own]


def magnitude(dx: Plane, dy: Plane) -> Plane:
    """Lengths of gradients: ``sqrt(dx^2 + dy^2)``."""
    lengths: Plane = np.sqrt(dx * dx + dy * dy)
    return lengths


def busiest_window(
    image: Image, size: tuple[int, int], avoid: Collection[tuple[int, int]] = ()
) -> tuple[int, int]:
    """Find the window with the most detail: the largest sum of gradient magnitudes of luma.

    Windows start at multiples of 16 pixels, or end at the right or lower border. Of equal windows,
    the uppermost and then the leftmost one is returned.

    Args:
        image: uint8 RGB.
        size: ``(width, height)`` of the window in pixels, at least 1.
        avoid: ``(left, top)`` of windows of the same size; one that overlaps none of them is
            returned if there is one.

    Returns:
        ``(left, top)`` of the window. The window lies inside the image; an axis on which it is
        longer than the image starts at 0.

    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> image[40:44, 70:74] = 255
    >>> busiest_window(image, (32, 32))
    (48, 16)
    """
    columns = np.arange(0, image.shape[1], _STEP)
    blocks = np.stack(
        [
            np.add.reduceat(magnitude(dx, dy).sum(axis=0, dtype=np.float64), columns)
            for _, dx, dy in luma_gradients(image, rows=_STEP)
        ]
    )
    sums = np.round(blocks, 3)  # so that windows with equal pixels have equal sums
    for axis, length in ((0, size[1]), (1, size[0])):
        sums = _window_sums(sums, min(max(1, length // _STEP), sums.shape[axis]), axis)
    lefts = _starts(sums.shape[1], image.shape[1] - size[0])
    tops = _starts(sums.shape[0], image.shape[0] - size[1])
    free = np.ones(sums.shape, bool)
    for left, top in avoid:
        aside = np.abs(lefts - left) >= size[0]
        free &= aside | (np.abs(tops - top) >= size[1])[:, None]
    if free.any():
        sums = np.where(free, sums, -1)
    row, column = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(lefts[column]), int(tops[row])


def _starts(count: int, last: int) -> npt.NDArray[np.int64]:
    """Where ``count`` windows start on one axis; none starts after ``last``."""
    return np.clip(np.arange(count) * _STEP, 0, max(0, last))


def _window_sums(
    values: npt.NDArray[np.float64], length: int, axis: int
) -> npt.NDArray[np.float64]:
    """Sums of every ``length`` successive values along an axis."""
    windows = np.lib.stride_tricks.sliding_window_view(values, length, axis=axis)
    sums: npt.NDArray[np.float64] = windows.sum(axis=-1)
    return sums
