"""Image sequences: numbered files that one name stands for, such as ``seq/f_%05d.png``.

The name has one number in the notation of printf, as FFmpeg's, or a run of ``#``, as in compositing
programs. Only the name contains it, never the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .atomic import digest

#: Suffixes of frames, in lower case with the dot: other names with such a number are files.
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".dpx", ".exr", ".webp", ".bmp",
    ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl",
})  # fmt: skip
_PRINTF = re.compile(r"%0?(\d{0,2})d")
_HASHES = re.compile(r"#{2,}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The names of a sequence.

    Attributes:
        folder: of all files.
        before, after: what precedes and follows the number.
        digits: least digits of a number; shorter ones begin with zeros.
    """

    folder: Path
    before: str
    after: str
    digits: int

    def name(self, number: int) -> str:
        """Name of the file with this number, 0 or more."""
        return f"{self.before}{number:0{self.digits}d}{self.after}"

    def path(self, number: int) -> Path:
        """Path of the file with this number, 0 or more."""
        return self.folder / self.name(number)

    def numbers(self) -> list[int]:
        """Numbers of the files that exist, sorted.

        Raises:
            OSError: the folder cannot be read.
        """
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                middle = entry.name[len(self.before) : len(entry.name) - len(self.after)]
                if middle.isascii() and middle.isdigit() and self.name(int(middle)) == entry.name:
                    found.append(int(middle))
        return sorted(found)


def pattern_of(path: Path | str) -> Pattern | None:
    """The pattern that a path is; None if it names one file.

    >>> pattern_of("seq/f_%05d.png").name(7), pattern_of("seq/f.####.exr").name(12)
    ('f_00007.png', 'f.0012.exr')
    >>> pattern_of("clip.mp4"), pattern_of("clip_%d.mp4"), pattern_of("%d_%d.png")
    (None, None, None)
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        return None
    numbers = list(_PRINTF.finditer(path.name)) or list(_HASHES.finditer(path.name))
    if len(numbers) != 1:
        return None
    (number,) = numbers
    digits = int(number[1] or 1) if number[0].startswith("%") else len(number[0])
    before, after = (
        part.replace("%%", "%") for part in (path.name[: number.start()], path.name[number.end() :])
    )
    return Pattern(path.parent, before, after, max(1, digits))


def is_unknown_sequence(path: Path | str) -> bool:
    """Whether a path has the form of a pattern, with a suffix that no frames have.

    >>> is_unknown_sequence("f_%05d.tga"), is_unknown_sequence("f_%05d.png")
    (True, False)
    """
    path = Path(path)
    return bool(_PRINTF.search(path.name)) and path.suffix.lower() not in SUFFIXES


def is_sequence(path: Path | str) -> bool:
    """Whether a source's path names a sequence, and is not the name of a file itself."""
    return pattern_of(path) is not None and not os.path.lexists(path)


def sequence_files(path: Path | str) -> Iterator[Path]:
    """The files of a sequence, by number; none where ``path`` names one file, or cannot be read."""
    pattern = pattern_of(path)
    if pattern is not None and not os.path.lexists(path):
        with suppress(OSError):
            yield from map(pattern.path, pattern.numbers())


def sequence_stamp(path: Path | str) -> str:
    """``frames:COUNT:SHA-256`` of names, sizes and times: a change of any file changes it.

    Raises:
        OSError: a file has vanished.
    """
    count, stamps = 0, hashlib.sha256()
    for file in sequence_files(path):
        status = file.stat()
        stamps.update(os.fsencode(file.name) + b"\0%d:%d\n" % (status.st_size, status.st_mtime_ns))
        count += 1
    return f"frames:{count}:{stamps.hexdigest()}"


def sequence_digest(path: Path | str) -> str:
    """SHA-256 of names and contents of all files.

    Raises:
        OSError: a file cannot be read.
    """
    contents = hashlib.sha256()
    for file in sequence_files(path):
        contents.update(os.fsencode(file.name) + b"\0" + digest(file).encode())
    return contents.hexdigest()
