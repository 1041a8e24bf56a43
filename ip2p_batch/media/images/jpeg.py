"""JPEG files: their segments, and how they were compressed.

ITU-T T.81, annex B; JPEG File Interchange Format 1.02.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from PIL import Image as Pillow
from PIL import JpegImagePlugin

from . import photoshop

#: One segment has a two-byte length that counts itself.
SEGMENT = 0xFFFF - 2
XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_APP1, _APP2, _APP13, _COM, _SOS = 0xE1, 0xE2, 0xED, 0xFE, 0xDA
#: APP2 segment of a base image with a gain map (ISO 21496-1, annex C).
_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
#: Beginnings of segments that are written anew, reported apart, or describe the old compression.
_REPLACED = (
    b"Exif\0", b"http://ns.adobe.com/", b"ICC_PROFILE\0", b"MPF\0", b"JFIF\0", b"JFXX\0",
    b"Adobe", b"Ducky", b"SPIFF\0", b"Photoshop ", b"Q ", b"AVI1",
)  # fmt: skip
_JUMBF = b"JP\0\x01"
#: Results are not compressed more strongly than libjpeg at this quality: an edit draws new detail.
QUALITY_FLOOR = 75
#: ITU-T T.81, table K.1: libjpeg scales it by the quality.
_LUMINANCE_SUM = 3688
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip


class Style(NamedTuple):
    """How a JPEG file is compressed.

    Attributes:
        tables: quantization tables of luminance and chrominance, 64 values each in natural order.
        subsampling: ``4:4:4``, ``4:2:2`` or ``4:2:0``.
        quality: libjpeg's quality of the luminance table, 1 to 100, estimated.
    """

    tables: tuple[tuple[int, ...], tuple[int, ...]]
    subsampling: str
    progressive: bool
    quality: int


class Segments(NamedTuple):
    """The metadata of a JPEG file's segments.

    Attributes:
        resources: Photoshop's image resources.
        comments: of COM segments.
        gain_map: whether a segment announces an HDR gain map.
        others: names of segments that results do not keep.
    """

    resources: bytes
    comments: tuple[bytes, ...]
    gain_map: bool
    others: tuple[str, ...] = ()


NO_SEGMENTS = Segments(b"", (), gain_map=False)


def read_segments(file: IO[bytes]) -> Segments:
    """Read the segments before the pixels; what is cut off is left out."""
    resources, comments, gain_map = b"", [], False
    others: dict[str, None] = {}
    for marker, data in _segments(file):
        if marker == _APP13 and data.startswith(photoshop.HEADER):
            resources += data[len(photoshop.HEADER) :]  # a long block is split
        elif marker == _COM and data.strip(b"\0"):
            comments.append(data)
        elif marker == _APP2 and data.startswith(_GAIN_MAP):
            gain_map = True
        elif 0xE0 <= marker <= 0xEF and not data.startswith(_REPLACED):
            others[_title(data)] = None
    return Segments(resources, tuple(comments), gain_map, tuple(others))


def _title(data: bytes) -> str:
    """The name of an application's segment, which most begin with."""
    if data.startswith(_JUMBF):
        return "content credentials"
    match = re.match(rb"[ -~]{2,24}", data)
    return match[0].decode().strip() if match else "unnamed"


def _segments(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return
    while True:
        head = file.read(2)
        while len(head) == 2 and head == b"\xff\xff":  # fill bytes
            head = b"\xff" + file.read(1)
        if len(head) < 2 or head[0] != 0xFF or head[1] == _SOS:
            return
        if head[1] in (0x01, *range(0xD0, 0xD9)):  # markers without a length
            continue
        length = int.from_bytes(file.read(2), "big")
        data = file.read(max(0, length - 2))
        if length < 2 or len(data) < length - 2:
            return
        yield head[1], data


def extra_segments(resources: bytes, comments: Sequence[bytes]) -> bytes:
    """Segments to write after EXIF and XMP."""
    room = SEGMENT - len(photoshop.HEADER)
    parts = [
        _segment(_APP13, photoshop.HEADER + resources[at : at + room])
        for at in range(0, len(resources), room)
    ]
    parts += [_segment(_COM, comment[:SEGMENT]) for comment in comments]
    return b"".join(parts)


def _segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def style(image: Pillow.Image, *, turned: bool) -> Style | None:
    """How an opened JPEG is compressed; None if its tables are unusual.

    Args:
        turned: whether rows and columns are exchanged in the result: chroma that is halved in
            only one direction is then kept in full.
    """
    tables = getattr(image, "quantization", None)
    layers = getattr(image, "layer", None)
    if not tables or not layers:
        return None
    try:
        luminance = tuple(int(value) for value in tables[layers[0][3]])
        quality = estimated_quality(luminance)
        if len(layers) == 3:
            chrominance = tuple(int(value) for value in tables[layers[1][3]])
        else:  # grey, CMYK: the result has chroma, the source's first planes have none
            chrominance = scaled_chrominance(quality)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if len(luminance) != 64 or len(chrominance) != 64:
        return None
    if not all(0 < value < 256 for value in (*luminance, *chrominance)):
        return None
    sampling = {1: "4:2:2", 2: "4:2:0"}.get(JpegImagePlugin.get_sampling(image), "4:4:4")
    if turned and sampling == "4:2:2":
        sampling = "4:4:4"
    progressive = bool(image.info.get("progressive"))
    return Style((luminance, chrominance), sampling, progressive, quality)


def estimated_quality(luminance: Sequence[int]) -> int:
    """Libjpeg's quality whose luminance table has this sum, 1 to 100.

    >>> estimated_quality([1] * 64), estimated_quality([58] * 63 + [34])
    (100, 50)
    """
    scale = 100 * sum(luminance) / _LUMINANCE_SUM  # percent; 100 at quality 50
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    if max(luminance) <= 1:
        return 100
    return max(1, min(100, round(quality)))


def scaled_chrominance(quality: int) -> tuple[int, ...]:
    """Libjpeg's chrominance table of a quality (jcparam.c, ``jpeg_quality_scaling``)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(max(1, min(255, (value * scale + 50) // 100)) for value in _CHROMINANCE)


def save_options(source: Style | None, quality: int | None, default: int) -> dict[str, object]:
    """Options for Pillow's encoder.

    Args:
        source: compression of the source; None if it is no JPEG.
        quality: what the user asks for; None follows the source.
        default: quality without a source and a wish.
    """
    options: dict[str, object] = {"optimize": True}
    if quality is not None or source is None:
        return options | {"quality": quality or default, "subsampling": "4:4:4"}
    options |= {"subsampling": source.subsampling, "progressive": source.progressive}
    if source.quality < QUALITY_FLOOR:
        return options | {"quality": QUALITY_FLOOR}
    return options | {"qtables": [list(table) for table in source.tables]}


def has_gain_map(file: IO[bytes]) -> bool:
    """Whether a further image of the file is a gain map, as Apple and Adobe name it in XMP."""
    file.seek(0)
    data = file.read()
    return b"hdrgainmap" in data or b"hdr-gain-map" in data


def has_motion_video(file: IO[bytes]) -> bool:
    """Whether Samsung's trailer holds the video of a motion photo."""
    file.seek(0, 2)
    end = file.tell()
    file.seek(max(0, end - 4))
    if file.read(4) != b"SEFT":
        return False
    file.seek(0)
    return b"MotionPhoto_Data" in file.read()
