"""The files of a companion, and what detects that one of them changed."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from ...errors import SourceError
from ...frame import Image
from ...storage.publish import content_stamp
from ...storage.sequence import is_sequence
from ..alpha import on_black
from ..depth import to_8_bits
from ..images.formats import READ_ONLY, SUFFIXES
from ..images.reader import read_still
from ..source import source_stamp

#: Suffixes of the images that a companion may have.
READABLE = SUFFIXES.keys() | READ_ONLY.keys()
_NUMBER = re.compile(r"(\d+)", re.ASCII)
RESTORE = "Restore the file, or start a new job with `ip2p-batch edit`."


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts numbers in names by their values.

    >>> sorted(["f10.png", "f9.png", "F1.png"], key=natural_key)
    ['F1.png', 'f9.png', 'f10.png']
    """
    parts = _NUMBER.split(unicodedata.normalize("NFC", name).casefold())
    return tuple((0, int(part), "") if n % 2 else (1, 0, part) for n, part in enumerate(parts))


def listed_images(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are left out.

    Raises:
        SourceError: it cannot be listed, or has no image.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        raise SourceError(
            f"{folder}: cannot be listed: {error.strerror}.",
            path=folder,
            hint="Check that the folder is there and readable.",
        ) from None
    if not names:
        raise SourceError(
            f"{folder} contains no images.", path=folder, hint="Subfolders are not searched."
        )
    return [folder / name for name in sorted(names, key=lambda name: (natural_key(name), name))]


def companion_stamp(path: Path) -> str:
    """Size and modification time of all files of a companion: a change of any changes it.

    Raises:
        SourceError: it is missing.
    """
    if not path.is_dir() or is_sequence(path):
        return source_stamp(path)
    files = listed_images(path)
    stamps = hashlib.sha256()
    for file in files:
        stamps.update(os.fsencode(file.name) + b"\0" + _stamp(file).encode() + b"\n")
    return f"images:{len(files)}:{stamps.hexdigest()}"


def read_over_black(path: Path) -> Image:
    """Read the pixels of an image: uint8 RGB, upright; what is transparent is black.

    Raises:
        SourceError: it cannot be read.
    """
    still = read_still(path)
    return on_black(to_8_bits(still.image), still.alpha)


def changed(path: Path | str) -> SourceError:
    """The error for a companion that is another one than planned."""
    return SourceError(
        f"{path} has changed since the job was planned.",
        path=path,
        hint=RESTORE,
        survives="The job folder is unchanged.",
    )


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = Path(entry.name).suffix.lower()
    return suffix in READABLE and not entry.name.startswith(".") and entry.is_file()


def _stamp(file: Path) -> str:
    try:
        return content_stamp(file.stat())
    except OSError:  # it vanished: another stamp than any
        return ""
