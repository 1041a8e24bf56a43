"""Edit XMP packets: remove what is no longer true, and add the recipe and the source type.

XMP is RDF in XML (ISO 16684-1). Prefixes, comments and unknown properties stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.dom import minidom

from .xmp_text import Node, is_text, parse, serialize

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_TIFF, _EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
_XMP, _PHOTOSHOP = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/photoshop/1.0/"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
#: What this program records.
_OWN = "urn:ip2p-batch:1.0/"
#: https://cv.iptc.org/newscodes/digitalsourcetype/
AI_EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_SOURCE_TYPES = ("DigitalSourceType", "DigitalSourcefileType")

_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'
#: Characters that XML 1.0 cannot hold.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
DAMAGED = "XMP data is damaged and was left out"


class Cleaned(NamedTuple):
    """A packet, None if there is none, and what it announced.

    Attributes:
        gain_map, motion: whether it announced an HDR gain map, or the video of a motion photo.
    """

    packet: bytes | None
    gain_map: bool = False
    motion: bool = False
    warnings: tuple[str, ...] = ()


def clean(packet: object, size: tuple[int, int], *, converted: bool) -> Cleaned:
    """Make a packet true for an upright sRGB image without attached images.

    Args:
        packet: bytes or text; anything else means none.
        size: ``(width, height)`` upright.
        converted: whether the colours were converted to sRGB.
    """
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if not isinstance(packet, bytes) or not packet.strip(b"\0 \r\n\t"):
        return Cleaned(None)
    document = _parse(packet)
    if document is None:
        return Cleaned(None, warnings=(DAMAGED,))
    gain_map = motion = False
    warnings = []
    values = {
        (_TIFF, "Orientation"): "1",
        (_TIFF, "ImageWidth"): str(size[0]),
        (_TIFF, "ImageLength"): str(size[1]),
        (_EXIF, "PixelXDimension"): str(size[0]),
        (_EXIF, "PixelYDimension"): str(size[1]),
        (_EXIF, "ColorSpace"): "1",
    }
    stale = {(_XMP, "Thumbnails")} | ({(_PHOTOSHOP, "ICCProfile")} if converted else set())
    for item in list(_properties(document)):
        space, name = item.key
        if item.key in values:
            item.set(values[item.key])
        elif space in _GAIN_MAPS:
            gain_map = True
            item.remove()
        elif space == _CONTAINER:
            text = item.xml()
            gain_map |= "GainMap" in text
            motion |= "MotionPhoto" in text
            item.remove()
        elif space == _CAMERA and name.startswith(("MotionPhoto", "MicroVideo")):
            motion |= name in ("MotionPhoto", "MicroVideo") and item.text().strip() == "1"
            item.remove()
        elif item.key == ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"):
            warnings.append("the extended XMP data was left out")
            item.remove()
        elif item.key in stale or space == _OWN:
            item.remove()
    _drop_declarations(document.documentElement, (*_GAIN_MAPS, _CONTAINER, _OWN))
    return Cleaned(serialize(document), gain_map, motion, tuple(warnings))


def finished(
    packet: bytes | None, *, mark_ai: bool, recipe: str | None, position: bool = True
) -> bytes | None:
    """Add what this program states about its result.

    Args:
        packet: as :func:`clean` gives it; None to start a new one.
        mark_ai: state the IPTC digital source type "composite with trained algorithmic media". The
            source's own statement is removed in any case, since the image was edited.
        recipe: JSON text to record; None records none.
        position: keep GPS coordinates.

    Returns:
        None if there is nothing to state.
    """
    document = _parse(packet) if packet else None
    if document is None:
        if not mark_ai and recipe is None:
            return None
        document = minidom.parseString(_EMPTY)  # noqa: S318 - our own text
    for item in list(_properties(document)):
        is_source_type = item.key[0] == _IPTC_EXT and item.key[1] in _SOURCE_TYPES
        if is_source_type or item.key[0] == _OWN:
            item.remove()
    if not position:
        _drop_position(document.documentElement)
    properties = []
    if mark_ai:
        properties.append(("Iptc4xmpExt:DigitalSourceType", _IPTC_EXT, AI_EDITED))
    if recipe is not None:
        properties.append(("ip2p:recipe", _OWN, _legal(recipe)))
    if properties:
        _append(document, properties)
    return serialize(document)


def recipe_of(packet: object) -> str | None:
    """The recipe that :func:`finished` recorded."""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    document = _parse(packet) if isinstance(packet, bytes) else None
    if document is None:
        return None
    found = (item.text() for item in _properties(document) if item.key == (_OWN, "recipe"))
    return next(found, None)


class _Property(NamedTuple):
    """A property of the image: an attribute or a child of a description."""

    key: tuple[str, str]
    node: Node
    owner: Node

    def text(self) -> str:
        if self.node.nodeType == self.node.ATTRIBUTE_NODE:
            return str(self.node.value)
        return "".join(child.data for child in self.node.childNodes if is_text(child))

    def xml(self) -> str:
        if self.node.nodeType == self.node.ATTRIBUTE_NODE:
            return str(self.node.value)
        return str(self.node.toxml())

    def set(self, value: str) -> None:
        if self.node.nodeType == self.node.ATTRIBUTE_NODE:
            self.node.value = value
            return
        for child in list(self.node.childNodes):
            self.node.removeChild(child)
        self.node.appendChild(self.node.ownerDocument.createTextNode(value))

    def remove(self) -> None:
        if self.node.nodeType == self.node.ATTRIBUTE_NODE:
            self.owner.removeAttributeNode(self.node)
        else:
            self.owner.removeChild(self.node)


def _parse(packet: bytes) -> Node | None:
    document = parse(packet)
    return document if document is not None and _rdf(document) is not None else None


def _rdf(document: Node) -> Node | None:
    found = document.getElementsByTagNameNS(_RDF, "RDF")
    return found[0] if found else None


def _descriptions(document: Node) -> Iterator[Node]:
    rdf = _rdf(document)
    for child in () if rdf is None else rdf.childNodes:
        if child.nodeType == child.ELEMENT_NODE:
            yield child


def _properties(document: Node) -> Iterator[_Property]:
    for description in _descriptions(document):
        attributes = description.attributes
        for index in range(attributes.length):
            node = attributes.item(index)
            if node.namespaceURI not in (None, _XMLNS, _RDF):
                yield _Property((node.namespaceURI, node.localName), node, description)
        for child in description.childNodes:
            if child.nodeType == child.ELEMENT_NODE and child.namespaceURI:
                yield _Property((child.namespaceURI, child.localName), child, description)


def _drop_declarations(element: Node, spaces: tuple[str, ...]) -> None:
    attributes = element.attributes
    for node in [attributes.item(index) for index in range(attributes.length)]:
        if node.namespaceURI == _XMLNS and node.value in spaces:
            element.removeAttributeNode(node)
    for child in element.childNodes:
        if child.nodeType == child.ELEMENT_NODE:
            _drop_declarations(child, spaces)


def _drop_position(element: Node) -> None:
    """Remove GPS coordinates at any depth."""
    attributes = element.attributes
    for node in [attributes.item(index) for index in range(attributes.length)]:
        if node.namespaceURI == _EXIF and str(node.localName).startswith("GPS"):
            element.removeAttributeNode(node)
    for child in list(element.childNodes):
        if child.nodeType != child.ELEMENT_NODE:
            continue
        if child.namespaceURI == _EXIF and str(child.localName).startswith("GPS"):
            element.removeChild(child)
        else:
            _drop_position(child)


def _append(document: Node, properties: list[tuple[str, str, str]]) -> None:
    rdf = _rdf(document)
    assert rdf is not None
    first = next(_descriptions(document), None)
    about = ""
    if first is not None:  # older packets have it without a prefix
        about = first.getAttributeNS(_RDF, "about") or first.getAttribute("about")
    prefix = rdf.prefix or "rdf"
    description = document.createElementNS(_RDF, f"{prefix}:Description")
    description.setAttributeNS(_RDF, f"{prefix}:about", about)
    for name, space, value in properties:
        child = document.createElementNS(space, name)
        child.setAttributeNS(_XMLNS, "xmlns:" + name.partition(":")[0], space)
        child.appendChild(document.createTextNode(value))
        description.appendChild(child)
    rdf.appendChild(description)


def _legal(text: str) -> str:
    """JSON text without the characters that XML cannot hold, as JSON escapes."""
    return _ILLEGAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
