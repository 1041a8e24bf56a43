"""Classify a source by its name, and detect when its file changes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from ..errors import SourceError
from ..storage.publish import content_stamp
from ..storage.sequence import is_sequence, is_unknown_sequence, sequence_stamp
from .animation.files import is_animation
from .images.formats import READ_ONLY, SUFFIXES, UNSUPPORTED
from .sequence.probe import sequence_numbers
from .table import TABLES
from .video.pyav import describe_error

SourceKind = Literal["video", "still", "folder", "manifest"]

_SEQUENCE_HINT = (
    "Image sequences are .png, .jpg, .tif, .dpx, .exr, .webp, .bmp, .avif or .heic files."
)
_NAME_HINT = "Check the name; quote it if it has spaces."


def classify_source(path: Path) -> SourceKind:
    """Return whether ``path`` is a folder, a manifest, an image or a video.

    The suffix decides, but an image sequence is a video, and so is an animated GIF, PNG or WebP of
    several frames.

    Raises:
        SourceError: it does not exist, is empty, or is a pipe, socket or device; a sequence has no
            file, or lacks one.
    """
    if "\0" not in str(path) and is_sequence(path):
        sequence_numbers(path)
        return "video"
    try:
        if path.is_dir():
            return "folder"
        status = path.stat()
    except ValueError:
        raise SourceError(
            f"{path!r}: the path contains a NUL character.", path=path, hint=_NAME_HINT
        ) from None
    except OSError as error:
        hint = _SEQUENCE_HINT if is_unknown_sequence(path) else _NAME_HINT
        raise SourceError(f"{path}: {describe_error(error)}.", path=path, hint=hint) from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer forever
        raise SourceError(
            f"{path}: not a regular file.", path=path, hint="Write its content to a file first."
        )
    if status.st_size == 0:
        raise SourceError(
            f"{path}: the file is empty.", path=path, hint="Copy or download it again."
        )
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return "manifest"
    if is_animation(path):
        return "video"
    if suffix in SUFFIXES or suffix in READ_ONLY or suffix in UNSUPPORTED:
        return "still"
    return "video"


def source_stamp(path: Path) -> str:
    """Size and modification time of a source, to detect that it was replaced.

    Of an image sequence, those of all its files; see :func:`sequence_stamp`.

    Raises:
        SourceError: the file system does not give them.
    """
    try:
        if is_sequence(path):
            return sequence_stamp(path)
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{path}: {describe_error(error)}.", path=path, hint=_NAME_HINT) from None
    return content_stamp(status)
