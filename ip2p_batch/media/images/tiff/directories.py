"""Read and rewrite directories of TIFF files (TIFF 6.0, section 2), and write 16-bit colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ...depth import Samples16

WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 273, 277, 278, 279
PLANAR_CONFIGURATION, PREDICTOR, TILE_OFFSETS, TILE_BYTE_COUNTS = 284, 317, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

_SHORT, _LONG = 3, 4
_ENTRY = 12
_LONG_TAGS = (
    WIDTH, LENGTH, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, TILE_OFFSETS,
    TILE_BYTE_COUNTS, 322, 323,
)  # fmt: skip
_DEFLATE = 8
_LEVEL = 3  # level 6 takes half as long again, and files are 1 % smaller
_STRIP_BYTES = 1 << 20


class Entry(NamedTuple):
    """One field of a directory; ``data`` is its four bytes: the values, or where they are."""

    tag: int
    kind: int
    length: int
    data: bytes


def encode_16_bits(samples: Samples16) -> bytes:
    """Make a TIFF file of 16-bit colour, compressed with Deflate and the horizontal predictor.

    Args:
        samples: RGB, or RGB and alpha that is not multiplied into the colours, shape
            ``(height, width, channels)``.

    Returns:
        a little-endian classic TIFF file.

    Raises:
        struct.error: it would exceed 4 GiB.
    """
    height, width, channels = samples.shape
    rows = max(1, _STRIP_BYTES // (width * channels * 2))
    file = bytearray(b"II*\0" + bytes(4))
    offsets, sizes = [], []
    for start in range(0, height, rows):
        strip = samples[start : start + rows].astype("<u2")
        strip[:, 1:] -= samples[start : start + rows, :-1]
        data = zlib.compress(strip.tobytes(), _LEVEL)
        offsets.append(len(file))
        sizes.append(len(data))
        file += data
    fields = {
        WIDTH: [width], LENGTH: [height], BITS_PER_SAMPLE: [16] * channels,
        COMPRESSION: [_DEFLATE], PHOTOMETRIC: [2], STRIP_OFFSETS: offsets,
        SAMPLES_PER_PIXEL: [channels], ROWS_PER_STRIP: [rows], STRIP_BYTE_COUNTS: sizes,
        PLANAR_CONFIGURATION: [1], PREDICTOR: [2],
    }  # fmt: skip
    if channels == 4:
        fields[EXTRA_SAMPLES] = [2]  # alpha that is not multiplied into the colours
    return with_fields(file, fields)


def with_fields(file: bytearray, fields: Mapping[int, Sequence[int]]) -> bytes:
    """A little-endian file with one directory, appended to ``file``: header and pixels.

    Raises:
        struct.error: a value or a place in the file exceeds its type.
    """
    entries = [_stored(file, tag, values) for tag, values in fields.items()]
    return with_directory(bytes(file), entries)


def byte_order(tiff: bytes) -> str:
    """``<`` or ``>``.

    Raises:
        ValueError: not a classic TIFF file.
    """
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        if tiff.startswith(magic):
            return order
    raise ValueError("not a classic TIFF file")


def directory(tiff: bytes, at: int | None = None) -> list[Entry]:
    """The entries of a directory.

    Args:
        at: where it begins; None: the file's first.

    Raises:
        ValueError: it is cut off.
    """
    order = byte_order(tiff)
    try:
        if at is None:
            (at,) = struct.unpack_from(order + "L", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, at)
        entry = struct.Struct(order + "HHL4s")
        return [Entry(*entry.unpack_from(tiff, at + 2 + _ENTRY * n)) for n in range(count)]
    except struct.error as error:
        raise ValueError(f"damaged directory ({error})") from None


def with_directory(tiff: bytes, entries: Iterable[Entry]) -> bytes:
    """The file with a new first directory, appended to it, and no other one."""
    order = byte_order(tiff)
    ordered = sorted(entries)
    body = tiff.ljust(len(tiff) + len(tiff) % 2, b"\0")
    fields = b"".join(struct.pack(order + "HHL4s", *entry) for entry in ordered)
    header = body[:4] + struct.pack(order + "L", len(body))
    return header + body[8:] + struct.pack(order + "H", len(ordered)) + fields + bytes(4)


def _stored(file: bytearray, tag: int, values: Sequence[int]) -> Entry:
    """The entry of a little-endian file for ``values``, which are appended if they are many."""
    kind, code = (_LONG, "L") if tag in _LONG_TAGS else (_SHORT, "H")
    data = struct.pack(f"<{len(values)}{code}", *values)
    if len(data) > 4:
        file += bytes(len(file) % 2)
        place = len(file)
        file += data
        data = struct.pack("<L", place)
    return Entry(tag, kind, len(values), data.ljust(4, b"\0"))
