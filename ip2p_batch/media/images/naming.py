"""Where a picture's result goes, and which names cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ...jobs.spec import Item
from .formats import format_suffix, suffix_format

#: Bytes in one name, on nearly all file systems.
_LONGEST = 255


def renamed(path: Path, format: str | None) -> Path:
    """``path`` with the suffix of ``format``, unless it has one of that format already."""
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
    """A path as text; bytes that are not UTF-8 become escapes."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00")


def refuse_clashes(items: Iterable[Item]) -> list[Item]:
    """Refuse each item whose output belongs to an earlier one, is a picture to be read, or is
    called by a name that file systems do not take.
    """
    items = list(items)
    sources = {item.source for item in items if item.error is None}
    owners: dict[str, str] = {}
    result = []
    for item in items:
        if item.error is None:
            owner = owners.setdefault(item.output, item.source)
            why = None
            if owner is not item.source:
                why = f"{item.output} is the output of {owner} already"
            elif len(os.fsencode(os.path.basename(item.output))) > _LONGEST:  # noqa: PTH119
                why = f"its result's name would be longer than {_LONGEST} bytes; rename the picture"
            elif item.output in sources:
                why = f"its output {item.output} is a picture that is to be edited"
            if why is not None:
                item = msgspec.structs.replace(item, error=why)
        result.append(item)
    return result
