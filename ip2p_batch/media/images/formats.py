"""Formats of images, and how to open an image file safely.

Six formats are read and written, four are only read. Pillow supports dozens more; some of them
start other programs or have no reliable signature.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

#: Formats that can be edited, by suffix. The first suffix of a format is its default; the others
#: are what browsers, cameras and Windows name the same files (".jpg_large": saved from X).
SUFFIXES: Mapping[str, str] = {
    ".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".tiff": "tiff",
    ".tif": "tiff", ".bmp": "bmp", ".avif": "avif",
    ".jpe": "jpeg", ".jfif": "jpeg", ".jfi": "jpeg", ".jif": "jpeg", ".pjpeg": "jpeg",
    ".pjp": "jpeg", ".jpg_large": "jpeg", ".jpg-large": "jpeg", ".jpg_orig": "jpeg",
    ".apng": "png", ".png_large": "png", ".btf": "tiff", ".tf8": "tiff", ".dib": "bmp",
    ".avifs": "avif",
}  # fmt: skip
#: Formats that are read and not written, by suffix.
READ_ONLY: Mapping[str, str] = {
    ".heic": "heic", ".heif": "heic", ".hif": "heic", ".gif": "gif", ".jp2": "jp2", ".j2k": "jp2",
    ".jpf": "jp2", ".jpx": "jp2", ".jpc": "jp2", ".j2c": "jp2", ".jxl": "jxl",
}  # fmt: skip
#: The formats of their results.
WRITTEN_AS: Mapping[str, str] = {"heic": "jpeg", "gif": "png", "jp2": "png", "jxl": "png"}
FORMAT_NAMES: Mapping[str, str] = {
    "jpeg": "JPEG", "png": "PNG", "heic": "HEIC", "gif": "GIF", "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
}  # fmt: skip
#: Suffixes of images that cannot be edited, but are reported.
UNSUPPORTED: Mapping[str, str] = {
    ".psd": "Photoshop", **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw"),
        "camera raw",
    ),
}  # fmt: skip
#: Longest side in pixels that a format or its encoder can hold, if inputs may exceed it.
MAX_SIDE: Mapping[str, int] = {"jpeg": 65500, "webp": 16383, "avif": 65535}

FORMATS_TEXT = "JPEG, PNG, WebP, TIFF, BMP, AVIF, HEIC, JPEG XL, JPEG 2000 and GIF"


def suffix_format(path: Path | str) -> str | None:
    """The format of a file name's suffix; None if it is not one that can be written."""
    return SUFFIXES.get(os.path.splitext(path)[1].lower())  # noqa: PTH122 - half the time, 100 000 times


def result_format(path: Path | str) -> str | None:
    """The format of the result of a file, by its suffix; None if it is of no known format.

    >>> result_format("a.JPG"), result_format("a.heic"), result_format("a.txt")
    ('jpeg', 'jpeg', None)
    """
    source = READ_ONLY.get(os.path.splitext(path)[1].lower())  # noqa: PTH122
    return WRITTEN_AS[source] if source else suffix_format(path)


def format_suffix(name: str) -> str:
    """The default suffix of a format: ``jpeg`` -> ``.jpg``."""
    return next(suffix for suffix, own in SUFFIXES.items() if own == name)


def size_error(width: int, height: int, name: str | None) -> str:
    """Why format ``name`` cannot hold an image of this size; empty if it can."""
    limit = MAX_SIDE.get(name or "", 0)
    if limit and max(width, height) > limit:
        return f"{width}x{height} is too large for {str(name).upper()} ({limit} pixels a side)"
    return ""


_quiet_lock = threading.Lock()
_quiet_users = 0
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextmanager
def silence_pillow() -> Iterator[None]:
    """Hide Pillow's warnings inside the block; thread-safe.

    ``warnings.catch_warnings`` replaces and restores the list of all filters, which fails when
    two threads overlap, and images are read and written in threads.
    """
    global _quiet_users
    with _quiet_lock:
        _quiet_users += 1
        if _quiet_users == 1:
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                with suppress(ValueError):
                    cast(list[Any], warnings.filters).remove(_QUIET)
