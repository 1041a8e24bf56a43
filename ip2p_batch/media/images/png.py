"""Write PNG files of 16-bit colour, which Pillow cannot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from ..depth import Samples16

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types, by number of channels.
_COLOR_TYPES = {3: 2, 4: 6}
#: As Pillow writes 8-bit images here.
_LEVEL = 4
_STRIP_BYTES = 1 << 24
#: Filter type 1: each byte minus that of the pixel to its left. Of the five it gives the smallest
#: 16-bit photographs.
_SUB = 1


def with_pixels(png: bytes, samples: Samples16) -> bytes:
    """Replace the pixels of a PNG file, and keep its other chunks.

    Args:
        png: a file without an animation.
        samples: RGB, or RGB and alpha, shape ``(height, width, channels)``.
    """
    height, width, channels = samples.shape
    parts = [_SIGNATURE]
    has_pixels = False
    for name, data in chunks(png):
        if name == b"IHDR":
            header = struct.pack(">LLBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
            parts.append(_chunk(name, header))
        elif name != b"IDAT":
            parts.append(_chunk(name, data))
        elif not has_pixels:
            parts += (_chunk(name, part) for part in _compressed(samples))
            has_pixels = True
    return b"".join(parts)


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk."""
    at = len(_SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">L", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _compressed(samples: Samples16) -> Iterator[bytes]:
    """The pixels as content of chunks."""
    height, width, channels = samples.shape
    pixel = 2 * channels
    rows = max(1, _STRIP_BYTES // (width * pixel))
    compressor = zlib.compressobj(_LEVEL)
    for start in range(0, height, rows):
        strip = samples[start : start + rows].astype(">u2").view(np.uint8)
        strip = strip.reshape(len(strip), width * pixel)
        filtered = np.full((len(strip), 1 + width * pixel), _SUB, np.uint8)
        filtered[:, 1 : 1 + pixel] = strip[:, :pixel]
        np.subtract(strip[:, pixel:], strip[:, :-pixel], out=filtered[:, 1 + pixel :])
        if part := compressor.compress(filtered.tobytes()):
            yield part
    yield compressor.flush()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
