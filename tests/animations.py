"""Write animated images from single parts, with every way to place and remove them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Pillow

from ip2p_batch.media.animation import apng, webp
from ip2p_batch.media.animation.files import read_animation


@dataclass
class Piece:
    """One frame as it is stored.

    Attributes:
        image: RGBA, uint8, shape ``(height, width, 4)``; a GIF's has at most 255 colours.
        place: left and top on the canvas.
        disposal: 0 keeps the frame, 1 clears its rectangle, 2 restores what was below.
        blends: whether transparent pixels let the canvas show.
        delay: in milliseconds.
        options: for the encoder of the pixels.
    """

    image: np.ndarray
    place: tuple[int, int] = (0, 0)
    disposal: int = 0
    blends: bool = True
    delay: int = 100
    options: dict[str, Any] | None = None


def encoded(image: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def gif_file(size: tuple[int, int], pieces: Sequence[Piece], loop: int | None = 0) -> bytes:
    """A GIF with a palette for each frame; colour 255 is transparent."""
    parts = [b"GIF89a", struct.pack("<HHBBB", *size, 0, 0, 0)]
    if loop is not None:
        parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loop, 0))
    for piece in pieces:
        colors, numbers = np.unique(piece.image.reshape(-1, 4), axis=0, return_inverse=True)
        height, width = piece.image.shape[:2]
        numbers = np.where(colors[numbers.ravel(), 3] > 0, numbers.ravel(), 255)
        picture = Pillow.fromarray(numbers.astype(np.uint8).reshape(height, width)).convert("P")
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colors)] = colors[:, :3]
        palette[255] = (200, 0, 200)
        picture.putpalette(palette.tobytes())
        buffer = io.BytesIO()
        options = {"interlace": 0, "optimize": False, **(piece.options or {})}
        picture.save(buffer, "GIF", **options)
        found = read_animation(buffer, 1)
        assert found is not None
        (start, length), (at, palette_length) = found.parts[0].ranges[0], found.parts[0].palette
        data = buffer.getvalue()
        flags = piece.disposal + 1 << 2 | int(piece.blends)
        parts.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, flags, piece.delay // 10, 255, 0))
        local = 0x87 | 0x40 * options["interlace"]
        parts.append(struct.pack("<BHHHHB", 0x2C, *piece.place, width, height, local))
        assert palette_length == 768
        parts += [data[at : at + 768], data[start : start + length]]
    return b"".join((*parts, b";"))


def apng_file(
    size: tuple[int, int],
    pieces: Sequence[Piece],
    plays: int = 0,
    *,
    default: np.ndarray | None = None,
    encode: Any = encoded,
) -> bytes:
    """An APNG; ``default`` is an image before the animation that is no frame of it."""
    first = encode(pieces[0].image if default is None else default, "PNG")
    header = struct.pack(">LL", *size) + dict(_chunks(first))[b"IHDR"][8:]
    parts = [apng.SIGNATURE, apng.chunk(b"IHDR", header)]
    parts.append(apng.chunk(b"acTL", struct.pack(">LL", len(pieces), plays)))
    sequence = 0
    if default is not None:
        parts += [apng.chunk(b"IDAT", data) for name, data in _chunks(first) if name == b"IDAT"]
    for number, piece in enumerate(pieces):
        height, width = piece.image.shape[:2]
        fields = (sequence, width, height, *piece.place, piece.delay, 1000)
        frame = struct.pack(">LLLLLHHBB", *fields, piece.disposal, int(piece.blends))
        parts.append(apng.chunk(b"fcTL", frame))
        sequence += 1
        for name, data in _chunks(encode(piece.image, "PNG")):
            if name == b"IDAT" and number == 0 and default is None:
                parts.append(apng.chunk(b"IDAT", data))
            elif name == b"IDAT":
                parts.append(apng.chunk(b"fdAT", struct.pack(">L", sequence) + data))
                sequence += 1
    return b"".join((*parts, apng.chunk(b"IEND", b"")))


def webp_file(size: tuple[int, int], pieces: Sequence[Piece], plays: int = 0) -> bytes:
    """An animated WebP; places are even."""
    chunks = [webp.extended_header(0x02 | webp.ALPHA, *size)]
    chunks.append(webp.chunk(b"ANIM", struct.pack("<LH", 0xFFFFFFFF, plays)))
    for piece in pieces:
        options = {"lossless": True, "exact": True, **(piece.options or {})}
        data = webp.pixel_chunks(encoded(piece.image, "WEBP", **options))
        height, width = piece.image.shape[:2]
        frame = bytearray(webp.frame_chunk(data, piece.place, (width, height), piece.delay))
        frame[23] = (0 if piece.blends else 2) | int(piece.disposal == 1)
        chunks.append(bytes(frame))
    return webp.riff(chunks)


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack_from(">L", png, at)
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


SIZE = (48, 40)


def pieces(kind: str) -> list[Piece]:
    """Frames that are placed, blended and removed in every way that a format knows."""
    rng = np.random.default_rng(5)
    levels = (0, 255) if kind == "gif" else (0, 60, 128, 200, 255)
    blends = (True,) if kind == "gif" else (True, False)
    disposals = (0, 1) if kind == "webp" else (0, 1, 2)
    found = [Piece(_noise(rng, SIZE, (255,)), delay=250)]
    for number, (disposal, over, whole) in enumerate(
        (d, b, w) for d in disposals for b in blends for w in (False, True)
    ):
        size = SIZE if whole else (20, 16)
        place = (0, 0) if whole else (2 * (3 + number % 5), 2 * (number % 7))
        image = _noise(rng, size, levels)
        options = {"interlace": number % 2} if kind == "gif" else {}
        found.append(Piece(image, place, disposal, over, 30 + 10 * number, options))
        found.append(Piece(_noise(rng, (10, 10), levels), (4, 6), 0, over, 70))
    return found


def _noise(rng: np.random.Generator, size: tuple[int, int], levels: Sequence[int]) -> np.ndarray:
    """Blocks of a few colours with these opacities."""
    width, height = size
    blocks = (-(-height // 4), -(-width // 4))
    colors = rng.integers(0, 256, (*blocks, 3))
    alpha = rng.choice(np.asarray(levels), blocks)
    colors[alpha == 0] = 0
    grid = np.dstack([colors, alpha]).astype(np.uint8)
    return grid.repeat(4, 0).repeat(4, 1)[:height, :width]


def animated(kind: str, loops: int = 0) -> bytes:
    """An animated image of all these frames.

    Args:
        kind: ``gif``, ``apng`` or ``webp``.
        loops: as the format stores it.
    """
    if kind == "gif":
        return gif_file(SIZE, pieces(kind), loops)
    return (apng_file if kind == "apng" else webp_file)(SIZE, pieces(kind), loops)
