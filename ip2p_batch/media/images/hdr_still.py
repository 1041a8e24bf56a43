"""Bring still images of high dynamic range to sRGB."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from ..depth import Samples16
from ..hdr.curves import SDR_GAMMA
from ..hdr.tone import DEFAULT_PEAK, tone_map
from .matrix_profile import encode

_WHITE = 65535
_STRIP_PIXELS = 1 << 20


class HdrStill(NamedTuple):
    """A kind of high dynamic range.

    Attributes:
        transfer: 16 (PQ) or 18 (HLG).
        primaries: H.273 code.
        peak: light of the brightest pixels in cd/m2; 0 if unknown.
    """

    transfer: int
    primaries: int
    peak: float = 0.0

    def to_srgb(self, rgb: Samples16) -> Samples16:
        """Tone-map samples; the light of an SDR display (BT.1886) is then encoded as sRGB.

        Args:
            rgb: shape ``(height, width, 3)``.
        """
        tones = tone_map(self.transfer, self.primaries, self.peak or DEFAULT_PEAK)
        result = np.empty_like(rgb)
        rows = max(1, _STRIP_PIXELS // max(1, rgb.shape[1]))
        for start in range(0, len(rgb), rows):
            strip = np.ascontiguousarray(rgb[start : start + rows])
            result[start : start + rows] = _as_srgb()[tones.to_sdr(tones.tone(strip))]
        return result


@cache
def _as_srgb() -> Samples16:
    """SRGB samples of the light that an SDR display shows, by its samples."""
    samples = np.linspace(0, 1, _WHITE + 1)
    light = np.asarray(samples**SDR_GAMMA, np.float32)
    return np.rint(encode(light) * _WHITE).astype(np.uint16)
