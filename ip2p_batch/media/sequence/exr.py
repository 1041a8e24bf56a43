"""OpenEXR: what its header states, and its linear light as sRGB samples and back.

EXR stores linear light of any range, with colours multiplied by their opacity (OpenEXR, "Technical
Introduction"). Frames are edited as sRGB samples of 16 bits (IEC 61966-2-1); light above 1 is
clipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from ...errors import SourceError
from ...frame import Alpha, FullImage
from ..depth import Samples16, to_16_bits

Floats = npt.NDArray[np.float32]

_MAGIC = b"\x76\x2f\x31\x01"
#: x and y of red, green, blue and white of BT.709 and sRGB, which a file without them has.
_REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_TOLERANCE = 0.002
_WHITE = 65535
_MOST_HEADER = 1 << 20
_FLOAT = 2  # pixel type in the list of channels


@dataclass(frozen=True, slots=True)
class Header:
    """Facts of the first part of a file.

    Attributes:
        samples: ``float`` if any channel has 32 bits.
        chromaticities: of the colours, as :data:`_REC709`; None if the file states none.
    """

    samples: Literal["half", "float"] = "half"
    chromaticities: tuple[float, ...] | None = None


def read_header(path: Path) -> Header:
    """Read the header of a file; a damaged one states nothing, and decoding reports it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_HEADER)
    try:
        attributes = _attributes(data)
    except (ValueError, struct.error):
        return Header()
    samples: Literal["half", "float"] = "half"
    if any(kind == _FLOAT for kind in _pixel_types(attributes.get(b"channels", b""))):
        samples = "float"
    stated = attributes.get(b"chromaticities", b"")
    return Header(samples, struct.unpack("<8f", stated) if len(stated) == 32 else None)


def check_primaries(path: Path) -> None:
    """Refuse colours that are not those of BT.709, such as ACES.

    Raises:
        SourceError: they are not.
    """
    stated = read_header(path).chromaticities
    if stated is None or np.allclose(stated, _REC709, atol=_TOLERANCE):
        return
    raise SourceError(
        f"{path}: its primaries are not those of BT.709, and only those are edited.",
        path=path,
        hint="Convert the frames first, for example in Nuke or with oiiotool --colorconvert.",
    )


def without_opacity(light: Floats, opacity: Floats | None) -> Floats:
    """Divide colours by their opacity; NaN becomes black.

    Args:
        light: shape ``(height, width, 3)``.
        opacity: 0 to 1, shape ``(height, width)``; None is opaque.
    """
    if opacity is not None:
        with np.errstate(all="ignore"):
            light = np.where(opacity[..., None] > 0, light / opacity[..., None], 0)
    return np.asarray(np.nan_to_num(light), np.float32)


def to_srgb(light: Floats) -> Samples16:
    """Convert linear light to sRGB samples; values outside 0 to 1 are clipped.

    Args:
        light: shape ``(height, width, 3)``, not multiplied by opacity.
    """
    light = np.clip(light, 0, 1)
    # IEC 61966-2-1, 5.2: from linear light to samples.
    curve = 1.055 * np.power(light, 1 / 2.4, dtype=np.float64) - 0.055
    samples = np.where(light <= 0.0031308, 12.92 * light, curve)
    return cast(Samples16, np.rint(samples * _WHITE).astype(np.uint16))


def from_srgb(image: FullImage, alpha: Alpha | None) -> Floats:
    """Inverse of :func:`to_srgb` and :func:`without_opacity`."""
    light: Floats = _light()[to_16_bits(image)]
    if alpha is None:
        return light
    return np.asarray(light * opacity_of(alpha)[..., None], np.float32)


def opacity_of(alpha: Alpha) -> Floats:
    """Opacity from 0 to 1."""
    return np.asarray(alpha / np.float32(np.iinfo(alpha.dtype).max), np.float32)


@lru_cache(maxsize=1)
def _light() -> Floats:
    """Linear light of each sRGB sample of 16 bits (IEC 61966-2-1, 5.2)."""
    samples = np.arange(_WHITE + 1) / _WHITE
    curve = ((samples + 0.055) / 1.055) ** 2.4
    return np.where(samples <= 0.04045, samples / 12.92, curve).astype(np.float32)


def _attributes(data: bytes) -> dict[bytes, bytes]:
    """Content by name of the attributes of the first part.

    Raises:
        ValueError, struct.error: the header is damaged.
    """
    if data[:4] != _MAGIC:
        raise ValueError("not an OpenEXR file")
    found, at = {}, 8
    while data[at] != 0:
        end = data.index(b"\0", at)
        name = data[at:end]
        at = data.index(b"\0", end + 1) + 1  # after the type
        (size,) = struct.unpack_from("<L", data, at)
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
        if at >= len(data):
            raise ValueError("the header is cut off")
    return found


def _pixel_types(channels: bytes) -> list[int]:
    """Types of the channels: name, type, linearity, and the two samplings."""
    found: list[int] = []
    at = 0
    while at < len(channels) and channels[at] != 0:
        at = channels.index(b"\0", at) + 1
        found += struct.unpack_from("<L", channels, at)
        at += 16
    return found
