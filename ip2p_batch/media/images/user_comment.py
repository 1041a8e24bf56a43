"""EXIF's UserComment, in which earlier versions stored the recipe."""

from __future__ import annotations

import struct

from . import ifd
from .ifd import Data, Tag

#: EXIF 3.0, 4.6.6 (UserComment): eight bytes name the character code of what follows.
_ASCII = b"ASCII\0\0\0"
_UNICODE = b"UNICODE\0"


def decode_comment(data: bytes, order: str) -> str | None:
    """Decode a UserComment; None for other character codes and for damaged text."""
    code, text = data[:8], data[8:]
    try:
        if code == _ASCII:
            return text.decode("ascii").rstrip("\0 ")
        if code == _UNICODE:
            return text.decode("utf-16-le" if order == "<" else "utf-16-be").rstrip("\0 ")
    except UnicodeDecodeError:
        pass
    return None


def old_recipe(data: Data) -> str | None:
    """The recipe in the UserComment of a block or TIFF file, where earlier versions stored it."""
    try:
        parts = ifd.read_directories(data)
    except (ValueError, struct.error):
        return None
    tag = None if parts.exif is None else parts.exif.get(ifd.USER_COMMENT)
    return decode_comment(tag.data, parts.order) if tag and is_recipe(tag, parts.order) else None


def is_recipe(tag: Tag | None, order: str) -> bool:
    """Whether a UserComment is a recipe, as earlier versions stored it."""
    text = None if tag is None else decode_comment(tag.data, order)
    return text is not None and text.startswith('{"ip2p_batch"')
