"""Closed captions inside the frames of a video (CEA-608 and CEA-708, ATSC A/53 part 4).

They travel as side data of decoded frames, which PyAV reads but does not write. Only a conversion
copies it, so a small frame with the captions of a source's frame is kept, and later enlarged to
carry the pixels of the result.
"""

from __future__ import annotations

from typing import Any

from av.sidedata.sidedata import Type

from .types import Packet, VideoFrame

#: Identifier of caption data in H.264, HEVC and MPEG-2, before every group of caption bytes.
_ATSC_IDENTIFIER = b"GA94"
_CODECS = {"h264", "hevc", "mpeg2video"}


def has_captions(frame: VideoFrame) -> bool:
    """Whether a decoded frame has captions."""
    return frame.side_data.get(Type.A53_CC) is not None


def packet_has_captions(packet: Packet, codec: str) -> bool:
    """Whether a packet has captions, without decoding it.

    Args:
        codec: name of the stream's decoder.
    """
    return codec in _CODECS and _ATSC_IDENTIFIER in bytes(packet)


def captions_of(frame: VideoFrame) -> VideoFrame | None:
    """A small frame with the captions of ``frame``; None without captions."""
    if not has_captions(frame):
        return None
    return frame.reformat(width=16, height=16, format="gray")


def with_captions(frame: VideoFrame, carrier: VideoFrame) -> VideoFrame:
    """The pixels of ``frame`` with the captions of ``carrier``.

    Args:
        carrier: of :func:`captions_of`. Its time and other properties are not kept.
    """
    result = carrier.reformat(width=frame.width, height=frame.height, format=frame.format.name)
    for target, source in zip(result.planes, frame.planes, strict=True):
        target.update(_rows(source, target.line_size))
    result.pict_type = 0  # the encoder chooses, and not the source's encoder
    return result


def _rows(plane: Any, line_size: int) -> bytes:
    """Rows of a plane for one with another number of bytes in a row."""
    if plane.line_size == line_size:
        return bytes(plane)
    data, width = bytes(plane), min(plane.line_size, line_size)
    starts = range(0, plane.height * plane.line_size, plane.line_size)
    return b"".join(data[start : start + width].ljust(line_size, b"\0") for start in starts)
