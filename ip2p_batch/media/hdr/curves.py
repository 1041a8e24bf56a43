"""The equations of high dynamic range, as pure functions of numbers or arrays.

Light is in cd/m2 (nits) of the display, where 203 is the white of SDR (BT.2408, 2.2).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

#: H.273 codes of transfer characteristics.
PQ, HLG = 16, 18
#: Light of SDR white in HDR, and of the brightest PQ and HLG samples.
SDR_WHITE, PQ_PEAK, HLG_PEAK = 203.0, 10000.0, 1000.0
#: Exponent of SDR displays (BT.1886).
SDR_GAMMA = 2.4
#: Exponent of the HLG system at a display peak of 1000 (BT.2100, table 5, note 5f).
HLG_GAMMA = 1.2
#: Slope of the tone curve at the source's peak, in PQ. BT.2390 has 0, which cannot be inverted.
_TAIL = 0.1

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A = 0.17883277
_B, _C = 1 - 4 * _A, 0.5 - _A * np.log(4 * _A)

#: Chromaticities of red, green, blue and white by H.273's code of primaries.
_WHITE_D65 = (0.3127, 0.3290)
PRIMARIES: Mapping[int, tuple[tuple[float, float], ...]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _WHITE_D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _WHITE_D65),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _WHITE_D65),
}


def pq_to_light(signal: npt.ArrayLike) -> Doubles:
    """The PQ EOTF (SMPTE ST 2084, 5.1; BT.2100, table 4): signal 0 to 1 to cd/m2.

    ``10000 (max(N^(1/m2) - c1, 0) / (c2 - c3 N^(1/m2)))^(1/m1)``
    """
    power = np.maximum(np.asarray(signal, np.float64), 0) ** (1 / _M2)
    return np.asarray(PQ_PEAK * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def light_to_pq(light: npt.ArrayLike) -> Doubles:
    """The inverse of :func:`pq_to_light`: ``((c1 + c2 L^m1) / (1 + c3 L^m1))^m2``."""
    power = (np.maximum(np.asarray(light, np.float64), 0) / PQ_PEAK) ** _M1
    signal = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return np.asarray(np.where(power > 0, signal, 0))


def hlg_to_scene(signal: npt.ArrayLike) -> Doubles:
    """The inverse HLG OETF (BT.2100, table 5): signal 0 to 1 to scene light 0 to 1.

    ``E'^2 / 3`` up to 1/2, ``(exp((E' - c) / a) + b) / 12`` above.
    """
    signal = np.maximum(np.asarray(signal, np.float64), 0)
    return np.asarray(
        np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    )


def scene_to_hlg(scene: npt.ArrayLike) -> Doubles:
    """The HLG OETF: ``sqrt(3 E)`` up to 1/12, ``a ln(12 E - b) + c`` above."""
    scene = np.maximum(np.asarray(scene, np.float64), 0)
    logarithm = _A * np.log(np.maximum(12 * scene - _B, 1e-9)) + _C
    return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm))


def tone_curve(light: npt.ArrayLike, peak: float) -> Doubles:
    """The EETF of BT.2390-10, 5.4.1, from a display of ``peak`` to one of SDR white; rises always.

    In PQ relative to the peak, values up to the knee ``KS = 1.5 m - 0.5`` are kept, where m is SDR
    white; a Hermite spline leads from there to (1, m). Its slope at the end, 0.1 here, continues
    above the peak, so that the curve has an inverse.

    Args:
        light: of the brightest channel, in cd/m2, up to 10000.
        peak: of the source, in cd/m2.

    Returns:
        cd/m2; 203 for ``peak``.
    """
    scale = float(light_to_pq(max(peak, SDR_WHITE)))
    white = float(light_to_pq(SDR_WHITE)) / scale
    signal = light_to_pq(light) / scale
    if white >= 1:
        return pq_to_light(signal * scale)
    knee = 1.5 * white - 0.5
    t = np.clip((signal - knee) / (1 - knee), 0, 1)
    spline = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * white
        + (t**3 - t**2) * (1 - knee) * _TAIL
    )
    toned = np.where(signal < knee, signal, spline + _TAIL * np.maximum(signal - 1, 0))
    return pq_to_light(toned * scale)


def luma_weights(primaries: int) -> Doubles:
    """Shares of R, G and B in the luminance, for primaries of :data:`PRIMARIES`."""
    return np.asarray(_to_xyz(primaries)[1])


def gamut_matrix(source: int, target: int) -> Doubles:
    """Matrix from linear RGB of one set of primaries to another; shape ``(3, 3)``."""
    return np.asarray(np.linalg.inv(_to_xyz(target)) @ _to_xyz(source))


def _to_xyz(primaries: int) -> Doubles:
    """Matrix from linear RGB to XYZ with Y = 1 for white (SMPTE RP 177)."""
    corners = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    return np.asarray(corners[:, :3] * np.linalg.solve(corners[:, :3], corners[:, 3]))
