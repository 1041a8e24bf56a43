"""Recognize Dolby Vision that only Dolby's own decoders show in its right colours.

PyAV does not give the "DOVI configuration record" of a stream, so it is read from the file. Its
fields are those of "Dolby Vision Streams Within the ISO Base Media File Format", 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...errors import SourceError
from ..bmff import boxes, movie_box

#: Boxes with the record, by profile: up to 7, 8 to 10, and above.
_BOXES = (b"dvcC", b"dvvC", b"dvwC")
#: Matroska stores these names as the type of a track's BlockAdditionMapping.
_MAPPING_TYPE, _MAPPING_DATA = b"\x41\xe7\x84", b"\x41\xed"
#: Bytes from the beginning in which Matroska's tracks are looked for.
_MATROSKA_HEAD = 1 << 22
#: Bytes of the record that matter: version, profile, level, flags and compatibility.
_RECORD = 5
_FIRST_WITH_COMPATIBILITY = 8  # profiles before it have a fixed one


def check_dolby_vision(path: Path, container: str, stream: int) -> list[str]:
    """Refuse a stream without a base layer that other decoders could show.

    Its samples are neither SDR nor HDR10 nor HLG but Dolby's IPT, and without Dolby's metadata they
    look green and purple. Other profiles have a base layer, which is read like any other video.

    Args:
        container: FFmpeg's name of the format.
        stream: index of the video stream.

    Returns:
        a note on the metadata of a stream with a base layer.

    Raises:
        SourceError: it is Dolby Vision of profile 5, or of a later one without compatibility.
    """
    notes: dict[str, None] = {}
    with path.open("rb") as file:
        for profile, compatibility in _records(file, container, stream):
            if profile == 5 or (profile >= _FIRST_WITH_COMPATIBILITY and not compatibility):
                raise SourceError(
                    f"{path}: Dolby Vision profile {profile} is not supported: it has no SDR, HDR10"
                    " or HLG layer.",
                    path=path,
                    hint="Export it as HDR10, HLG or SDR with the camera or program that made it.",
                )
            notes[
                f"The video is Dolby Vision (profile {profile}); its base layer is edited, and "
                "Dolby's metadata is left out."
            ] = None
    return list(notes)


def _records(file: BinaryIO, container: str, stream: int) -> Iterator[tuple[int, int]]:
    """``(profile, compatibility)`` of each configuration record of the stream."""
    if "mp4" in container:
        tracks = [box for kind, box in boxes(movie_box(file)) if kind == b"trak"]
        header = tracks[stream] if stream < len(tracks) else b""
        for name in _BOXES:
            yield from _parse(header, name, 0)
    elif "matroska" in container:
        header = file.read(_MATROSKA_HEAD)
        for name in _BOXES:
            at = header.find(_MAPPING_TYPE + name)
            data = header.find(_MAPPING_DATA, at) if at >= 0 else -1
            if data >= 0:
                yield from _parse(header[data:], _MAPPING_DATA, 1)  # after one byte of size


def _parse(data: bytes, marker: bytes, skipped: int) -> Iterator[tuple[int, int]]:
    at = data.find(marker)
    record = data[at + len(marker) + skipped :][:_RECORD]
    if at >= 0 and len(record) == _RECORD:
        yield record[2] >> 1, record[4] >> 4
