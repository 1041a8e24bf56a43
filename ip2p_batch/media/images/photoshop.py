"""Photoshop's image resources, which hold IPTC-IIM data in JPEG, TIFF and PNG files.

Adobe Photoshop File Formats Specification, "Image Resources Section"; IPTC-NAA Information
Interchange Model 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

#: Tags of TIFF files.
TIFF_IPTC, TIFF_RESOURCES = 0x83BB, 0x8649
#: Keys of text chunks in which ImageMagick and ExifTool store resources in PNG files.
PNG_KEY = "Raw profile type iptc"
PNG_KEYS = (PNG_KEY, "Raw profile type 8bim")
HEADER = b"Photoshop 3.0\0"
_IPTC = 0x0404
_SIGNATURES = (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR")
#: Thumbnails, ICC profile, copies of EXIF and XMP: no longer true, or stored elsewhere.
_DROPPED = {0x0409, 0x040C, 0x040F, 0x0411, 0x0422, 0x0423, 0x0424}
#: Resolution, grids, slices, paths: in the directions of the stored image.
_DIRECTED = {0x03ED, 0x0408, 0x041A, 0x0432, *range(0x07D0, 0x0BB7)}


class Resource(NamedTuple):
    """One image resource; ``name`` is a Pascal string with its padding."""

    signature: bytes
    number: int
    name: bytes
    data: bytes


def parse(block: bytes) -> list[Resource]:
    """The resources of a block, up to the first that is damaged."""
    found = []
    at = 0
    while block[at : at + 4] in _SIGNATURES and at + 8 < len(block):
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        name_end = at + 6 + (block[at + 6] + 2) // 2 * 2
        size = int.from_bytes(block[name_end : name_end + 4], "big")
        start = name_end + 4
        if start + size > len(block):
            break
        name = block[at + 6 : name_end]
        found.append(Resource(block[at : at + 4], number, name, block[start : start + size]))
        at = start + size + size % 2
    return found


def serialize(resources: Iterable[Resource]) -> bytes:
    """The block of these resources."""
    parts = []
    for signature, number, name, data in resources:
        parts.append(signature + number.to_bytes(2, "big") + name)
        parts.append(len(data).to_bytes(4, "big") + data + bytes(len(data) % 2))
    return b"".join(parts)


def clean(block: bytes, iptc: bytes = b"", *, turned: bool) -> bytes:
    """The resources that an edited image keeps.

    Args:
        block: of the source.
        iptc: IPTC data that is stored apart, in a TIFF file; the block's own has priority.
        turned: whether the pixels were turned or mirrored.
    """
    dropped = _DROPPED | (_DIRECTED if turned else set())
    kept = [item for item in parse(block) if item.number not in dropped]
    if iptc and not any(item.number == _IPTC for item in kept):
        kept.append(Resource(b"8BIM", _IPTC, b"\0\0", iptc))
    return serialize(kept)


def split_iptc(block: bytes) -> tuple[bytes, bytes]:
    """``(resources, IPTC data)``: the resources without the IPTC data, and that alone."""
    resources = parse(block)
    iptc = b"".join(item.data for item in resources if item.number == _IPTC)
    return serialize(item for item in resources if item.number != _IPTC), iptc


def to_raw_profile(block: bytes) -> str:
    """The text of a PNG chunk, as ImageMagick writes it."""
    digits = block.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\niptc\n{len(block):8d}\n{lines}\n"


def from_raw_profile(text: str) -> bytes:
    """The data of such a text; empty if it is damaged."""
    match = re.fullmatch(r"\s*\w+\s+(\d+)\s+([0-9a-fA-F\s]*)", text.strip("\0"))
    if not match:
        return b""
    try:
        return bytes.fromhex("".join(match[2].split()))[: int(match[1])]
    except ValueError:
        return b""
