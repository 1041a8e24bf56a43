"""Fit the model of an edit: how its colours and lines follow from the source.

The edited image e and the source s at the edit size differ by d = e - s. The model explains d in
two steps, each a least-squares fit:

1. *Whole image* (:mod:`.whole_image`): ``d ~ B s + W phi(s) + C h(s) + v k(s) + c``, with the
   colours s, the structure features phi and, if they explain a part of d, a tone curve h and brush
   strokes k. It finds tones and palettes, lines along edges, and flat patches of paint.
2. *Around each pixel*: what is left of d is fitted by ``A_p s + b_p``, over a window with
   a ridge, with A and b averaged over the window: the guided filter (He, Sun and Tang, ECCV 2010)
   with a colour guide, and with coefficients that are applied at full size (fast guided filter, He
   and Sun, https://arxiv.org/abs/1505.00996).

Since d is fitted and not e, both ridges lead to the source and not to a flat image, and an edit
that changes nothing has coefficients of exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..frame import Image, Mask
from . import kernels, tone_curve
from .kernels import Floats
from .residual import gated
from .whole_image import GlobalFit, global_fit, planar, regressors

#: Blur of source and edit before the fit, in pixels: autoencoders lose the finest detail, which
#: would lower the coefficients.
_BLUR = 0.7
#: Ridge of the local fit, as a variance of colours from 0 to 1.
_LOCAL_RIDGE = 1e-3
#: Radius of the local fit's window, as a part of the longest side.
_WINDOW = 1 / 16
#: A window with less weight than this share has none.
_NO_WEIGHT = 1e-5
#: Coefficients of the local fit are kept for every window/4-th pixel: they are averages over it.
_GRID_STEPS = 4

_MIRROR = cv2.BORDER_REFLECT


@dataclass(frozen=True, slots=True, eq=False)
class EditModel:
    """The edit of one image as a function of its source.

    Attributes:
        weights: W, shape ``(3, 6)``: output colour by structure feature.
        grid: A + B and b + c around points of a coarse grid, shape ``(12, rows, columns)``: nine
            of the matrix, for red, green and blue, then three of the offset.
        curve: the tone curve at its knots, shape ``(3, 9)``; None without.
        strokes: v, the strength of brush strokes; 0 without.
        residual: what the model does not explain and the result keeps, at the edit size, shape
            ``(h, w, 3)``; None if nothing.
    """

    weights: Floats
    grid: Floats
    curve: Floats | None
    strokes: float
    residual: Floats | None


def fit(source: Image, edited: Image, mask: Mask | None = None) -> EditModel:
    """Fit the model.

    Args:
        source, edited: the image before and after the edit, uint8 RGB of one shape, without
            padding.
        mask: what the edit may change, of that shape; what it protects has no influence, and the
            model continues there what it found around it. None: all may.

    Raises:
        ValueError: the shapes differ.
    """
    if source.shape != edited.shape:
        raise ValueError(f"images of two shapes, {source.shape} and {edited.shape}")
    inputs, change = regressors(source), planar(edited) - planar(source)
    smooth, smooth_change = smoothed(inputs), smoothed(change)
    found = global_fit(*_changed(smooth, smooth_change, mask))
    left = smooth_change - found.predict(smooth)
    weights = None if mask is None else np.asarray(mask / np.float32(255), np.float32)
    matrix, shift = local_part(smooth[:3], left, weights)
    explained = found.predict(inputs)
    explained += np.einsum("oihw,ihw->ohw", matrix, inputs[:3]) + shift
    unexplained = change - explained
    return assembled(
        found, matrix, shift, gated(unexplained if weights is None else unexplained * weights)
    )


def _changed(regressors: Floats, change: Floats, mask: Mask | None) -> tuple[Floats, Floats]:
    """Both planes, as one column of the pixels that may change mostly; all without a mask."""
    if mask is None or not mask.any():
        return regressors, change
    chosen = mask >= min(128, int(mask.max()))
    return regressors[:, chosen][..., None], change[:, chosen][..., None]


def assembled(
    found: GlobalFit, matrix: Floats, shift: Floats, residual: Floats | None
) -> EditModel:
    """The model from its two fits.

    Args:
        found: of the whole image.
        matrix, shift: see :func:`local_fit`.
        residual: what the result keeps of the rest.
    """
    height, width = shift.shape[1:]
    grid = np.concatenate(
        [
            (matrix + found.colours[:, :, None, None]).reshape(9, height, width),
            shift + found.offset[:, None, None],
        ]
    )
    return EditModel(
        weights=found.structure,
        grid=_coarse(grid, max(1, _radius(height, width) // _GRID_STEPS)),
        curve=None if found.curve is None else tone_curve.table(found.curve),
        strokes=found.strokes,
        residual=residual,
    )


def local_part(
    colours: Floats, left: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Step 2: :func:`local_fit` of what the first step leaves, both ``(3, h, w)``."""
    return local_fit(colours, left, _radius(*left.shape[1:]), _LOCAL_RIDGE, weights)


def _radius(height: int, width: int) -> int:
    return max(2, round(max(height, width) * _WINDOW))


def local_fit(
    guide: Floats, target: Floats, radius: int, ridge: float, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """The guided filter's coefficients: ``target ~ A guide + b`` in a window around each pixel.

    ``A = C (S + ridge I)^-1`` with the window's covariance S of the guide and C of target and
    guide; ``b = mean(target) - A mean(guide)``; A and b are then averaged over the window.

    Args:
        guide, target: shape ``(3, h, w)``.
        radius: of the square window, in pixels.
        weights: of the pixels in all means, 0 to 1, shape ``(h, w)``; None: all count alike. Where
            a window has no weight, A and b are 0.

    Returns:
        A, shape ``(3, 3, h, w)``: output, input; and b, shape ``(3, h, w)``.
    """

    def average(plane: Floats) -> Floats:
        side = 2 * radius + 1
        blurred = cv2.boxFilter(plane, cv2.CV_32F, (side, side), borderType=_MIRROR)
        return np.asarray(blurred, dtype=np.float32)

    mean = average if weights is None else _weighted(average, weights)
    guide_mean, target_mean = _each(mean, guide), _each(mean, target)
    own = [[mean(guide[i] * guide[j]) - guide_mean[i] * guide_mean[j] for j in range(i + 1)]
           for i in range(3)]  # fmt: skip
    inverse = _symmetric_inverse(
        own[0][0] + ridge, own[1][0], own[2][0], own[1][1] + ridge, own[2][1], own[2][2] + ridge
    )
    matrix = np.empty((3, 3, *guide.shape[1:]), np.float32)
    shift = np.empty_like(target)
    for output in range(3):
        cross = np.stack(
            [mean(target[output] * guide[i]) - target_mean[output] * guide_mean[i]
             for i in range(3)]
        )  # fmt: skip
        row = np.einsum("ijhw,jhw->ihw", inverse, cross)
        shift[output] = mean(target_mean[output] - (row * guide_mean).sum(axis=0))
        matrix[output] = _each(mean, row)
    return matrix, shift


def _weighted(average: kernels.PlaneFilter, weights: Floats) -> kernels.PlaneFilter:
    """The average of planes with weights: ``average(w plane) / average(w)``; 0 without weight."""
    # A running sum leaves rounding errors where all weights are 0.
    total = average(weights)
    safe = np.where(total > _NO_WEIGHT, total, np.float32(np.inf))

    def mean(plane: Floats) -> Floats:
        return np.asarray(average(plane * weights) / safe, dtype=np.float32)

    return mean


def _symmetric_inverse(
    a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats
) -> Floats:  # fmt: skip
    """The inverse of ``[[a, b, c], [b, d, e], [c, e, f]]`` at each pixel, by cofactors."""
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * first + b * second + c * third
    fifth, sixth, ninth = a * f - c * c, b * c - a * e, a * d - b * b
    rows = [[first, second, third], [second, fifth, sixth], [third, sixth, ninth]]
    return np.asarray(np.stack([np.stack(row) for row in rows]) / determinant, dtype=np.float32)


def smoothed(planes: Floats) -> Floats:
    """Planes as both fits take them, with :data:`_BLUR`."""
    return _each(_smooth, planes)


def _smooth(plane: Floats) -> Floats:
    blurred = cv2.GaussianBlur(plane, (0, 0), _BLUR, borderType=_MIRROR)
    return np.asarray(blurred, dtype=np.float32)


def _each(work: kernels.PlaneFilter, planes: Floats) -> Floats:
    return np.stack([work(np.ascontiguousarray(plane)) for plane in planes])


def _coarse(planes: Floats, step: int) -> Floats:
    """Shrink planes by about ``step``, keeping at least two rows and columns."""
    _, height, width = planes.shape
    return shrunk(planes, (max(2, -(-width // step)), max(2, -(-height // step))))


def shrunk(planes: Floats, size: tuple[int, int]) -> Floats:
    """Planes reduced to ``(width, height)``, by areas."""

    def shrink(plane: Floats) -> Floats:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)

    return _each(shrink, planes)
