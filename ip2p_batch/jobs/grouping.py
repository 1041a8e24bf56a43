"""Count nouns, and group equal messages about many files into one line each."""

from __future__ import annotations

import os
from collections.abc import Iterable

#: Names that a line lists; the rest is counted.
_NAMED = 2


def counted(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def grouped(pairs: Iterable[tuple[str, str]], noun: str) -> list[str]:
    """One line for each message, in the order of their first files.

    Args:
        pairs: ``(path, message)``.
        noun: what the files are, in plural.

    >>> grouped([("/in/a.jpg", "no EXIF")], "images")
    ['/in/a.jpg: no EXIF']
    >>> grouped([(f"/in/{name}.jpg", "no EXIF") for name in "abc"], "images")
    ['3 images: no EXIF (a.jpg, b.jpg, ...)']
    """
    paths: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for path, message in pairs:
        counts[message] = counts.get(message, 0) + 1
        first = paths.setdefault(message, [])
        if len(first) < _NAMED:
            first.append(path)
    return [_line(message, paths[message], count, noun) for message, count in counts.items()]


def _line(message: str, paths: list[str], count: int, noun: str) -> str:
    if count == 1:
        return f"{paths[0]}: {message}"
    names = ", ".join(os.path.basename(path) for path in paths)  # noqa: PTH119 - text
    return f"{count} {noun}: {message} ({names}{', ...' if count > len(paths) else ''})"
