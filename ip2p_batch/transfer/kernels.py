"""Loops over pixels, compiled by numba: one pass over the image, outside the interpreter lock.

They release the lock, so that other threads decode, encode and run the model meanwhile. Floats are
single precision, and every sum has one fixed order: no result depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=Callable[..., Any])
Floats = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]
#: Planes of red, green and blue, each ``(h, w)``.
Colours = tuple[Samples, Samples, Samples]
#: Inputs of the structure features: luma, edge strength, and luma blurred finely, middling and
#: widely, each ``(h, w)``.
Inputs = tuple[Floats, Floats, Floats, Floats, Floats]
Doubles = npt.NDArray[np.float64]
#: Maps one plane to another of its shape.
PlaneFilter = Callable[[Floats], Floats]


def compiled(function: F) -> F:
    """Compile a function at its first call; the machine code is cached on disk if possible."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder for the cache can be written
        return cast(F, numba.njit(**options)(function))


_R, _G, _B = (np.float32(weight) for weight in (0.299, 0.587, 0.114))
_ZERO, _ONE, _HALF, _TINY = (np.float32(value) for value in (0.0, 1.0, 0.5, 1e-6))
#: Added to the divisor of the local brightness ratio: dark areas have no reliable ratio.
_DARK = np.float32(0.03)
_MAX_RATIO = np.float32(1.5)


@compiled
def luma(red: Samples, green: Samples, blue: Samples, scale: np.float32) -> Floats:
    """``scale * (0.299 R + 0.587 G + 0.114 B)`` (BT.601) of each pixel; planes ``(h, w)``."""
    height, width = red.shape
    result = np.empty((height, width), np.float32)
    for y in range(height):
        r, g, b, out = red[y], green[y], blue[y], result[y]
        for x in range(width):
            out[x] = scale * (_R * np.float32(r[x]) + _G * np.float32(g[x]) + _B * np.float32(b[x]))
    return result


@compiled
def lengths(across: Floats, down: Floats) -> Floats:
    """``sqrt(across^2 + down^2)`` of each pixel; planes ``(h, w)``.

    The last bits of ``cv2.magnitude`` (OpenCV 5.0) depend on where its input lies in memory.
    """
    result = np.empty_like(across)
    for y in range(across.shape[0]):
        first, second, out = across[y], down[y], result[y]
        for x in range(across.shape[1]):
            out[x] = np.sqrt(first[x] * first[x] + second[x] * second[x])
    return result


@compiled
def structure(
    grey: np.float32, edge: np.float32, fine: np.float32, middle: np.float32, wide: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]:
    """The structure features of one pixel; see :mod:`.features`."""
    strong = min(edge, _HALF)
    return (
        edge,
        strong * strong,
        grey - middle,
        middle - wide,
        min(grey / (wide + _DARK), _MAX_RATIO),
        max(middle - fine, _ZERO),
    )


@compiled
def fill_features(planes: Inputs, result: Floats) -> None:
    """Write the structure features of all pixels; ``result`` has the shape ``(6, h, w)``."""
    grey, edge, fine, middle, wide = planes
    _, height, width = result.shape
    for y in range(height):
        for x in range(width):
            values = structure(grey[y, x], edge[y, x], fine[y, x], middle[y, x], wide[y, x])
            for k in range(6):
                result[k, y, x] = values[k]


@compiled
def products(rows: Floats, others: Floats) -> Doubles:
    """``sum over n of rows[n, i] * others[n, j]`` for each i and j, summed in order of n."""
    result = np.zeros((rows.shape[1], others.shape[1]), np.float64)
    for n in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            factor = np.float64(rows[n, i])
            total = result[i]
            for j in range(others.shape[1]):
                total[j] += factor * np.float64(others[n, j])
    return result


@compiled
def gram(rows: Floats) -> Doubles:
    """``products(rows, rows)``, which is symmetric, for half of the work."""
    count = rows.shape[1]
    result = np.zeros((count, count), np.float64)
    for n in range(rows.shape[0]):
        for i in range(count):
            factor = np.float64(rows[n, i])
            total = result[i]
            for j in range(i, count):
                total[j] += factor * np.float64(rows[n, j])
    for i in range(count):
        for j in range(i):
            result[i, j] = result[j, i]
    return result


# Compilers use the vector unit only for short loops over few arrays, which they can prove apart. So
# the work on a row is split into such loops; the row stays in the cache between them.


@compiled
def _variances(red: Floats, green: Floats, blue: Floats, square: Floats, result: Floats) -> None:
    for x in range(result.shape[0]):
        grey = _R * red[x] + _G * green[x] + _B * blue[x]
        result[x] = square[x] - grey * grey


@compiled
def _take_smoother(
    variance: Floats, red: Floats, green: Floats, blue: Floats, lowest: Floats, result: Floats
) -> None:
    first, second, third = result[0], result[1], result[2]
    for x in range(lowest.shape[0]):
        is_smoother = variance[x] < lowest[x]
        first[x] = red[x] if is_smoother else first[x]
        second[x] = green[x] if is_smoother else second[x]
        third[x] = blue[x] if is_smoother else third[x]
    for x in range(lowest.shape[0]):
        lowest[x] = min(lowest[x], variance[x])


@compiled
def smoothest_square(means: Floats, squares: Floats, reach: int, result: Floats) -> None:
    """Choose, for each pixel, the mean of the square with the lowest variance of luma.

    Args:
        means: of the colours in the square to the lower right of each pixel, on an image with a
            border of ``reach`` pixels, ``(3, h + 2 reach, w + 2 reach)``.
        squares: means of the squared luma in the same squares.
        reach: side of the squares, minus 1.
        result: shape ``(3, h, w)``.
    """
    _, height, width = result.shape
    variances = np.empty((height + reach, means.shape[2]), np.float32)
    for y in range(height + reach):
        _variances(means[0, y], means[1, y], means[2, y], squares[y], variances[y])
    lowest = np.empty(width, np.float32)
    chosen = np.empty((3, width), np.float32)
    for y in range(height):
        lowest[:] = np.inf
        for k in range(4):
            row, left = y + reach * (k // 2), reach * (k % 2)
            columns = slice(left, left + width)
            _take_smoother(
                variances[row, columns], means[0, row, columns], means[1, row, columns],
                means[2, row, columns], lowest, chosen,
            )  # fmt: skip
        for c in range(3):
            result[c, y] = chosen[c]


@compiled
def _mix(above: Floats, below: Floats, share: np.float32, result: Floats) -> None:
    for x in range(result.shape[0]):
        result[x] = above[x] + share * (below[x] - above[x])


@compiled
def _add_colours(
    own: Floats, matrix: Floats, offset: Floats, colours: Floats, result: Floats
) -> None:
    first, second, third = matrix[0], matrix[1], matrix[2]
    red, green, blue = colours[0], colours[1], colours[2]
    for x in range(result.shape[0]):
        result[x] = offset[x] + first[x] * red[x] + second[x] * green[x] + third[x] * blue[x]
    for x in range(result.shape[0]):
        result[x] += own[x]


@compiled
def _add(values: Floats, factor: np.float32, result: Floats) -> None:
    for x in range(result.shape[0]):
        result[x] += factor * values[x]


@compiled
def _add_structure(
    grey: Floats, edge: Floats, fine: Floats, middle: Floats, wide: Floats,
    weights: Floats, result: Floats,
) -> None:  # fmt: skip
    w0, w1, w2, w3, w4, w5 = (
        weights[0], weights[1], weights[2], weights[3], weights[4], weights[5]
    )  # fmt: skip
    for x in range(result.shape[0]):
        f0, f1, f2, f3, f4, f5 = structure(grey[x], edge[x], fine[x], middle[x], wide[x])
        result[x] += w0 * f0 + w1 * f1 + w2 * f2 + w3 * f3 + w4 * f4 + w5 * f5


@compiled
def _add_curve(grey: Floats, table: Floats, result: Floats) -> None:
    pieces = np.float32(table.shape[0] - 1)
    for x in range(result.shape[0]):
        place = min(max(grey[x], _ZERO), _ONE) * pieces
        k = min(np.int32(place), table.shape[0] - 2)
        result[x] += table[k] + (place - np.float32(k)) * (table[k + 1] - table[k])


@compiled
def _clip(red: Floats, green: Floats, blue: Floats, peak: np.float32) -> None:
    """Move colours out of range towards their own grey, which keeps their hue; scale to ``peak``.

    ``v' = l + t (v - l)`` with the luma l of the colour and the largest t up to 1 for which all
    three values are in range.
    """
    for x in range(red.shape[0]):
        r, g, b = red[x], green[x], blue[x]
        centre = min(max(_R * r + _G * g + _B * b, _ZERO), _ONE)
        above, below = max(r, g, b) - centre, centre - min(r, g, b)
        headroom = _ONE - centre
        keep = min(headroom / max(above, headroom, _TINY), centre / max(below, centre, _TINY))
        red[x] = np.rint(peak * (centre + keep * (r - centre)))
        green[x] = np.rint(peak * (centre + keep * (g - centre)))
        blue[x] = np.rint(peak * (centre + keep * (b - centre)))


@compiled
def _scaled(samples: Samples, scale: np.float32, result: Floats) -> None:
    for x in range(result.shape[0]):
        result[x] = np.float32(samples[x]) * scale


@compiled
def _store(values: Floats, result: Samples) -> None:
    for x in range(values.shape[0]):
        result[x] = np.int32(values[x])  # is whole and in range


@compiled
def apply_rows(
    image: Colours,
    planes: Inputs,
    weights: Floats,
    grid: Floats,
    lower: npt.NDArray[np.int64],
    share: Floats,
    residual: Floats,
    curve: Floats,
    strokes: Floats,
    strength: np.float32,
    peak: np.float32,
    result: Samples,
) -> None:
    """Write ``E = S + W phi(S) + A S + b + curve + v strokes + residual``.

    Colours out of range are clipped without a shift of hue.

    Args:
        image: rows of the source's red, green and blue, each ``(h, w)``; white is ``peak``.
        planes: the inputs of :func:`structure` for these rows, each ``(h, w)``.
        weights: W, shape ``(3, 6)``.
        grid: A and b, row by row of the grid, interpolated across: ``(rows, 12, w)``. The first
            nine are A, for output red, green and blue; the last three are b.
        lower, share: for each row, the grid's row above it, and the share of the row below.
        residual, strokes: ``(3, h, w)``, or without rows if there are none.
        curve: the tone curve at its knots, from luma 0 to 1, ``(3, n)``, or without columns.
        strength: v, of the brush strokes.
        result: rows of the result, ``(3, h, w)``, of the image's type.
    """
    _, height, width = result.shape
    grey, edge, fine, middle, wide = planes
    red, green, blue = image
    has_residual, has_strokes = residual.shape[1] > 0, strokes.shape[1] > 0
    has_curve = curve.shape[1] > 0
    inverse = _ONE / peak
    colours = np.empty((3, width), np.float32)
    mixed = np.empty((12, width), np.float32)
    row = np.empty((3, width), np.float32)
    for y in range(height):
        _scaled(red[y], inverse, colours[0])
        _scaled(green[y], inverse, colours[1])
        _scaled(blue[y], inverse, colours[2])
        for k in range(12):
            _mix(grid[lower[y], k], grid[lower[y] + 1, k], share[y], mixed[k])
        for c in range(3):
            _add_colours(colours[c], mixed[3 * c : 3 * c + 3], mixed[9 + c], colours, row[c])
            _add_structure(grey[y], edge[y], fine[y], middle[y], wide[y], weights[c], row[c])
            if has_curve:
                _add_curve(grey[y], curve[c], row[c])
            if has_residual:
                _add(residual[c, y], _ONE, row[c])
            if has_strokes:
                _add(strokes[c, y], strength, row[c])
        _clip(row[0], row[1], row[2], peak)
        for c in range(3):
            _store(row[c], result[c, y])
