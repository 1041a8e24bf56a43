"""Names of results: suffixes, text encoding, and conflicts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ...jobs.spec import Item
from .formats import format_suffix, suffix_format

#: Longest file name in bytes, on nearly all file systems.
_MAX_NAME_BYTES = 255


def with_format_suffix(path: Path, format: str | None) -> Path:
    """Give ``path`` the suffix of ``format``, unless its suffix already is one of that format."""
    if format is None or suffix_format(path) == format:
        return path
    return path.with_suffix(format_suffix(format))


def is_text(name: str) -> bool:
    """Whether JSON can hold ``name``: false for file names that are not UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def printable(path: Path | str) -> str:
    """Convert a path to printable text; bytes that are not UTF-8 become escapes."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00")


def reject_conflicts(items: Iterable[Item]) -> list[Item]:
    """Add an error to each item whose output is another item's output, is an image to edit, or
    has a name that is too long for file systems.
    """
    items = list(items)
    sources = {item.source for item in items if item.error is None}
    owners: dict[str, str] = {}
    result = []
    for item in items:
        if item.error is None:
            owner = owners.setdefault(item.output, item.source)
            reason = None
            if owner is not item.source:
                reason = f"{item.output} is already the output of {owner}"
            elif len(os.fsencode(os.path.basename(item.output))) > _MAX_NAME_BYTES:  # noqa: PTH119
                reason = (
                    f"its result's name would be longer than {_MAX_NAME_BYTES} bytes; rename"
                    " the image"
                )
            elif item.output in sources:
                reason = f"its output {item.output} is itself an image to edit"
            if reason is not None:
                item = msgspec.structs.replace(item, error=reason)
        result.append(item)
    return result
