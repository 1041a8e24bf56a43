"""Names of results: suffixes, text encoding, and conflicts."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ...jobs.spec import Item
from .formats import format_suffix, result_format, suffix_format

#: Longest file name in bytes, on nearly all file systems.
_MAX_NAME_BYTES = 255


class Listing(msgspec.Struct, frozen=True):
    """The images and videos of a source.

    Attributes:
        items: images in their order, those with an error included.
        notes: one line for the user for each kind of thing that was left out or guessed, and for
            names that some disks take for one.
        videos: in their order, those with an error included. The suffixes of their outputs are
            the sources' own.
    """

    items: list[Item]
    notes: tuple[str, ...] = ()
    videos: tuple[Item, ...] = ()


def with_format_suffix(path: Path, format: str | None) -> Path:
    """Give ``path`` the suffix of ``format``, unless its suffix already is one of that format.

    Args:
        format: None for the suffix's own, or the default of a format that is not written.
    """
    wanted = format or result_format(path)
    if wanted is None or suffix_format(path) == wanted:
        return path
    return path.with_suffix(format_suffix(wanted))


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


def same_name_key(path: str) -> str:
    """What a disk compares that ignores upper and lower case and the Unicode form of names.

    >>> same_name_key("A\u0308.JPG") == same_name_key("ä.jpg")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def alike_names(items: Iterable[Item]) -> list[str]:
    """One warning that names the outputs that a disk takes for one which ignores case (most disks
    of macOS and Windows, many network shares) or the Unicode form of names; empty without any.
    """
    groups: dict[str, list[str]] = {}
    for item in items:
        if item.error is None:
            groups.setdefault(same_name_key(item.output), []).append(item.output)
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike:
        return []
    named = "; ".join(" and ".join(os.path.basename(n) for n in names) for names in alike[:3])  # noqa: PTH119
    more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
    return [
        f"Names of results differ only by upper and lower case or by the form of their Unicode:"
        f" {printable(named)}{more}. On a disk that ignores it, one replaces the other."
    ]


def ignores_case(path: Path) -> bool:
    """Whether the disk of ``path`` ignores upper and lower case in names.

    Compares the nearest folder that exists with its name in other letters; writes nothing.
    """
    for folder in (path, *path.parents):
        if os.path.exists(folder):  # noqa: PTH110 - False for names that cannot be used
            other = folder.with_name(folder.name.swapcase()) if folder.name else folder
            if other.name == folder.name:
                continue  # no letters: the folder above is on the same disk, as a rule
            try:
                return other.samefile(folder)
            except OSError:
                return False
    return False


def reject_conflicts(items: Iterable[Item]) -> list[Item]:
    """Add an error to each item whose output is another item's output, is an image to edit, or
    has a name that is too long for file systems.
    """
    items = list(items)
    folders = {os.path.dirname(item.output) for item in items if item.error is None}  # noqa: PTH120
    folds = bool(folders) and ignores_case(Path(os.path.commonpath(folders)))
    sources = {item.source for item in items if item.error is None}
    owners: dict[str, str] = {}
    result = []
    for item in items:
        if item.error is None:
            key = same_name_key(item.output) if folds else item.output
            owner = owners.setdefault(key, item.source)
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
