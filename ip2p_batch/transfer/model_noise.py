"""Remove an image model's noise from an edit at full size, and keep what it drew.

The tile pass draws at the source's own resolution, so its noise is as fine as its lines: flat areas
become blotchy. The model of an edit M (:mod:`.model`), fitted to source s and edit e at full size,
has the tone and the lines of the edit without the noise, since it is a function of the source with
few coefficients. Of the rest r = e - M(s) the result keeps what exceeds the noise's energy::

    result = M(s) + g r,   g = max(0, 1 - tau^2 / G |r|^2)

with a Gaussian blur G: the shrinkage of :mod:`.residual`, for details of single pixels.

Memory beyond the image depends on strips: the whole-image fit takes blocks that are spread over the
image, the local fit a reduced image.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..frame import FullImage, Image
from . import model
from .apply import apply
from .features import MARGIN
from .kernels import Floats
from .model import EditModel
from .residual import shrinkage
from .strips import strips
from .whole_image import GlobalFit, global_fit, planar, regressors

#: tau: root mean square over colours from 0 to 1, below which a rest counts as noise.
THRESHOLD = 0.05
#: Pixels of the blur G.
_ENERGY_BLUR = 2.0
#: Rows around an area that the blur G depends on.
_BLUR_MARGIN = 8
#: The whole-image fit takes at most this many blocks, squares of so many pixels: half a million
#: pixels for some dozen coefficients.
_BLOCKS, _BLOCK = 32, 128
#: Longest side of the reduced image for the local fit, whose window is a sixteenth of the image.
_REDUCED = 512

_MIRROR = cv2.BORDER_REFLECT_101
#: Half-open ranges of rows and of columns.
Area = tuple[slice, slice]


def without_noise(source: FullImage, edited: Image) -> FullImage:
    """The edit without the image model's noise, at the depth of the source.

    Args:
        source: uint8 or uint16 RGB, full range, shape ``(h, w, 3)``.
        edited: uint8 RGB of the same size.

    Raises:
        ValueError: the sizes differ.
    """
    result = apply(fit(source, edited), source)
    peak = float(np.iinfo(result.dtype).max)
    above: Floats | None = None
    height, width = source.shape[:2]
    for start, stop in strips(height, width):
        rows = slice(max(0, start - _BLUR_MARGIN), min(height, stop + _BLUR_MARGIN))
        modelled = result[rows].astype(np.float32) / np.float32(peak)
        if above is not None:
            # The last strip changed these rows, which this one needs as the model gave them.
            modelled[: len(above)] = above
        end = stop - rows.start
        above = modelled[max(0, end - _BLUR_MARGIN) : end].copy()
        rest = edited[rows].astype(np.float32) / np.float32(255) - modelled
        values = modelled + gate(rest)[..., None] * rest
        own = values[start - rows.start : stop - rows.start]
        result[start:stop] = np.rint(np.clip(own, 0, 1) * peak)
    return result


def gate(rest: Floats) -> Floats:
    """The gate g, 0 to 1, shape ``(h, w)``, for a rest of shape ``(h, w, 3)``."""
    energy = np.square(rest).mean(axis=2)
    energy = cv2.GaussianBlur(energy, (0, 0), _ENERGY_BLUR, borderType=_MIRROR)
    return shrinkage(np.asarray(energy, dtype=np.float32), THRESHOLD)


def fit(source: FullImage, edited: Image) -> EditModel:
    """Fit the model of an edit at full size; it keeps no residual.

    Args, raises: as :func:`without_noise`.
    """
    if source.shape != edited.shape:
        raise ValueError(f"images of two shapes, {source.shape} and {edited.shape}")
    height, width = source.shape[:2]
    parts = [_smooth(source, edited, area) for area in blocks(height, width)]
    inputs, change = (
        np.concatenate([part[n].reshape(len(part[n]), -1) for part in parts], axis=1)[..., None]
        for n in (0, 1)
    )
    found = global_fit(inputs, change)
    colours, left = _reduced_rest(source, edited, found)
    matrix, shift = model.local_part(colours, left)
    return model.assembled(found, matrix, shift, None)


def blocks(height: int, width: int) -> list[Area]:
    """Areas for the whole-image fit: all blocks of the image, or some that are evenly spread."""
    places = [(y, x) for y in range(0, height, _BLOCK) for x in range(0, width, _BLOCK)]
    chosen = np.linspace(0, len(places) - 1, min(_BLOCKS, len(places))).round().astype(int)
    return [
        (slice(y, min(y + _BLOCK, height)), slice(x, min(x + _BLOCK, width)))
        for y, x in (places[n] for n in chosen)
    ]


def _smooth(source: FullImage, edited: Image, area: Area) -> tuple[Floats, Floats]:
    """Regressors and change of an area, smoothed; they depend on its surroundings, too."""
    wide = tuple(slice(max(0, part.start - MARGIN), part.stop + MARGIN) for part in area)
    inner = tuple(
        slice(part.start - outer.start, part.stop - outer.start)
        for part, outer in zip(area, wide, strict=True)
    )
    change = planar(edited[wide]) - planar(source[wide])
    inputs, change = (
        model.smoothed(values)[:, inner[0], inner[1]]
        for values in (regressors(source[wide]), change)
    )
    return inputs, change


def _reduced_rest(source: FullImage, edited: Image, found: GlobalFit) -> tuple[Floats, Floats]:
    """Colours, and what the whole-image fit leaves of the change, of the reduced image."""
    height, width = source.shape[:2]
    factor = -(-max(height, width) // _REDUCED)
    columns = -(-width // factor)
    colours, left = [], []
    for start, stop in strips(height, width, factor):
        inputs, change = _smooth(source, edited, (slice(start, stop), slice(0, width)))
        rest = change - found.predict(inputs)
        size = (columns, -(-(stop - start) // factor))
        colours.append(model.shrunk(inputs[:3], size))
        left.append(model.shrunk(rest, size))
    return np.concatenate(colours, axis=1), np.concatenate(left, axis=1)
