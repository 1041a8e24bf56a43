"""Convert 16-bit samples to sRGB by ICC profiles that are a curve and a matrix.

Pillow's colour management has no 16-bit RGB. Nearly all working spaces (Adobe RGB, Display P3,
ProPhoto RGB, Rec. 2020) are profiles of this kind, with three numbers of matrix and one curve a
channel (ICC.1:2022, 8.3.3 and F.3)::

    XYZ = M curve(rgb),    sRGB = encode(M_sRGB^-1 XYZ)

Both sides are relative to D50, and profiles with black above zero are not read. So this is
relative colorimetric with black point compensation, as Pillow converts 8-bit images here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ..depth import Samples16

Floats = npt.NDArray[np.float32]

_WHITE = 65535
#: Tags of tables, which take precedence over matrix and curves.
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2", b"D2B3")
_STRIP_PIXELS = 1 << 20
#: Highest linear value of sample 0: above, black point compensation would change the colours.
_BLACK = 1e-4
#: Number of parameters of each function of a parametric curve (ICC.1, 10.18).
_PARAMETERS = (1, 3, 4, 5, 7)


@dataclass(frozen=True, slots=True, eq=False)
class MatrixProfile:
    """A profile of curves and, for RGB, a matrix.

    Attributes:
        curves: linear value, 0 to 1, of each 16-bit sample: shape ``(65536,)``; three, or one for
            grey.
        matrix: columns are the colorants in XYZ, relative to D50; None for grey.
    """

    curves: Sequence[Floats]
    matrix: npt.NDArray[np.float64] | None


def parse(icc: bytes) -> MatrixProfile | None:
    """Read a profile; None if it is of another kind, or damaged."""
    try:
        with np.errstate(all="ignore"):  # of damaged curves
            return _parse(icc)
    except (KeyError, ValueError, struct.error, OverflowError):
        return None


def to_srgb_16_bits(samples: Samples16, profile: MatrixProfile, srgb: MatrixProfile) -> Samples16:
    """Convert to sRGB; colours out of its gamut are clipped.

    Args:
        samples: shape ``(h, w, 3)``, or ``(h, w)`` for a profile of grey.
        srgb: the profile of sRGB.

    Returns:
        shape ``(h, w, 3)``.
    """
    height, width = samples.shape[:2]
    result = np.empty((height, width, 3), np.uint16)
    rows = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, rows):
        strip = samples[start : start + rows]
        if profile.matrix is None or srgb.matrix is None:
            linear = np.dstack([profile.curves[0][strip]] * 3)
        else:
            channels = [curve[strip[..., n]] for n, curve in enumerate(profile.curves)]
            mixing = np.linalg.solve(srgb.matrix, profile.matrix)
            linear = np.asarray(cv2.transform(cv2.merge(channels), mixing))
        result[start : start + rows] = np.rint(encode(linear) * _WHITE)
    return result


def encode(linear: Floats) -> Floats:
    """Apply the curve of sRGB (IEC 61966-2-1) to linear values, clipped to 0 to 1."""
    clipped = np.clip(linear, 0, 1)
    curved = np.power(clipped, np.float32(1 / 2.4)) * np.float32(1.055) - np.float32(0.055)
    return np.where(clipped <= 0.0031308, clipped * np.float32(12.92), curved)


def _parse(icc: bytes) -> MatrixProfile | None:
    space, connection = icc[16:20], icc[20:24]
    tags = _tags(icc)
    if connection != b"XYZ " or any(name in tags for name in _TABLES):
        return None
    if space == b"GRAY":
        return MatrixProfile([_curve(tags[b"kTRC"])], None)
    if space != b"RGB ":
        return None
    curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    columns = [_fixed(tags[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    matrix = np.array(columns).T
    return MatrixProfile(curves, matrix) if matrix.shape == (3, 3) else None


def _tags(icc: bytes) -> Mapping[bytes, bytes]:
    (count,) = struct.unpack_from(">L", icc, 128)
    if count > 1000:
        raise ValueError("too many tags")
    entries = [struct.unpack_from(">4sLL", icc, 132 + 12 * n) for n in range(count)]
    return {name: icc[offset : offset + size] for name, offset, size in entries}


def _curve(data: bytes) -> Floats:
    """Evaluate a curve at each 16-bit sample (ICC.1, 10.6 and 10.18)."""
    x = np.arange(_WHITE + 1) / _WHITE
    if data[:4] == b"curv":
        (count,) = struct.unpack_from(">L", data, 8)
        if count > _WHITE:
            raise ValueError("too many points")
        points = np.array(struct.unpack_from(f">{count}H", data, 12))
        if count == 0:
            values = x
        elif count == 1:
            values = x ** (points[0] / 256)
        else:
            values = np.interp(x, np.linspace(0, 1, count), points / _WHITE)
    elif data[:4] == b"para":
        (kind,) = struct.unpack_from(">H", data, 8)
        if kind >= len(_PARAMETERS):
            raise ValueError("unknown function")
        values = _parametric(x, kind, _fixed(data[12 : 12 + 4 * _PARAMETERS[kind]]))
    else:
        raise ValueError("unknown curve")
    curve = np.clip(values, 0, 1).astype(np.float32)
    if not (np.isfinite(curve).all() and curve[0] < _BLACK):
        raise ValueError("values that are not finite, or black above zero")
    return curve


def _parametric(
    x: npt.NDArray[np.float64], kind: int, parameters: Sequence[float]
) -> npt.NDArray[np.float64]:
    """``(a x + b)^g + e`` from d on, below ``c x + f``."""
    g, a, b, c, d, e, f = *parameters, *[0.0] * (7 - len(parameters))
    if kind == 0:
        return x**g
    if kind in (1, 2):  # c is added to both parts, and the lower one has no slope
        c, d, e, f = 0.0, -b / a if a else 0.0, c, c
    upper = np.maximum(a * x + b, 0) ** g + e
    return np.where(x >= d, upper, c * x + f)


def _fixed(data: bytes) -> list[float]:
    """Numbers of type s15Fixed16."""
    return [value / 65536 for value in struct.unpack(f">{len(data) // 4}l", data)]
