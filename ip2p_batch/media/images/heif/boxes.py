"""Read the boxes that describe the main image of an AVIF or HEIC file (ISO/IEC 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from ...bmff import boxes, file_boxes

_IMAGE_KINDS = (b"hvc1", b"av01", b"grid", b"iden", b"iovl", b"jpeg", b"avc1", b"vvc1", b"unci")
_MAX_META = 1 << 24
_MAX_ENTRIES = 65536


#: Values of auxC that mean opacity.
ALPHA_TYPES = (
    b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegb:cicp:systems:auxiliary:alpha",
)  # fmt: skip


class Property(NamedTuple):
    """An item property: its type, such as ``colr``, and its content."""

    kind: bytes
    data: bytes


@dataclass(slots=True, eq=False)
class Item:
    """An image item.

    Attributes:
        kind: ``hvc1``, ``av01``, ``grid`` and so on.
        properties: in their order.
        extents: places and lengths of its data; in the idat box if ``inside``.
        references: by type (``dimg``, ``auxl``, ``thmb``): the items that it refers to.
    """

    kind: bytes = b""
    properties: list[Property] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    inside: bool = False
    references: dict[bytes, tuple[int, ...]] = field(default_factory=dict)

    def first(self, kind: bytes) -> bytes | None:
        """The content of the first property of a type."""
        return next((own.data for own in self.properties if own.kind == kind), None)


@dataclass(slots=True, eq=False)
class Heif:
    """The items of a file.

    Attributes:
        items: by number.
        primary: number of the main image.
        idat: data that is stored with the description.
    """

    items: dict[int, Item]
    primary: int
    idat: bytes = b""

    @property
    def main(self) -> Item:
        return self.items[self.primary]

    def left_out(self) -> list[str]:
        """Warnings about images of the file other than the main one, its alpha and thumbnails."""
        auxiliary = {
            _auxiliary_name(item.first(b"auxC") or b"")
            for item in self.items.values()
            if b"auxl" in item.references
        }
        parts = {part for item in self.items.values() for part in item.references.get(b"dimg", ())}
        images = [
            item
            for number, item in self.items.items()
            if item.kind in _IMAGE_KINDS and number not in parts
            if b"auxl" not in item.references and b"thmb" not in item.references
        ]
        if any(item.kind == b"tmap" for item in self.items.values()):  # ISO 21496-1
            auxiliary.add("HDR gain map")
        warnings = [f"{name} left out" for name in sorted(auxiliary - {""})]
        if len(images) > 1:
            warnings.append(f"holds {len(images)} images; only the main one is edited")
        return warnings

    def cicp(self) -> tuple[int, int, int, bool] | None:
        """Primaries, transfer, matrix and full range of the main image or its tiles."""
        for item in self._with_tiles():
            for own in item.properties:
                if own.kind == b"colr" and own.data[:4] == b"nclx" and len(own.data) >= 11:
                    *codes, full = struct.unpack(">HHHB", own.data[4:11])
                    return codes[0], codes[1], codes[2], bool(full & 0x80)
        return None

    def peak(self) -> float:
        """Light of the brightest pixels in cd/m2, by the property clli; 0 if unknown."""
        for item in self._with_tiles():
            level = item.first(b"clli")
            if level is not None and len(level) >= 2:
                return float(struct.unpack_from(">H", level)[0])
        return 0.0

    def icc(self) -> bytes | None:
        """The ICC profile of the main image or its tiles."""
        for item in self._with_tiles():
            for own in item.properties:
                if own.kind == b"colr" and own.data[:4] in (b"prof", b"rICC"):
                    return own.data[4:]
        return None

    def bits(self) -> int:
        """Bits per channel, by the property pixi or by the codec's configuration; 8 if unknown."""
        for item in self._with_tiles():
            pixi, av1, hevc = item.first(b"pixi"), item.first(b"av1C"), item.first(b"hvcC")
            if pixi is not None and len(pixi) > 5:
                return max(pixi[5 : 5 + pixi[4]])
            if av1 is not None and len(av1) > 2:  # AV1-ISOBMFF, 2.3.3
                return (12 if av1[2] & 0x20 else 10) if av1[2] & 0x40 else 8
            if hevc is not None and len(hevc) > 17:  # ISO/IEC 14496-15, 8.3.2.1
                return 8 + (hevc[17] & 7)
        return 8

    def _with_tiles(self) -> Iterator[Item]:
        yield self.main
        for number in self.main.references.get(b"dimg", ())[:1]:
            if number in self.items:
                yield self.items[number]


def _auxiliary_name(auxc: bytes) -> str:
    """What an auxiliary image is, by its property auxC; empty for alpha."""
    urn = auxc[4:].split(b"\0")[0].lower()
    if urn in ALPHA_TYPES:
        return ""
    if b"gainmap" in urn:
        return "HDR gain map"
    if b"depth" in urn or urn == b"urn:mpeg:hevc:2015:auxid:2" or b"disparity" in urn:
        return "depth map"
    return "auxiliary image" if b"matte" not in urn else "portrait matte"


def read_boxes(file: IO[bytes]) -> Heif:
    """Read the description of a file; its images are not read.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    try:
        meta = _meta(file)
        return _parse(meta[4:])
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"damaged description ({error})") from None


def _meta(file: IO[bytes]) -> bytes:
    for box in file_boxes(file):
        if box.kind == b"meta":
            if not 0 < box.stop - box.content <= _MAX_META:
                raise ValueError("damaged description")
            file.seek(box.content)
            return file.read(box.stop - box.content)
    raise ValueError("no description of images")


def _parse(meta: bytes) -> Heif:
    items: dict[int, Item] = {}
    parts = dict(boxes(meta))
    primary = int.from_bytes(parts[b"pitm"][4 : 6 if parts[b"pitm"][0] == 0 else 8])
    _item_kinds(parts[b"iinf"], items)
    if primary not in items:
        raise ValueError("the main image is missing")
    if b"iprp" in parts:
        _properties(parts[b"iprp"], items)
    if b"iloc" in parts:
        _locations(parts[b"iloc"], items)
    if b"iref" in parts:
        _references(parts[b"iref"], items)
    return Heif(items, primary, parts.get(b"idat", b""))


def _item_kinds(iinf: bytes, items: dict[int, Item]) -> None:
    start = 6 if iinf[0] == 0 else 8
    for kind, entry in boxes(iinf[start:]):
        if kind == b"infe" and entry[0] >= 2 and len(items) < _MAX_ENTRIES:
            size = 2 if entry[0] == 2 else 4
            number = int.from_bytes(entry[4 : 4 + size])
            items[number] = Item(kind=entry[6 + size : 10 + size])


def _properties(iprp: bytes, items: dict[int, Item]) -> None:
    parts = list(boxes(iprp))
    own = [Property(*entry) for kind, data in parts if kind == b"ipco" for entry in boxes(data)]
    for kind, data in parts:
        if kind != b"ipma":
            continue
        version, wide = data[0], bool(data[3] & 1)
        (count,) = struct.unpack_from(">L", data, 4)
        at = 8
        for _ in range(min(count, _MAX_ENTRIES)):
            size = 2 if version < 1 else 4
            number = int.from_bytes(data[at : at + size])
            length = data[at + size]
            at += size + 1
            for _ in range(length):
                step = 2 if wide else 1
                index = int.from_bytes(data[at : at + step]) & (0x7FFF if wide else 0x7F)
                at += step
                if number in items and 0 < index <= len(own):
                    items[number].properties.append(own[index - 1])


def _locations(iloc: bytes, items: dict[int, Item]) -> None:
    version = iloc[0]
    offset_size, length_size = iloc[4] >> 4, iloc[4] & 15
    base_size, index_size = iloc[5] >> 4, iloc[5] & 15 if version else 0
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise ValueError("damaged description")
        return int.from_bytes(iloc[at - size : at])

    for _ in range(min(number(2 if version < 2 else 4), _MAX_ENTRIES)):
        item = items.get(number(2 if version < 2 else 4), Item())
        if version:
            item.inside = number(2) & 15 == 1
        number(2)  # which file: always this one
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size)
            place = base + number(offset_size)
            item.extents.append((place, number(length_size)))


def _references(iref: bytes, items: dict[int, Item]) -> None:
    size = 2 if iref[0] == 0 else 4
    for kind, data in boxes(iref[4:]):
        source = int.from_bytes(data[:size])
        (count,) = struct.unpack_from(">H", data, size)
        targets = tuple(
            int.from_bytes(data[at : at + size])
            for at in range(size + 2, size + 2 + count * size, size)
        )
        if source in items:
            items[source].references[kind] = targets
