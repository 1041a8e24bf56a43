"""Read and rewrite directories of TIFF files (TIFF 6.0, section 2), and write 16-bit colour."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..depth import Samples16

WIDTH, LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 273, 277, 278, 279
PLANAR_CONFIGURATION, PREDICTOR, TILE_OFFSETS, TILE_BYTE_COUNTS = 284, 317, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

_SHORT, _LONG = 3, 4
#: Bytes of a value, by type.
_SIZES = {_SHORT: 2, _LONG: 4}
_ENTRY = 12
_ARRAYS = (STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS)
#: Tags of a directory for one grey plane of 16-bit samples.
_PLANE = {
    BITS_PER_SAMPLE: 16, PHOTOMETRIC: 1, SAMPLES_PER_PIXEL: 1, PLANAR_CONFIGURATION: 1,
    SAMPLE_FORMAT: 1,
}  # fmt: skip
_LONG_TAGS = (WIDTH, LENGTH, STRIP_OFFSETS, ROWS_PER_STRIP, STRIP_BYTE_COUNTS)
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
    entries = [_stored(file, tag, values) for tag, values in fields.items()]
    return with_directory(bytes(file), entries)


def split_planes(tiff: bytes, planes: int) -> Iterator[bytes]:
    """Make one grey file for each plane of a file that stores 16-bit samples in separate planes.

    Pillow reads only 8 bits of such files, and mixes up the planes if they are not compressed.

    Args:
        tiff: the file; its first image is used.
        planes: number of planes, 2 or more.

    Yields:
        files with the same data and another directory.

    Raises:
        ValueError: not a classic TIFF file with one array of strips or tiles for each plane.
    """
    order = byte_order(tiff)
    entries = directory(tiff)
    for plane in range(planes):
        fields = [
            _slice(tiff, entry, plane, planes) if entry.tag in _ARRAYS else entry
            for entry in entries
            if entry.tag not in _PLANE and entry.tag != EXTRA_SAMPLES
        ]
        fields += [
            Entry(tag, _SHORT, 1, struct.pack(order + "HH", value, 0))
            for tag, value in _PLANE.items()
        ]
        yield with_directory(tiff, fields)


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


def _slice(tiff: bytes, entry: Entry, plane: int, planes: int) -> Entry:
    """The part of an array that belongs to a plane."""
    size = _SIZES.get(entry.kind, 0)
    length, rest = divmod(entry.length, planes)
    if not size or rest or not length:
        raise ValueError(f"unusual strips or tiles of planes (tag {entry.tag})")
    order = byte_order(tiff)
    if entry.length * size <= 4:
        values, start = entry.data, 0
    else:
        values, start = tiff, struct.unpack(order + "L", entry.data)[0]
    start += plane * length * size
    if length * size <= 4:
        data = values[start : start + length * size].ljust(4, b"\0")
    else:
        data = struct.pack(order + "L", start)
    return entry._replace(length=length, data=data)
