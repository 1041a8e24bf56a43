"""The part of a stored frame that a container says to show.

PyAV does not give FFmpeg's side data of streams, so it is read from the file: PixelCrop of Matroska
(RFC 9559, 5.1.4.1.28.8 to 11) and the clean aperture of MP4 and MOV (ISO/IEC 14496-12, 12.1.4).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ..bmff import boxes, inner_box, movie_box
from ..ebml import SEGMENT, elements, read_header

#: Pixels to cut from a stored frame: left, top, right, bottom.
Crop = tuple[int, int, int, int]
NO_CROP: Crop = (0, 0, 0, 0)

#: Matroska element IDs.
_TRACKS, _TRACK = 0x1654AE6B, 0xAE
_TRACK_TYPE, _VIDEO = 0x83, 0xE0
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
#: Types of tracks that FFmpeg makes streams of: video, sound, subtitles, metadata.
_STREAM_TYPES = (1, 2, 17, 33)
#: Largest tracks element that is read, in bytes.
_MAX_TRACKS = 1 << 24
#: Bytes of a VisualSampleEntry before the boxes in it, and of a sample description before entries.
_SAMPLE_ENTRY, _DESCRIPTION = 78, 8


def container_crop(path: Path, container: str, stream: int, size: tuple[int, int]) -> Crop:
    """Read the crop of a video stream; no crop if it leaves nothing or is not readable.

    Args:
        container: FFmpeg's name of the format.
        stream: index of the video stream.
        size: ``(width, height)`` of stored frames.
    """
    try:
        with path.open("rb") as file:
            if "mp4" in container:
                crop = _clean_aperture(file, stream, size)
            elif "matroska" in container:
                crop = _pixel_crop(file, stream)
            else:
                return NO_CROP
    except (OSError, struct.error, ValueError, IndexError):
        return NO_CROP
    left, top, right, bottom = crop
    fits = min(crop) >= 0 and left + right < size[0] and top + bottom < size[1]
    return crop if fits else NO_CROP


def _clean_aperture(file: BinaryIO, stream: int, size: tuple[int, int]) -> Crop:
    tracks = [box for kind, box in boxes(movie_box(file)) if kind == b"trak"]
    description = inner_box(tracks[stream], b"mdia", b"minf", b"stbl", b"stsd")
    _, entry = next(boxes(description[_DESCRIPTION:]), (b"", b""))
    aperture = inner_box(entry[_SAMPLE_ENTRY:], b"clap")
    return aperture_crop(struct.unpack(">8i", aperture[:32]), size) if aperture else NO_CROP


def aperture_crop(values: tuple[int, ...], size: tuple[int, int]) -> Crop:
    """Convert a clean aperture: width, height, and offsets of its centre, each as a fraction.

    >>> aperture_crop((704, 1, 480, 1, -2, 1, 0, 1), (720, 480))
    (6, 0, 10, 0)
    """
    width, height, across, down = (
        Fraction(values[n], values[n + 1]) if values[n + 1] else Fraction(0) for n in (0, 2, 4, 6)
    )
    shown = math.floor(width), math.floor(height)
    if min(shown) < 1:
        return NO_CROP
    left = math.floor((size[0] - shown[0]) / Fraction(2) + across)
    top = math.floor((size[1] - shown[1]) / Fraction(2) + down)
    return left, top, size[0] - shown[0] - left, size[1] - shown[1] - top


def _pixel_crop(file: BinaryIO, stream: int) -> Crop:
    tracks = [dict(elements(track)) for track in _tracks(file)]
    streams = [t for t in tracks if int.from_bytes(t.get(_TRACK_TYPE, b""), "big") in _STREAM_TYPES]
    video = dict(elements(streams[stream].get(_VIDEO, b"")))
    left, top, right, bottom = (int.from_bytes(video.get(name, b""), "big") for name in _CROPS)
    return left, top, right, bottom


def _tracks(file: BinaryIO) -> Iterator[bytes]:
    """Content of each track entry."""
    while True:
        name, size = read_header(file)
        if name == SEGMENT:
            continue  # its children follow
        if name == _TRACKS and size is not None and size <= _MAX_TRACKS:
            yield from (data for child, data in elements(file.read(size)) if child == _TRACK)
            return
        if size is None:
            return
        file.seek(size, 1)
