"""Fit the model of an edit: how its colours and lines follow from the source.

The edited image e and the source s at the edit size differ by d = e - s. The model explains d in
two steps, each a least-squares fit:

1. *Whole image*: ``d ~ B s + W phi(s) + V k(s) + c``, with the colours s, the structure features
   phi (:mod:`.features`) and, if they explain a part of d, brush strokes k (:mod:`.painting`). It
   finds the tone curve, lines that are drawn along edges, and flat patches of paint.
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

from ..frame import FullImage, Image
from . import features, kernels
from .kernels import Doubles, Floats
from .painting import strokes
from .residual import gated

#: Blur of source and edit before the fit, in pixels: autoencoders lose the finest detail, which
#: would lower the coefficients.
_BLUR = 0.7
#: Ridge of the whole-image fit, relative to each regressor's variance.
_RIDGE = 1e-4
#: Standard deviation below which a regressor counts as flat. Scaled to a variance of 1, it would
#: get weights of any size, and what is a little stronger at full size would come out glaring.
_FLAT = 0.01
#: Ridge of the local fit, as a variance of colours from 0 to 1.
_LOCAL_RIDGE = 1e-3
#: Radius of the local fit's window, as a part of the longest side.
_WINDOW = 1 / 16
#: Coefficients of the local fit are kept for every window/4-th pixel: they are averages over it.
_GRID_STEPS = 4

#: Brush strokes come in where they lower the squared error of the fit by the first share, and are
#: used in full from the second on.
_LOW_GAIN, _HIGH_GAIN = 0.04, 0.08
#: Squared error, over three colours from 0 to 1, that needs no explanation.
_NOISE = 3 * 0.02**2
#: Number of the first regressor that is a brush stroke, after colours and structure features.
_STROKES = 3 + features.COUNT

_MIRROR = cv2.BORDER_REFLECT


@dataclass(frozen=True, slots=True, eq=False)
class EditModel:
    """The edit of one image as a function of its source.

    Attributes:
        weights: W, shape ``(3, 6)``: output colour by structure feature.
        grid: A + B and b + c around points of a coarse grid, shape ``(12, rows, columns)``: nine
            of the matrix, for red, green and blue, then three of the offset.
        strokes: V, shape ``(3, 3)``: output colour by colour of the brush strokes; None without.
        residual: what the model does not explain and the result keeps, at the edit size, shape
            ``(h, w, 3)``; None if nothing.
    """

    weights: Floats
    grid: Floats
    strokes: Floats | None
    residual: Floats | None


def fit(source: Image, edited: Image) -> EditModel:
    """Fit the model.

    Args:
        source, edited: the image before and after the edit, uint8 RGB of one shape, without
            padding.

    Raises:
        ValueError: the shapes differ.
    """
    if source.shape != edited.shape:
        raise ValueError(f"images of two shapes, {source.shape} and {edited.shape}")
    inputs, change = regressors(source, edited)
    smooth, smooth_change = smoothed(inputs), smoothed(change)
    global_part, offset = global_fit(smooth, smooth_change)
    left = smooth_change - predicted(smooth, global_part, offset)
    matrix, shift = local_part(smooth[:3], left)
    explained = predicted(inputs, global_part, offset)
    explained += np.einsum("oihw,ihw->ohw", matrix, inputs[:3]) + shift
    return assembled(global_part, offset, matrix, shift, gated(change - explained))


def assembled(
    global_part: Floats, offset: Floats, matrix: Floats, shift: Floats, residual: Floats | None
) -> EditModel:
    """The model from its two fits.

    Args:
        global_part, offset: see :func:`global_fit`.
        matrix, shift: see :func:`local_fit`.
        residual: what the result keeps of the rest.
    """
    height, width = shift.shape[1:]
    grid = np.concatenate(
        [
            (matrix + global_part[:, :3, None, None]).reshape(9, height, width),
            shift + offset[:, None, None],
        ]
    )
    return EditModel(
        weights=np.ascontiguousarray(global_part[:, 3:_STROKES]),
        grid=_coarse(grid, max(1, _radius(height, width) // _GRID_STEPS)),
        strokes=np.ascontiguousarray(global_part[:, _STROKES:])
        if global_part[:, _STROKES:].any()
        else None,
        residual=residual,
    )


def local_part(colours: Floats, left: Floats) -> tuple[Floats, Floats]:
    """Step 2: :func:`local_fit` of what the first step leaves, both ``(3, h, w)``."""
    return local_fit(colours, left, _radius(*left.shape[1:]), _LOCAL_RIDGE)


def _radius(height: int, width: int) -> int:
    return max(2, round(max(height, width) * _WINDOW))


def global_fit(regressors: Floats, change: Floats) -> tuple[Floats, Floats]:
    """Step 1: fit with and without brush strokes, and mix the two by what the strokes explain.

    A soft threshold, since a hard one would make a video flicker.

    Args:
        regressors: colours, structure features and brush strokes, ``(12, h, w)``.
        change: d, ``(3, h, w)``.

    Returns:
        the weights, ``(3, 12)``, and the offset, ``(3,)``; the weights of brush strokes are exactly
        0 where they explain little.
    """
    equations = NormalEquations.of(regressors, change)
    plain, full = equations.solve(_STROKES, _RIDGE), equations.solve(len(regressors), _RIDGE)
    gain = 1 - (equations.error(full) + _NOISE) / (equations.error(plain) + _NOISE)
    share = np.clip((gain - _LOW_GAIN) / (_HIGH_GAIN - _LOW_GAIN), 0, 1)
    return equations.coefficients(plain + share * (full - plain))


@dataclass(frozen=True, slots=True, eq=False)
class NormalEquations:
    """Least squares over all pixels: ``target ~ M regressors + c``.

    The regressors are scaled to a variance of at most 1, so that their units do not matter to a
    ridge.

    Attributes:
        gram: their products with each other, means over pixels, ``(n, n)``.
        moments: their products with the target, ``(n, 3)``.
        means, deviations: of the regressors, ``(n,)``.
        target_means, target_energy: means of the target, ``(3,)``, and the sum of its variances.
    """

    gram: Doubles
    moments: Doubles
    means: Doubles
    deviations: Doubles
    target_means: Doubles
    target_energy: float

    @classmethod
    def of(cls, regressors: Floats, target: Floats) -> NormalEquations:
        """The equations for regressors ``(n, h, w)`` and a target ``(3, h, w)``."""
        rows, means, deviations = _standardized(regressors)
        goal = target.reshape(len(target), -1).T
        target_means = goal.mean(axis=0, dtype=np.float64)
        goal = np.ascontiguousarray(goal - target_means, dtype=np.float32)
        return cls(
            gram=kernels.products(rows, rows) / len(rows),
            moments=kernels.products(rows, goal) / len(rows),
            means=means,
            deviations=deviations,
            target_means=target_means,
            target_energy=float(np.square(goal, dtype=np.float64).mean(axis=0).sum()),
        )

    def solve(self, count: int, ridge: float) -> Doubles:
        """Weights of the scaled regressors, ``(n, 3)``; only the first ``count`` are used."""
        weights = np.zeros_like(self.moments)
        gram = self.gram[:count, :count] + ridge * np.eye(count)
        weights[:count] = np.linalg.solve(gram, self.moments[:count])
        return weights

    def error(self, weights: Doubles) -> float:
        """Mean squared error of a solution, summed over the target's colours."""
        fitted = np.vdot(weights, self.gram @ weights) - 2 * np.vdot(weights, self.moments)
        return max(0.0, self.target_energy + float(fitted))

    def coefficients(self, weights: Doubles) -> tuple[Floats, Floats]:
        """M, shape ``(3, n)``, and c, shape ``(3,)``, of the regressors as they were given."""
        scaled = weights / self.deviations[:, None]
        offset = self.target_means - self.means @ scaled
        return scaled.T.astype(np.float32), offset.astype(np.float32)


def _standardized(regressors: Floats) -> tuple[Floats, Doubles, Doubles]:
    """Regressors of mean 0 and a variance of at most 1, ``(pixels, n)``; means and deviations."""
    rows = regressors.reshape(len(regressors), -1).T
    means = rows.mean(axis=0, dtype=np.float64)
    centred = rows - means
    deviations = np.sqrt(np.square(centred).mean(axis=0) + _FLAT**2)
    return np.ascontiguousarray(centred / deviations, dtype=np.float32), means, deviations


def local_fit(guide: Floats, target: Floats, radius: int, ridge: float) -> tuple[Floats, Floats]:
    """The guided filter's coefficients: ``target ~ A guide + b`` in a window around each pixel.

    ``A = C (S + ridge I)^-1`` with the window's covariance S of the guide and C of target and
    guide; ``b = mean(target) - A mean(guide)``; A and b are then averaged over the window.

    Args:
        guide, target: shape ``(3, h, w)``.
        radius: of the square window, in pixels.

    Returns:
        A, shape ``(3, 3, h, w)``: output, input; and b, shape ``(3, h, w)``.
    """

    def mean(plane: Floats) -> Floats:
        side = 2 * radius + 1
        blurred = cv2.boxFilter(plane, cv2.CV_32F, (side, side), borderType=_MIRROR)
        return np.asarray(blurred, dtype=np.float32)

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


def _symmetric_inverse(
    a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, f: Floats
) -> Floats:  # fmt: skip
    """The inverse of ``[[a, b, c], [b, d, e], [c, e, f]]`` at each pixel, by cofactors."""
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * first + b * second + c * third
    fifth, sixth, ninth = a * f - c * c, b * c - a * e, a * d - b * b
    rows = [[first, second, third], [second, fifth, sixth], [third, sixth, ninth]]
    return np.asarray(np.stack([np.stack(row) for row in rows]) / determinant, dtype=np.float32)


def regressors(source: FullImage, edited: FullImage) -> tuple[Floats, Floats]:
    """What the model fits: colours, structure features and brush strokes; and the change d.

    Returns:
        shapes ``(12, h, w)`` and ``(3, h, w)``.
    """
    colours = _planar(source)
    planes = (colours[0], colours[1], colours[2])
    inputs = np.concatenate([colours, features.features(planes, 1.0), strokes(planes, 1.0)])
    return inputs, _planar(edited) - colours


def predicted(regressors: Floats, matrix: Floats, offset: Floats) -> Floats:
    """``matrix regressors + offset``: shapes ``(n, h, w)``, ``(3, n)``, ``(3,)``."""
    result = np.einsum("on,nhw->ohw", matrix, regressors) + offset[:, None, None]
    return np.asarray(result, dtype=np.float32)


def smoothed(planes: Floats) -> Floats:
    """Planes as both fits take them, with :data:`_BLUR`."""
    return _each(_smooth, planes)


def _planar(image: FullImage) -> Floats:
    peak = np.float32(np.iinfo(image.dtype).max)
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / peak


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
