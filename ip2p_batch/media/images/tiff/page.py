"""Directories of TIFF and BigTIFF files: find the main page among thumbnails, read its fields.

TIFF 6.0, section 2, and the BigTIFF design (https://libtiff.gitlab.io/libtiff/specification/bigtiff.html).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import IO

from PIL import Image as Pillow
from PIL.TiffImagePlugin import TiffImageFile

from . import directories as tiff

NEW_SUBFILE_TYPE, OLD_SUBFILE_TYPE, SUB_DIRECTORIES = 254, 255, 330

#: Codes of struct, by type of a field; rationals and texts are not needed here.
_CODES = {1: "B", 3: "H", 4: "L", 8: "h", 9: "l", 11: "f", 12: "d", 13: "L", 16: "Q", 17: "q",
          18: "Q"}  # fmt: skip
_PAGE_KEY = "ip2p_batch.tiff_page"
_MAX_PAGES = 4096
_MAX_VALUES = 1 << 24
_MAX_FIELDS = 4096
#: Fields of the stand-in for a page that Pillow cannot open: grey of 8 bits, uncompressed.
_STAND_IN = {
    tiff.BITS_PER_SAMPLE: 8, tiff.COMPRESSION: 1, tiff.PHOTOMETRIC: 1, tiff.SAMPLES_PER_PIXEL: 1,
    tiff.PLANAR_CONFIGURATION: 1, tiff.SAMPLE_FORMAT: 1,
}  # fmt: skip
_SHORT = 3


@dataclass(frozen=True, slots=True)
class _Field:
    """An entry of a directory: type, number of values, and where the entry and its values are."""

    kind: int
    count: int
    entry: int
    at: int


@dataclass(slots=True, eq=False)
class Page:
    """One directory of a file that stays open.

    Attributes:
        file: the file.
        order: ``<`` or ``>``.
        big: whether it is a BigTIFF file.
        start: where the directory begins.
        following: where the next one begins; 0 for the last.
        fields: by tag.
        pages: pages of the file that are no thumbnails, this one included.
        thumbnails: pages of the file that are reduced or masks.
        is_decodable: whether Pillow can decode it, as far as its header shows.
    """

    file: IO[bytes]
    order: str
    big: bool
    start: int
    following: int = 0
    fields: dict[int, _Field] = field(default_factory=dict)
    pages: int = 1
    thumbnails: int = 0
    is_decodable: bool = True

    def values(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The numbers of a field; ``default`` if it is absent or of another type.

        Raises:
            ValueError: it is cut off.
        """
        entry = self.fields.get(tag)
        code = _CODES.get(entry.kind) if entry else None
        if entry is None or code is None or not entry.count:
            return default
        if entry.count > _MAX_VALUES:
            raise ValueError(f"field {tag} claims {entry.count} values")
        layout = struct.Struct(f"{self.order}{entry.count}{code}")
        return layout.unpack(read_at(self.file, entry.at, layout.size))

    def value(self, tag: int, default: int) -> int:
        """The first number of a field."""
        return self.values(tag, (default,))[0]

    def left_out(self) -> list[str]:
        """Warnings about the other pages of the file."""
        warnings = []
        if self.pages > 1:
            warnings.append(f"holds {self.pages} images; only the first is edited")
        if self.thumbnails == 1:
            warnings.append("its smaller copy (thumbnail, mask) left out")
        elif self.thumbnails:
            warnings.append(f"its {self.thumbnails} smaller copies (thumbnail, mask) left out")
        return warnings

    @property
    def is_reduced(self) -> bool:
        """Whether it is a thumbnail, another reduced copy, or a mask of another page."""
        return bool(self.value(NEW_SUBFILE_TYPE, 0) & 0b101) or self.value(OLD_SUBFILE_TYPE, 1) == 2


def read_at(file: IO[bytes], at: int, size: int) -> bytes:
    """Read ``size`` bytes from a place.

    Raises:
        ValueError: the file ends before.
    """
    if at + size > file.seek(0, io.SEEK_END):  # before the memory for it is taken
        raise ValueError("the file is truncated")
    file.seek(at)
    return file.read(size)


def main_page(file: IO[bytes]) -> Page:
    """The first page that is no thumbnail; the first of all if there is none.

    Full-size images in sub-directories, behind a thumbnail as the only page, are found, too.

    Raises:
        ValueError: not a TIFF file, or damaged before the end of its first directory.
    """
    head = read_at(file, 0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack((order or "<") + "H", head[2:4])[0]
    if order is None or version not in (42, 43):
        raise ValueError("not a TIFF file")
    big = version == 43
    if big:
        (start,) = struct.unpack(order + "Q", read_at(file, 8, 8))
    else:
        (start,) = struct.unpack(order + "L", head[4:])
    chain = _chain(file, order, big, start)
    full = [page for page in chain if not page.is_reduced]
    if not full:
        inner = [_page(file, order, big, at) for at in chain[0].values(SUB_DIRECTORIES)[:64]]
        full = [page for page in inner if not page.is_reduced]
    main = full[0] if full else chain[0]
    main.pages = max(1, len(full))
    main.thumbnails = len(chain) - sum(page in full for page in chain) - (not full)
    return main


def open_page(page: Page) -> TiffImageFile:
    """Open a page with Pillow, for its size and metadata, and set ``page.is_decodable``.

    Where Pillow cannot decode it, the image is a stand-in of the same size and metadata, whose
    pixels mean nothing. The page is found again by :func:`page_of`.
    """
    source: IO[bytes] = page.file
    if page.start != _first(page):
        source = io.BytesIO(_patched(page, stand_in=False))
    source.seek(0)
    try:
        # Without its name: Pillow would map the file into memory, which kills the process if
        # another one truncates it, and then turn oriented files wrongly.
        image = TiffImageFile(source, "")
    except (SyntaxError, KeyError):
        page.is_decodable = False
        image = TiffImageFile(io.BytesIO(_patched(page, stand_in=True)), "")
    image.info[_PAGE_KEY] = page
    return image


def page_of(image: Pillow.Image) -> Page | None:
    """The page that :func:`open_page` opened; None for other images."""
    page = image.info.get(_PAGE_KEY)
    return page if isinstance(page, Page) else None


def _first(page: Page) -> int:
    at, code = (8, "Q") if page.big else (4, "L")
    return int(
        struct.unpack(page.order + code, read_at(page.file, at, struct.calcsize("<" + code)))[0]
    )


def _patched(page: Page, *, stand_in: bool) -> bytes:
    """The file with this page as its first one; with ``stand_in``, as one that Pillow opens."""
    page.file.seek(0)
    data = bytearray(page.file.read())
    at, code = (8, "Q") if page.big else (4, "L")
    struct.pack_into(page.order + code, data, at, page.start)
    if stand_in:
        for tag, value in _STAND_IN.items():
            _overwrite(data, page, tag, tag, value)
        # A tag must not stay that would mean more samples: this is the other one once more.
        _overwrite(data, page, tiff.EXTRA_SAMPLES, tiff.SAMPLES_PER_PIXEL, 1)
    return bytes(data)


def _overwrite(data: bytearray, page: Page, old: int, tag: int, value: int) -> None:
    entry = page.fields.get(old)
    if entry is None:
        return
    layout = page.order + ("HHQHHL" if page.big else "HHLHH")
    rest = (0, 0) if page.big else (0,)
    struct.pack_into(layout, data, entry.entry, tag, _SHORT, 1, value, *rest)


def _chain(file: IO[bytes], order: str, big: bool, start: int) -> list[Page]:
    pages = [_page(file, order, big, start)]
    seen = {start}
    while (at := pages[-1].following) and at not in seen and len(pages) < _MAX_PAGES:
        seen.add(at)
        try:
            pages.append(_page(file, order, big, at))
        except ValueError:  # a file cut off after its first page, or no directory there
            break
    return pages


def _page(file: IO[bytes], order: str, big: bool, start: int) -> Page:
    page = Page(file, order, big, start)
    head, entry = ("Q", "HHQ8s") if big else ("H", "HHL4s")
    layout = struct.Struct(order + entry)
    (count,) = struct.unpack(order + head, read_at(file, start, struct.calcsize("<" + head)))
    if not 0 < count <= _MAX_FIELDS:
        raise ValueError("damaged directory")
    first = start + struct.calcsize("<" + head)
    data = read_at(file, first, count * layout.size)
    link = struct.Struct(order + ("Q" if big else "L"))
    file.seek(first + len(data))
    tail = file.read(link.size)
    page.following = link.unpack(tail)[0] if len(tail) == link.size else 0
    for number in range(count):
        tag, kind, length, inline = layout.unpack_from(data, number * layout.size)
        place = first + number * layout.size
        values = place + layout.size - len(inline)
        if kind in _CODES and struct.calcsize("<" + _CODES[kind]) * length > len(inline):
            values = link.unpack(inline)[0]
        page.fields.setdefault(tag, _Field(kind, length, place, values))
    return page
