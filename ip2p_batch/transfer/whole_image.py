"""The whole-image fit: ``d ~ B s + W phi(s) + C h(s) + v k(s) + c``.

d is the change of an edit and s its source. Two terms are used only where they explain a part of d
that the others do not:

- the tone curve h (:mod:`.tone_curve`), for tones or palettes that are no affine function;
- brush strokes k (:mod:`.painting`), for edits that paint flat patches. Paint moves each colour to
  the patch's own, so that one number v is the strength for all colours. Autoencoders lose the
  finest detail, which flat patches explain a little, too: strokes have to explain more than a blur
  of the source does.

Each share follows a soft threshold, since a hard one would make a video flicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..frame import FullImage
from . import features, kernels, tone_curve
from .kernels import Doubles, Floats
from .painting import strokes

#: Ridge of the fit, relative to each regressor's variance.
_RIDGE = 1e-4
#: Standard deviation below which a regressor counts as flat. Scaled to a variance of 1, it would
#: get weights of any size, and what is a little stronger at full size would come out glaring.
_FLAT = 0.01
#: Optional regressors come in where they lower the squared error of the fit by the first share, and
#: are used in full from the second on.
_CURVE_GAIN = (0.2, 0.3)
_STROKES_GAIN = (0.013, 0.028)
#: Squared error, over three colours from 0 to 1, that needs no explanation.
_NOISE = 3 * 0.02**2
#: Blurs of the control for brush strokes, in pixels.
_CONTROL_BLURS = (1.0, 2.0)
#: The shares are found on every so many-th pixel.
_STEP = 5

_MIRROR = cv2.BORDER_REFLECT

#: Where the regressors are: colours and structure features, which are always used; the tone curve;
#: brush strokes; and the control, which is never used in the result.
_BASE = range(3 + features.COUNT)
_CURVE = range(_BASE.stop, _BASE.stop + tone_curve.COUNT)
_STROKES = range(_CURVE.stop, _CURVE.stop + 3)
_CONTROL = range(_STROKES.stop, _STROKES.stop + 3 * len(_CONTROL_BLURS))


@dataclass(frozen=True, slots=True, eq=False)
class GlobalFit:
    """The coefficients of the whole-image fit.

    Attributes:
        matrix: B, W and C by output colour, ``(3, 3 + 6 + 7)``.
        offset: c, ``(3,)``.
        strokes: v, 0 where brush strokes are not used.
    """

    matrix: Floats
    offset: Floats
    strokes: float

    @property
    def colours(self) -> Floats:
        """B, ``(3, 3)``."""
        return self.matrix[:, :3]

    @property
    def structure(self) -> Floats:
        """W, ``(3, 6)``."""
        return np.ascontiguousarray(self.matrix[:, 3 : _BASE.stop])

    @property
    def curve(self) -> Floats | None:
        """C, ``(3, 7)``; None where the tone curve is not used."""
        curve = self.matrix[:, _CURVE]
        return np.ascontiguousarray(curve) if curve.any() else None

    def predict(self, regressors: Floats) -> Floats:
        """The change of each pixel, ``(3, h, w)``, for :func:`regressors` of a source."""
        used = slice(0, _BASE.stop if self.curve is None else _CURVE.stop)
        result = np.einsum("on,nhw->ohw", self.matrix[:, used], regressors[used])
        result += self.offset[:, None, None]
        if self.strokes:
            result += np.float32(self.strokes) * regressors[_STROKES]
        return np.asarray(result, dtype=np.float32)


def regressors(source: FullImage) -> Floats:
    """All regressors of a source, ``(n, h, w)``: colours first."""
    colours = planar(source)
    planes = (colours[0], colours[1], colours[2])
    curve = tone_curve.hats(kernels.luma(*planes, np.float32(1)))
    control = [
        np.asarray(cv2.GaussianBlur(plane, (0, 0), blur, borderType=_MIRROR)) - plane
        for blur in _CONTROL_BLURS
        for plane in colours
    ]
    parts = (colours, features.features(planes, 1.0), curve, strokes(planes, 1.0), control)
    return np.concatenate(parts)


def planar(image: FullImage) -> Floats:
    """Colours from 0 to 1, ``(3, h, w)``."""
    peak = np.float32(np.iinfo(image.dtype).max)
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / peak


def global_fit(regressors: Floats, change: Floats) -> GlobalFit:
    """Fit the change, with as much of the tone curve and of brush strokes as they explain.

    Args:
        regressors: of :func:`regressors`, smoothed.
        change: d, ``(3, h, w)``.
    """
    curve, painted = _shares(regressors, change)
    rows = [*_BASE, *(_CURVE if curve else ()), *(_STROKES if painted else ())]
    equations = NormalEquations.of(regressors[rows], change)
    fitted = range(len(rows) - 3 if painted else len(rows))
    strokes = 0.0
    if painted:
        own = range(fitted.stop, len(rows))
        strokes = painted * max(0.0, equations.strength(fitted, own, _RIDGE)[0])
        equations = equations.without(strokes, own)
    weights = equations.solve(_BASE, _RIDGE)
    if curve:
        weights += curve * (equations.solve(fitted, _RIDGE) - weights)
    found, offset = equations.coefficients(weights)
    matrix = np.zeros((3, _CURVE.stop), np.float32)
    matrix[:, : fitted.stop] = found[:, : fitted.stop]
    return GlobalFit(matrix, offset, strokes)


def _shares(regressors: Floats, change: Floats) -> tuple[float, float]:
    """The shares of the tone curve and of brush strokes, from 0 to 1."""
    equations = NormalEquations.of(_sampled(regressors), _sampled(change))

    def error(used: Sequence[int]) -> float:
        return equations.error(equations.solve(used, _RIDGE)) + _NOISE

    curve = 1 - error([*_BASE, *_CURVE]) / error(_BASE)
    control = [*_BASE, *_CURVE, *_CONTROL]
    strength, explained = equations.strength(control, _STROKES, _RIDGE)
    painted = explained / error(control) if strength > 0 else 0.0
    return _share(curve, _CURVE_GAIN), _share(painted, _STROKES_GAIN)


def _share(gain: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return min(1.0, max(0.0, (gain - low) / (high - low)))


def _sampled(planes: Floats) -> Floats:
    return np.ascontiguousarray(planes.reshape(len(planes), -1)[:, ::_STEP, None])


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
            gram=kernels.gram(rows) / len(rows),
            moments=kernels.products(rows, goal) / len(rows),
            means=means,
            deviations=deviations,
            target_means=target_means,
            target_energy=float(np.square(goal, dtype=np.float64).mean(axis=0).sum()),
        )

    def solve(self, used: Sequence[int], ridge: float) -> Doubles:
        """Weights of the scaled regressors, ``(n, 3)``; 0 for those that are not used."""
        weights = np.zeros_like(self.moments)
        weights[used] = np.linalg.solve(self._ridged(used, ridge), self.moments[used])
        return weights

    def _ridged(self, used: Sequence[int], ridge: float) -> Doubles:
        return np.asarray(self.gram[np.ix_(used, used)] + ridge * np.eye(len(used)))

    def error(self, weights: Doubles) -> float:
        """Mean squared error of a solution, summed over the target's colours."""
        fitted = np.vdot(weights, self.gram @ weights) - 2 * np.vdot(weights, self.moments)
        return max(0.0, self.target_energy + float(fitted))

    def strength(
        self, used: Sequence[int], own: Sequence[int], ridge: float
    ) -> tuple[float, float]:
        """One factor v for regressors that each belong to one colour of the target.

        Args:
            used: the regressors that are fitted as well.
            own: the regressors of red, green and blue.

        Returns:
            v, and by how much ``v`` lowers the mean squared error, summed over colours.
        """
        used, own = list(used), list(own)
        cross = self.gram[np.ix_(used, own)]
        partial = np.linalg.solve(self._ridged(used, ridge), cross)  # of the strokes, on the others
        scale = self.deviations[own]
        covariance = self.moments[own, range(3)] - (partial * self.moments[used]).sum(axis=0)
        variance = self.gram[own, own] - (partial * cross).sum(axis=0)
        above, below = scale @ covariance, scale**2 @ variance + _FLAT**2 * 1e-3
        return float(above / below), float(above**2 / below)

    def without(self, strength: float, own: Sequence[int]) -> NormalEquations:
        """The equations for the target minus ``strength`` times a regressor for each colour."""
        own = list(own)
        factors = strength * self.deviations[own]
        means = self.target_means - strength * self.means[own]
        moments = self.moments - factors * self.gram[:, own]
        return replace(self, moments=moments, target_means=means)

    def coefficients(self, weights: Doubles) -> tuple[Floats, Floats]:
        """M, shape ``(3, n)``, and c, shape ``(3,)``, of the regressors as they were given."""
        scaled = weights / self.deviations[:, None]
        offset = self.target_means - self.means @ scaled
        return scaled.T.astype(np.float32), offset.astype(np.float32)


def _standardized(regressors: Floats) -> tuple[Floats, Doubles, Doubles]:
    """Regressors of mean 0 and a variance of at most 1, ``(pixels, n)``; means and deviations."""
    planes = regressors.reshape(len(regressors), -1)
    means = planes.mean(axis=1, dtype=np.float64)
    centred = planes - means.astype(np.float32)[:, None]
    deviations = np.sqrt(np.square(centred).mean(axis=1, dtype=np.float64) + _FLAT**2)
    centred /= deviations.astype(np.float32)[:, None]
    return np.ascontiguousarray(centred.T), means, deviations
