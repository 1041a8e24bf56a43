"""Headers of DPX files (SMPTE ST 268): time code and transfer, which FFmpeg does not keep."""

from __future__ import annotations

import struct
from pathlib import Path

#: Bytes of the generic header, and of the industry-specific one with time code and frame rate.
_GENERIC, _INDUSTRY = 1664, 384
#: Transfer and colorimetric characteristics of the first image element.
_TRANSFER = slice(801, 803)
_BIG_ENDIAN, _LITTLE_ENDIAN = b"SDPX", b"XPDS"
#: Codes of the transfer: printing density and logarithmic.
_FILM = (1, 3)
_BT709 = 6
_DATA_OFFSET, _FILE_SIZE, _INDUSTRY_SIZE, _ELEMENT_OFFSET = 4, 16, 28, 808
#: Places of the numbers that FFmpeg's encoder writes.
_LONGS = (4, 16, 20, 24, 28, 32, 772, 776, 780, 784, 788, 792, 796, 808, 812, 816, 1628, 1632)
_SHORTS = (768, 770, 804, 806)


def read_header(path: Path) -> bytes:
    """Generic and industry-specific header; shorter where the file is.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return file.read(_GENERIC + _INDUSTRY)


def is_film(header: bytes) -> bool:
    """Whether a header states that samples are densities of film, on a logarithmic scale."""
    return len(header) > _TRANSFER.start and header[_TRANSFER.start] in _FILM


def finished(data: bytes, source: bytes, *, keep: bool = True) -> bytes:
    """A big-endian file with the statements of a source's header.

    FFmpeg states that all samples are linear; without a source, BT.709 is stated.

    Args:
        data: of FFmpeg's encoder, of either byte order. Samples of 8 bits have none.
        source: see :func:`read_header`; empty for a frame of another format.
        keep: whether the industry-specific header is kept.
    """
    file = bytearray(data)
    if file[:4] == _LITTLE_ENDIAN:
        file[:4] = _BIG_ENDIAN
        for places, kind in ((_LONGS, "L"), (_SHORTS, "H")):
            for at in places:
                struct.pack_into(">" + kind, file, at, *struct.unpack_from("<" + kind, file, at))
    has_header = len(source) == _GENERIC + _INDUSTRY and source[:4] == _BIG_ENDIAN
    file[_TRANSFER] = source[_TRANSFER] if has_header else bytes([_BT709, _BT709])
    (offset,) = struct.unpack_from(">L", file, _DATA_OFFSET)
    (length,) = struct.unpack_from(">L", source, _INDUSTRY_SIZE) if has_header else (0,)
    if keep and length == _INDUSTRY and offset == _GENERIC:
        file[_GENERIC:_GENERIC] = source[_GENERIC:]
        for at, value in (
            (_DATA_OFFSET, _GENERIC + _INDUSTRY),
            (_FILE_SIZE, len(file)),
            (_INDUSTRY_SIZE, _INDUSTRY),
            (_ELEMENT_OFFSET, _GENERIC + _INDUSTRY),
        ):
            struct.pack_into(">L", file, at, value)
    return bytes(file)
