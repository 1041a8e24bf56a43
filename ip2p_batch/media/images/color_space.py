"""Colour spaces that a file names by numbers and not by an ICC profile, and their conversion.

- CICP code points (ITU-T H.273), in PNG's cICP chunk and the colr box of AVIF and HEIC.
- PNG's gAMA, cHRM and sRGB chunks. The order of precedence is the standard's (PNG, third edition,
  4.3): cICP, iCCP, sRGB, then gAMA and cHRM.
- Exif's DCF option file, "R03", which is Adobe RGB (1998) (Exif 3.0, 4.6.8, and DCF 2.0).

Video codes without a curve for stills of their own (BT.709, BT.601) mean sRGB's curve here, as
image viewers show them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from .hdr_still import HdrStill
from .matrix_profile import MatrixProfile

Floats = npt.NDArray[np.float64]
#: x and y of red, green, blue and white.
Chromaticities = tuple[float, float, float, float, float, float, float, float]

_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
_ADOBE: Chromaticities = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
#: H.273, table 2.
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", _BT709),
    4: ("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C)),
    5: ("BT.601 (625 lines)", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65)),
    6: ("BT.601 (525 lines)", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)),
    7: ("SMPTE 240M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)),
    8: ("film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C)),
    9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)),
    11: ("DCI P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_DCI)),
    12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65)),
    22: ("EBU 3213", (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65)),
}
#: H.273, table 3: curves that are sRGB's here, and powers.
_SRGB_CURVES = (1, 2, 6, 13, 14, 15)
_POWERS = {4: 2.2, 5: 2.8, 8: 1.0}
_HDR = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2
#: D50 as XYZ, the white of ICC profiles (ICC.1, 7.2.16).
_D50 = np.array([0.9642, 1.0, 0.8249])
#: Bradford's cone responses (ICC.1, annex E).
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
#: sRGB's own power; PNG files with it and sRGB's primaries, or none, are meant as sRGB.
_SRGB_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.01


@dataclass(frozen=True, slots=True)
class ColorSpace:
    """Colours by primaries and a curve.

    Attributes:
        name: for a warning.
        chromaticities: of the primaries and white.
        power: exponent from sample to light; 0 for sRGB's curve.
        hdr: how to bring high dynamic range to sRGB; None for standard dynamic range.
    """

    name: str
    chromaticities: Chromaticities
    power: float = 0.0
    hdr: HdrStill | None = None

    @property
    def is_srgb(self) -> bool:
        """Whether samples mean the same as in sRGB."""
        return not self.power and not self.hdr and self.chromaticities == _BT709

    def profile(self) -> MatrixProfile:
        """Curves and matrix.

        Raises:
            ValueError: the primaries span no triangle.
        """
        samples = np.arange(65536) / 65535
        curve = _srgb_light(samples) if not self.power else samples**self.power
        return MatrixProfile([curve.astype(np.float32)] * 3, to_d50(self.chromaticities))


ADOBE_RGB = ColorSpace("Adobe RGB (1998)", _ADOBE, 563 / 256)


def of_cicp(primaries: int, transfer: int, peak: float = 0.0) -> ColorSpace:
    """The colour space of two code points; unspecified ones are sRGB's.

    Args:
        peak: light of the brightest pixels in cd/m2, for PQ; 0 if unknown.

    Raises:
        ValueError: a code without a conversion.
    """
    if primaries == _UNSPECIFIED:
        name, chromaticities = "sRGB", _BT709
    elif primaries in _PRIMARIES:
        name, chromaticities = _PRIMARIES[primaries]
    else:
        raise ValueError(f"colour primaries of code {primaries} (H.273)")
    if transfer in _HDR:
        hdr = HdrStill(transfer, primaries, peak)
        return ColorSpace(f"{name} {_HDR[transfer]}", chromaticities, hdr=hdr)
    if transfer in _SRGB_CURVES:
        return ColorSpace(name, chromaticities)
    if transfer not in _POWERS:
        raise ValueError(f"transfer characteristics of code {transfer} (H.273)")
    return ColorSpace(f"{name}, gamma {_POWERS[transfer]:g}", chromaticities, _POWERS[transfer])


def of_png(gamma: bytes | None, chromaticities: bytes | None) -> ColorSpace:
    """The colour space of the contents of the chunks gAMA and cHRM.

    Raises:
        ValueError: a damaged chunk.
    """
    corners = _BT709 if chromaticities is None else _png_corners(chromaticities)
    if gamma is None:
        return ColorSpace("cHRM", corners)
    if len(gamma) != 4:
        raise ValueError("a damaged gAMA chunk")
    (stored,) = struct.unpack(">L", gamma)
    value = stored / 100_000
    if not 0.05 <= value <= 5:
        raise ValueError("a damaged gAMA chunk")
    if corners == _BT709 and abs(value - _SRGB_GAMMA) <= _GAMMA_TOLERANCE:
        return ColorSpace("sRGB", corners)
    name = f"gamma {1 / value:.3g}" + ("" if chromaticities is None else " and cHRM")
    return ColorSpace(name, corners, 1 / value)


def _png_corners(data: bytes) -> Chromaticities:
    if len(data) != 32:
        raise ValueError("a damaged cHRM chunk")
    white_x, white_y, *rest = (value / 100_000 for value in struct.unpack(">8L", data))
    corners = (*rest, white_x, white_y)
    # Rounded sRGB, as many programs write it, is sRGB.
    if max(abs(own - known) for own, known in zip(corners, _BT709, strict=True)) <= 0.001:
        return _BT709
    result = tuple(corners)
    to_d50(result)
    return result


def to_d50(chromaticities: Chromaticities) -> Floats:
    """The matrix from linear RGB to XYZ relative to D50 (ICC.1, annex E; SMPTE RP 177).

    Raises:
        ValueError: the primaries span no triangle, or a y is zero.
    """
    points = np.array(chromaticities, np.float64).reshape(4, 2)
    if (points[:, 1] <= 0).any() or (points < 0).any():
        raise ValueError("damaged chromaticities")
    xyz = np.stack([points[:, 0], points[:, 1], 1 - points.sum(axis=1)], axis=1) / points[:, 1:]
    corners, white = xyz[:3].T, xyz[3]
    try:
        matrix = corners * np.linalg.solve(corners, white)
    except np.linalg.LinAlgError:
        raise ValueError("damaged chromaticities") from None
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise ValueError("damaged chromaticities")
    scale = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted: Floats = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ matrix
    return adapted


def _srgb_light(samples: Floats) -> Floats:
    """Linear light of sRGB samples (IEC 61966-2-1)."""
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


@cache
def srgb_matrix_profile() -> MatrixProfile:
    """SRGB itself."""
    return ColorSpace("sRGB", _BT709).profile()
