"""Open JPEG XL images with the optional plugin, and read their headers without it.

The plugin decodes an image as soon as it is opened, so its size and depth are read here first
(ISO/IEC 18181-1, annex D).
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO, NamedTuple

from PIL import ImageFile

from ..bmff import file_boxes

_START = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_HEAD = 64
#: Width to height, by code; 0 means that the width follows.
_RATIOS = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDE_BITS = (9, 13, 18, 30)
_DEPTHS = (8, 10, 12)


class Header(NamedTuple):
    """Facts of an image.

    Attributes:
        width, height: as stored; upright they may be exchanged.
        bits: of a sample; 0 if unknown.
        is_animation: whether it has several frames.
    """

    width: int
    height: int
    bits: int = 0
    is_animation: bool = False


class MissingPluginError(ValueError):
    """JPEG XL cannot be decoded without the package of the extra ``jxl``."""


def is_jpeg_xl(head: bytes) -> bool:
    """Whether a file begins like JPEG XL, bare or in its container."""
    return head.startswith((_START, _CONTAINER))


def open_jpeg_xl(file: IO[bytes]) -> ImageFile.ImageFile:
    """Open an image, which decodes it completely.

    Raises:
        MissingPluginError: the package is not installed.
        Exception: the plugin raises errors of any kind on damaged files.
    """
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError:
        raise MissingPluginError("reading JPEG XL requires pillow-jxl-plugin") from None
    file.seek(0)
    image: ImageFile.ImageFile = JXLImageFile(file, "")
    return image


def is_turned_by_exif(image: object) -> bool:
    """Whether the EXIF orientation counts: only for an image that is a JPEG, packed without loss.

    The orientation of others is applied by the decoder.
    """
    return bool(getattr(image, "jpeg", False))


def read_header(file: IO[bytes]) -> Header:
    """Read size and depth.

    Raises:
        ValueError: damaged.
    """
    bits = _Bits(_codestream(file))
    size = _size(bits)
    with suppress(ValueError):
        return _metadata(bits, size)
    return size


def _size(bits: _Bits) -> Header:
    if bits.read(1):
        height = (bits.read(5) + 1) * 8
        across, down = _RATIOS[bits.read(3)]
        width = height * across // down if down else (bits.read(5) + 1) * 8
    else:
        height = bits.read(_SIDE_BITS[bits.read(2)]) + 1
        across, down = _RATIOS[bits.read(3)]
        width = height * across // down if down else bits.read(_SIDE_BITS[bits.read(2)]) + 1
    return Header(width, height)


def _metadata(bits: _Bits, size: Header) -> Header:
    if bits.read(1):  # all values are the default ones
        return size._replace(bits=8)
    is_animation = False
    if bits.read(1):  # extra fields
        bits.read(3)  # orientation
        if bits.read(1):
            _size(bits)  # the size to show it at
        if bits.read(1):  # a preview, whose size is coded in another way
            return size
        is_animation = bool(bits.read(1))
        if is_animation:
            return size._replace(is_animation=True)
    if bits.read(1):  # floating-point
        return size._replace(bits=32)
    code = bits.read(2)
    depth = _DEPTHS[code] if code < len(_DEPTHS) else bits.read(6) + 1
    return size._replace(bits=depth, is_animation=is_animation)


class _Bits:
    """Reads numbers of any length, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), len(data) * 8

    def read(self, count: int) -> int:
        """The next ``count`` bits.

        Raises:
            ValueError: the data ends before.
        """
        if count > self._left:
            raise ValueError("the file is truncated")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value


def _codestream(file: IO[bytes]) -> bytes:
    """The first bytes of the codestream, after its signature."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(_START):
        file.seek(2)
        return file.read(_HEAD)
    if head != _CONTAINER:
        raise ValueError("not JPEG XL")
    for box in file_boxes(file):
        if box.kind in (b"jxlc", b"jxlp"):
            file.seek(box.content + (4 if box.kind == b"jxlp" else 0))
            data = file.read(_HEAD)
            if not data.startswith(_START):
                raise ValueError("damaged")
            return data[2:]
    raise ValueError("the file is truncated")
