"""Apply the model of an edit to the source at full size, in strips of rows.

Memory beyond source and result depends on the strip, not on the image: 8K frames and images of 200
megapixels take the same.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..frame import FullImage
from . import features, kernels
from .features import MARGIN
from .kernels import Colours, Floats
from .model import EditModel
from .painting import strokes
from .strips import strips

#: Stands for planes that are not used.
_NONE = np.empty((3, 0, 0), np.float32)
_NO_CURVE = np.empty((3, 0), np.float32)


def apply(model: EditModel, source: FullImage) -> FullImage:
    """The edit at the size and depth of the source.

    Args:
        source: uint8 or uint16 RGB, full range, shape ``(h, w, 3)``.

    Returns:
        of the source's shape and type. Colours out of range keep their hue: they move towards
        their own grey.
    """
    result = np.empty_like(source)
    peak = float(np.iinfo(source.dtype).max)
    height, width = source.shape[:2]
    grid = _spread(model.grid, width)
    lower, share = _places(height, model.grid.shape[1])
    for start, stop in strips(height, width):
        first, last = max(0, start - MARGIN), min(height, stop + MARGIN)
        red, green, blue = cv2.split(source[first:last])
        colours: Colours = (red, green, blue)
        luma, edge, fine, middle, wide = features.planes(colours, peak)
        own = slice(start - first, stop - first)
        edited = np.empty((3, stop - start, width), source.dtype)
        kernels.apply_rows(
            (red[own], green[own], blue[own]),
            (luma[own], edge[own], fine[own], middle[own], wide[own]),
            model.weights,
            grid,
            lower[start:stop],
            share[start:stop],
            _enlarged(model.residual, (start, stop), (height, width)),
            _NO_CURVE if model.curve is None else model.curve,
            _strokes(colours, peak, own) if model.strokes else _NONE,
            np.float32(model.strokes),
            np.float32(peak),
            edited,
        )
        cv2.merge(tuple(edited), result[start:stop])
    return result


def _places(length: int, points: int) -> tuple[np.ndarray, Floats]:
    """Where each of ``length`` pixels lies between ``points`` grid points, as pixel centres.

    Returns:
        the point at or before each pixel, at most ``points - 2``, and the share of the next point.
    """
    places = (np.arange(length) + 0.5) * points / length - 0.5
    places = np.clip(places, 0, points - 1)
    lower = np.minimum(places.astype(np.int64), points - 2)
    return lower, (places - lower).astype(np.float32)


def _spread(grid: Floats, width: int) -> Floats:
    """Interpolate a grid across to ``width`` pixels: ``(12, rows, n)`` to ``(rows, 12, width)``."""
    left, share = _places(width, grid.shape[2])
    low, high = grid[..., left], grid[..., left + 1]
    return np.ascontiguousarray((low + share * (high - low)).transpose(1, 0, 2))


def _strokes(colours: Colours, peak: float, rows: slice) -> Floats:
    return np.ascontiguousarray(strokes(colours, peak)[:, rows])


def _enlarged(
    residual: Floats | None, rows: tuple[int, int], full: tuple[int, int]
) -> Floats:  # fmt: skip
    """Rows ``[start, stop)`` of the residual at full size, bicubic."""
    if residual is None:
        return _NONE
    height, width = full
    y = (np.arange(*rows) + 0.5) * residual.shape[0] / height - 0.5
    if not residual[max(0, int(y[0]) - 2) : int(y[-1]) + 4].any():  # what bicubic looks at
        return _NONE
    x = (np.arange(width) + 0.5) * residual.shape[1] / width - 0.5
    shape = (len(y), width)
    across = np.broadcast_to(x.astype(np.float32), shape)
    down = np.broadcast_to(y.astype(np.float32)[:, None], shape)
    enlarged = cv2.remap(
        residual, np.ascontiguousarray(across), np.ascontiguousarray(down), cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.ascontiguousarray(enlarged.transpose(2, 0, 1), dtype=np.float32)
