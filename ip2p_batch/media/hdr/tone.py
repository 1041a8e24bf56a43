"""Tone-map HDR images to SDR, and undo it after an edit.

An image goes through two steps. *Toned* samples have the light of an SDR display in the source's
own primaries, with room for what is brighter than SDR white, so that every HDR sample has its own
toned one. *SDR* samples are BT.709 of those. A model edits SDR; the edit is transferred to toned
samples, and these are expanded to HDR again. Without an edit, HDR samples return within rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..depth import Samples8, Samples16, to_16_bits
from . import curves
from .curves import HLG, HLG_GAMMA, HLG_PEAK, PQ_PEAK, PRIMARIES, SDR_GAMMA, SDR_WHITE, Doubles

Floats = npt.NDArray[np.float32]

#: Peak in cd/m2 of a source that names none, and the lowest and highest that count.
DEFAULT_PEAK, _PEAKS = 1000.0, (SDR_WHITE, PQ_PEAK)
_ENTRIES = 8192
_BT709 = 1
_NO_TABLE = np.empty(0, np.float32)
_WHITE = 65535


class ToneMap:
    """Conversions between HDR, toned and SDR samples, all uint16, shape ``(height, width, 3)``.

    Args:
        transfer: 16 (PQ) or 18 (HLG).
        primaries: H.273 code of the source's primaries; unknown ones count as BT.2020.
        peak: light of the source's brightest pixels in cd/m2; ignored for HLG.

    Attributes:
        white: the toned sample of SDR white, and of the source's peak.
    """

    def __init__(self, transfer: int, primaries: int, peak: float = DEFAULT_PEAK) -> None:
        is_hlg = transfer == HLG
        top = HLG_PEAK if is_hlg else PQ_PEAK
        peak = HLG_PEAK if is_hlg else min(max(peak, _PEAKS[0]), _PEAKS[1])
        source = primaries if primaries in PRIMARIES else 9
        toned_top = float(curves.tone_curve(top, peak))

        def curve(light: Doubles) -> Doubles:
            return curves.tone_curve(light * top, peak) / toned_top

        self.white = round(_WHITE * (SDR_WHITE / max(SDR_WHITE, toned_top)) ** (1 / SDR_GAMMA))
        samples = np.arange(_WHITE + 1) / _WHITE
        toned_light = samples**SDR_GAMMA
        self._luma = curves.luma_weights(source).astype(np.float32)
        if is_hlg:
            self._linear = _floats(curves.hlg_to_scene(samples))
            self._encode_hdr = _table(curves.scene_to_hlg)
            self._system = _table(lambda y: y ** (HLG_GAMMA - 1))
            self._inverse_system = _table(lambda y: y ** (1 - 1 / HLG_GAMMA))
        else:
            self._linear = _floats(curves.pq_to_light(samples) / top)
            self._encode_hdr = _table(lambda light: curves.light_to_pq(light * top))
            self._system = self._inverse_system = _NO_TABLE
        self._curve, self._inverse_curve = _table(curve), _inverse_table(curve)
        self._encode = _table(lambda light: light ** (1 / SDR_GAMMA))
        self._toned = _floats(toned_light)
        #: Toned light with SDR white at 1, and the other way round.
        self._toned_as_sdr = _floats(toned_light * toned_top / SDR_WHITE)
        self._sdr_as_toned = _floats(toned_light * SDR_WHITE / toned_top)
        self._to_sdr = _floats(curves.gamut_matrix(source, _BT709))
        self._from_sdr = _floats(curves.gamut_matrix(_BT709, source))
        self._sdr_luma = curves.luma_weights(_BT709).astype(np.float32)

    def tone(self, image: Samples16) -> Samples16:
        """HDR to toned samples."""
        from .kernels import tone

        result = np.empty_like(image)
        tone(image, self._linear, self._luma, self._system, self._curve, self._encode, result)
        return result

    def expand(self, image: Samples16) -> Samples16:
        """Toned to HDR samples: the inverse of :meth:`tone`."""
        from .kernels import expand

        result = np.empty_like(image)
        expand(
            image,
            self._toned,
            self._luma,
            self._inverse_system,
            self._inverse_curve,
            self._encode_hdr,
            result,
        )
        return result

    def to_sdr(self, image: Samples16) -> Samples16:
        """Toned to SDR samples; what is beyond BT.709 moves towards its grey."""
        return self._converted(image, self._toned_as_sdr, self._to_sdr, self._sdr_luma)

    def from_sdr(self, image: Samples8 | Samples16) -> Samples16:
        """SDR to toned samples."""
        return self._converted(to_16_bits(image), self._sdr_as_toned, self._from_sdr, self._luma)

    def _converted(
        self, image: Samples16, linear: Floats, matrix: Floats, luma: Floats
    ) -> Samples16:
        from .kernels import convert_gamut

        result = np.empty_like(image)
        convert_gamut(np.ascontiguousarray(image), linear, matrix, luma, self._encode, result)
        return result


@lru_cache(maxsize=4)
def tone_map(transfer: int, primaries: int, peak: float = DEFAULT_PEAK) -> ToneMap:
    """A :class:`ToneMap`, made once."""
    return ToneMap(transfer, primaries, peak)


def _table(function: Callable[[Doubles], Doubles]) -> Floats:
    """A function of 0 to 1 as a table; see :mod:`.kernels`."""
    return _floats(function((np.arange(_ENTRIES) / (_ENTRIES - 1)) ** 8))


def _inverse_table(rising: Callable[[Doubles], Doubles]) -> Floats:
    """The inverse of a rising function from 0 to 1 onto 0 to 1, as a table."""
    roots = np.arange(16 * _ENTRIES) / (16 * _ENTRIES - 1)
    values = rising(roots**8) ** (1 / 8)
    own = np.arange(_ENTRIES) / (_ENTRIES - 1)
    return _floats(np.interp(own, values, roots) ** 8)


def _floats(values: npt.ArrayLike) -> Floats:
    return np.ascontiguousarray(values, np.float32)
