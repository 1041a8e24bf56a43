"""Read the EBML elements (RFC 8794) of Matroska and WebM files (RFC 9559)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

#: Begin of an element, begin of its content, and its end.
Span: TypeAlias = tuple[int, int, int]

#: IDs of the header of a file, and of what follows it.
HEADER, SEGMENT = 0x1A45DFA3, 0x18538067


def read_header(file: BinaryIO) -> tuple[int, int | None]:
    """ID and size of the element that begins here; the size is None if it is unknown.

    Raises:
        ValueError: the file ends, or this is no element.
    """
    first = file.read(1)
    name = int.from_bytes(first + file.read(_length(first) - 1), "big")
    first = file.read(1)
    length = _length(first)
    mask = (1 << 7 * length) - 1
    size = int.from_bytes(first + file.read(length - 1), "big") & mask
    return name, None if size == mask else size


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """ID and content of each element in the content of another.

    Raises:
        ValueError: these are no elements.
    """
    for name, (_, start, stop) in spans(data, 0, len(data)):
        yield name, data[start:stop]


def spans(data: bytes | bytearray, start: int, stop: int) -> Iterator[tuple[int, Span]]:
    """ID and place of each element that begins in ``data[start:stop]``.

    Raises:
        ValueError: these are no elements.
    """
    at = start
    while at < stop:
        begin = at
        length = _length(data[at : at + 1])
        name = int.from_bytes(data[at : at + length], "big")
        at += length
        length = _length(data[at : at + 1])
        size = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
        at += length
        yield name, (begin, at, at + size)
        at += size


def _length(first: bytes | bytearray) -> int:
    """Bytes of an ID or a size, by the position of the first bit that is set."""
    if not first or not first[0]:
        raise ValueError("not an EBML element")
    return 9 - first[0].bit_length()
