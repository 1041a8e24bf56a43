"""Parse the text of XMP packets to documents of ``xml.dom.minidom``, and write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape, quoteattr

#: Of xml.dom.minidom, whose types do not say which nodes have which attributes.
Node = Any
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_TAIL = '<?xpacket end="w"?>'
_DECLARATION = re.compile(r"\A<\?xml\s.*?\?>", re.DOTALL)
_MAX_DEPTH = 100


def parse(packet: bytes) -> Node | None:
    """The document of a packet; None if it is damaged."""
    text = _decoded(packet)
    if text is None or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None  # not allowed in XMP; entities can expand without limit
    data = text.encode("utf-8", "replace")
    try:
        document = minidom.parseString(data)  # noqa: S318 - has no entities
    except (ExpatError, ValueError, LookupError, RecursionError):
        return None
    return document if _is_shallow(document) else None


def _is_shallow(document: Node) -> bool:
    """Whether no element is nested deeper than any real packet's: others would end recursion."""
    level = [document]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in node.childNodes]
        if not level:
            return True
    return False


def _decoded(packet: bytes) -> str | None:
    """The text of a packet: UTF-8, or UTF-16 or UTF-32 without a mark (ISO 16684-1, 7.2)."""
    start = packet[:4]
    encoding = "utf-8-sig"
    for sign, name in (
        (b"\0\0\0<", "utf-32-be"),
        (b"<\0\0\0", "utf-32-le"),
        (b"\0<", "utf-16-be"),
        (b"<\0", "utf-16-le"),
        (b"\xfe\xff", "utf-16"),
        (b"\xff\xfe", "utf-16"),
    ):
        if start.startswith(sign):
            encoding = name
            break
    try:
        text = packet.decode(encoding)
    except UnicodeDecodeError:
        return None
    return _DECLARATION.sub("", text.strip("\0 \r\n\t\ufeff"))


def is_text(node: Node) -> bool:
    """Whether a node holds characters."""
    return node.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE)


def serialize(document: Node) -> bytes:
    """The packet of a document, in UTF-8."""
    root = "".join(_text(document.documentElement))
    return f"{_HEAD}\n{root}\n{_TAIL}".encode()


def _text(node: Node) -> Iterator[str]:
    """XML of a node. minidom's own loses line breaks in attributes before Python 3.13."""
    if node.nodeType == node.ELEMENT_NODE:
        attributes = node.attributes
        yield f"<{node.nodeName}"
        for index in range(attributes.length):
            item = attributes.item(index)
            yield f" {item.nodeName}={quoteattr(item.value)}"
        if not node.childNodes:
            yield "/>"
            return
        yield ">"
        for child in node.childNodes:
            yield from _text(child)
        yield f"</{node.nodeName}>"
    elif is_text(node):
        yield escape(node.data, {"\r": "&#xD;"})
    elif node.nodeType == node.COMMENT_NODE:
        yield f"<!--{node.data}-->"
