"""Suffixes of videos: how the videos of a folder are found."""

from __future__ import annotations

#: In lower case with the dot: containers and raw streams that FFmpeg reads. A GIF is not one of
#: them: in a folder it counts as an image.
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv",
    ".f4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".m2ts", ".mts", ".m2t",
    ".ogv", ".ogm", ".3gp", ".3g2", ".mxf", ".dv", ".rm", ".rmvb", ".mjpeg", ".mjpg", ".nut",
    ".y4m", ".ivf", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".wtv",
})  # fmt: skip
#: Suffixes that TypeScript files have, too.
_SHARED = (".ts", ".mts")
#: First byte of a packet of an MPEG transport stream (ISO/IEC 13818-1, 2.4.3.3).
_SYNC_BYTE = 0x47


def is_transport_stream(head: bytes) -> bool:
    """Whether a file with these first 5 bytes may be an MPEG transport stream.

    Packets of ``.m2ts`` files have a time stamp of 4 bytes in front.
    """
    return len(head) == 5 and _SYNC_BYTE in (head[0], head[4])


def may_be_text(suffix: str) -> bool:
    """Whether files with this suffix are program text as often as video."""
    return suffix in _SHARED
