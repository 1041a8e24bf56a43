"""Write small test images in every format, valid and damaged."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

#: Suffix of each format that can be written.
FORMATS = {
    "jpeg": ".jpg",
    "png": ".png",
    "webp": ".webp",
    "tiff": ".tiff",
    "bmp": ".bmp",
    "avif": ".avif",
}


def scene(width: int = 48, height: int = 32) -> np.ndarray:
    """Draw an image whose four corners differ: smooth ramps and one bright square."""
    y, x = np.mgrid[0:height, 0:width]
    red = 40 + 180 * x / max(width - 1, 1)
    green = 40 + 180 * y / max(height - 1, 1)
    blue = np.full((height, width), 90.0)
    image = np.stack([red, green, blue], axis=-1).round().astype(np.uint8)
    image[: height // 4, : width // 4] = (250, 250, 60)
    return image


def save(path: Path, image: np.ndarray | Image.Image | None = None, **options: Any) -> Path:
    """Write ``image`` (default: :func:`scene`) to a file; the suffix decides the format."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(_or_scene(image))
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(exif := options.get("exif"), Image.Exif):
        options["exif"] = exif.tobytes()  # Pillow's TIFF writer takes new EXIF as bytes only
    picture.save(path, **options)
    return path


def oriented(path: Path, orientation: int, **options: Any) -> Path:
    """Write a file whose pixels, turned by its EXIF orientation, are ``scene()``."""
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    picture = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05", 0xA002: 1, 0xA003: 2}
    return save(path, picture.transpose(back) if back is not None else picture, exif=exif)


def wide_gamut_profile(curve: bytes | None = None) -> bytes:
    """Return an ICC matrix profile with the primaries of Display P3.

    Args:
        curve: content of the curves' tags; None: sRGB's curve.
    """
    # Columns: colourants, adapted to D50, from ICC's registry entry of Display P3.
    colorants = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }
    fixed = struct.Struct(">l")
    tags: dict[bytes, bytes] = {
        name: b"XYZ " + bytes(4) + b"".join(fixed.pack(round(v * 65536)) for v in values)
        for name, values in colorants.items()
    }
    own = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    trc = curve or parametric_curve(3, *own)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), trc)
    return _profile(b"RGB ", tags)


def table_profile() -> bytes:
    """Return an ICC profile of RGB that converts to Lab by a table, as scanners' do."""
    corners = [
        (round(255 * (r + g + b) / 3), 128 + 60 * (r - g), 128 + 60 * (g - b))
        for r in (0, 1) for g in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    identity = struct.pack(">9l", *(65536 * (n % 4 == 0) for n in range(9)))
    curves = bytes(range(256)) * 3
    table = b"mft1" + bytes(4) + bytes((3, 3, 2, 0)) + identity + curves
    table += bytes(value for corner in corners for value in corner) + curves
    white = struct.pack(">3l", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return _profile(b"RGB ", {b"wtpt": b"XYZ " + bytes(4) + white, b"A2B0": table}, b"Lab ")


def grey_profile(curve: bytes) -> bytes:
    """Return an ICC profile of grey."""
    white = struct.pack(">3l", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    return _profile(b"GRAY", {b"wtpt": b"XYZ " + bytes(4) + white, b"kTRC": curve})


def parametric_curve(kind: int, *parameters: float) -> bytes:
    """Return a curve of an ICC profile (ICC.1, 10.18)."""
    numbers = struct.pack(f">{len(parameters)}l", *(round(v * 65536) for v in parameters))
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + numbers


def sampled_curve(*points: int) -> bytes:
    """Return a curve of an ICC profile (ICC.1, 10.6): one point is a gamma, times 256."""
    return b"curv" + bytes(4) + struct.pack(f">L{len(points)}H", len(points), *points)


def _profile(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    fixed = struct.Struct(">l")
    text = b"Wide test\0"
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">L", len(text)) + text + bytes(78)
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0"
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">LL", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    content = struct.pack(">L", len(tags)) + table + body
    header = struct.pack(">L", 128 + len(content)) + bytes(4) + struct.pack(">L", 0x02100000)
    header += b"mntr" + space + connection + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + b"".join(
        fixed.pack(round(v * 65536)) for v in (0.9642, 1.0, 0.8249)
    )
    return header.ljust(128, b"\0") + content


@cache
def srgb_profile() -> bytes:
    """Return one profile for all calls: Pillow writes the time into it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(samples: np.ndarray, color_type: int, extra: bytes = b"") -> bytes:
    """Return a PNG of 16-bit samples, which Pillow cannot write in colour.

    Args:
        samples: uint16, ``(height, width, channels)``.
        color_type: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha.
        extra: chunks before the pixels.
    """
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">LLBBBBB", width, height, 16, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def interlaced_png(samples: np.ndarray, color_type: int) -> bytes:
    """Return a PNG of 16-bit samples in the seven passes of Adam7; at least 5 pixels a side."""
    height, width = samples.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1))  # fmt: skip
    raw = b"".join(
        b"\0" + row.tobytes()
        for y, x, down, across in passes
        for row in np.ascontiguousarray(samples[y::down, x::across], ">u2")
    )
    header = struct.pack(">LLBBBBB", width, height, 16, color_type, 0, 0, 1)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    samples: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    compressed: bool = False,
    photometric: int | None = None,
    extra: int | None = None,
    orientation: int = 1,
    rows: int = 7,
    tile: tuple[int, int] | None = None,
    big: bool = False,
    more: dict[int, tuple[str, list[int]]] | None = None,
    encode: Callable[[np.ndarray], bytes] | None = None,
) -> bytes:
    """Return a TIFF of samples and layouts that Pillow cannot write.

    Args:
        samples: of any number type, ``(height, width, channels)``.
        order: ``<`` little-endian, ``>`` big-endian.
        planar: whether the channels are stored one after the other.
        compressed: with Deflate.
        photometric: 0 white is zero, 1 black is zero, 2 RGB; by default by the channels.
        extra: meaning of the last channel: 0 unspecified, 1 alpha multiplied in, 2 alpha.
        rows: of a strip.
        tile: height and width of tiles, instead of strips.
        big: as BigTIFF.
        more: other fields, by tag: code of struct and values; replace the usual ones.
        encode: bytes of a strip or tile, instead of its samples.
    """
    height, width, channels = samples.shape
    planes = np.moveaxis(samples, 2, 0)[..., None] if planar else samples[None]
    down, across = tile or (rows, width)
    blocks = [
        _padded(plane[y : y + down, x : x + across], tile)
        for plane in planes
        for y in range(0, height, down)
        for x in range(0, width, across)
    ]
    raw = [
        encode(block) if encode else block.astype(order + block.dtype.str[1:]).tobytes()
        for block in blocks
    ]
    strips = [zlib.compress(data) if compressed else data for data in raw]
    start, bits = (16 if big else 8), samples.dtype.itemsize * 8
    offsets = (start + np.cumsum([0, *map(len, strips)])).tolist()
    if photometric is None:
        photometric = 2 if channels > 2 else 1
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("L", [width]), 257: ("L", [height]), 258: ("H", [bits] * channels),
        259: ("H", [8 if compressed else 1]), 262: ("H", [photometric]),
        274: ("H", [orientation]), 277: ("H", [channels]), 284: ("H", [1 + planar]),
        339: ("H", [3 if samples.dtype.kind == "f" else 1] * channels),
    }  # fmt: skip
    sizes = list(map(len, strips))
    if tile:
        fields |= {322: ("H", [across]), 323: ("H", [down])}
        fields |= {324: ("L", offsets[:-1]), 325: ("L", sizes)}
    else:
        fields |= {273: ("L", offsets[:-1]), 278: ("L", [rows]), 279: ("L", sizes)}
    if extra is not None:
        fields[338] = ("H", [extra])
    place = offsets[-1]
    entries, arrays, link = b"", b"", "Q" if big else "L"
    room = struct.calcsize("<" + link)
    for tag, (code, values) in sorted((fields | (more or {})).items()):
        data = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(data) > room:
            data, arrays = struct.pack(order + link, place + len(arrays)), arrays + data
        kind = {"B": 7, "H": 3, "L": 4}[code]
        entries += struct.pack(f"{order}HH{link}", tag, kind, len(values)) + data.ljust(room, b"\0")
    version = struct.pack(order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,)))
    header = (b"II" if order == "<" else b"MM") + version
    header += struct.pack(order + link, place + len(arrays))
    count = struct.pack(order + ("Q" if big else "H"), len(fields | (more or {})))
    return header + b"".join(strips) + arrays + count + entries + bytes(room)


def pages(*files: bytes) -> bytes:
    """Join little-endian classic TIFF files of one page each, as :func:`tiff` makes them."""
    result = bytearray(b"II*\0" + bytes(4))
    link = 4
    for file in files:
        base = len(result)
        (at,) = struct.unpack_from("<L", file, 4)
        data = bytearray(file)
        (count,) = struct.unpack_from("<H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, length = struct.unpack_from("<HHL", data, entry)
            if length * {3: 2, 4: 4, 7: 1}[kind] > 4 or tag in (273, 324):
                (place,) = struct.unpack_from("<L", data, entry + 8)
                struct.pack_into("<L", data, entry + 8, place + base)
            if tag in (273, 324) and length > 1:
                (place,) = struct.unpack_from("<L", data, entry + 8)
                for number in range(place - base, place - base + 4 * length, 4):
                    (offset,) = struct.unpack_from("<L", data, number)
                    struct.pack_into("<L", data, number, offset + base)
        result += data
        struct.pack_into("<L", result, link, base + at)
        link = base + at + 2 + 12 * count
    return bytes(result)


def _padded(block: np.ndarray, tile: tuple[int, int] | None) -> np.ndarray:
    if tile is None:
        return block
    missing = [(0, size - own) for size, own in zip(tile, block.shape, strict=False)]
    return np.pad(block, [*missing, (0, 0)])


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def bomb() -> bytes:
    """Return a small PNG whose header claims 30 000 x 30 000 pixels."""
    header = struct.pack(">LLBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def truncated(format_: str) -> bytes:
    """Return the first two thirds of a valid file, with its header."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, format_)
    return buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3]


def _or_scene(image: np.ndarray | None) -> np.ndarray:
    return scene() if image is None else image
