"""Folders and lists: what is in them that cannot be read, must not be followed, or comes twice."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from ip2p_batch.jobs.coding import Encoding

from .. import pictures
from .corpus import Case, Edited, Make, Refused


def folder(*steps: Callable[[Path], object]) -> Make:
    """A folder with one good image, and what the steps add."""

    def make(parent: Path) -> Path:
        path = parent / "catalog"
        path.mkdir()
        pictures.save(path / "good.png")
        for step in steps:
            step(path)
        return path

    return make


def picture(name: str | bytes) -> Callable[[Path], object]:
    # Pillow takes names by their suffix; the odd ones get theirs afterwards.
    def put(path: Path) -> None:
        target = path / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = ".jpg" if target.suffix.lower() in (".jpg", ".jpeg") else ".png"
        pictures.save(path.parent / f"new{kind}").rename(target)

    return put


def link(name: str, target: str) -> Callable[[Path], object]:
    return lambda path: (path / name).symlink_to(target)


def sub(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path / "pipe.png")


def server(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("s.png")
    finally:
        os.chdir(here)


def closed(path: Path) -> None:
    pictures.save(path / "closed.png").chmod(0)


def outside(path: Path) -> None:
    pictures.save(path.parent / "elsewhere" / "x.png")


def deep(path: Path) -> None:
    here = path
    for _ in range(200):
        here = here / "d"
    here.mkdir(parents=True)
    pictures.save(here / "x.png")


def listed(content: str | bytes, name: str = "list.csv") -> Make:
    """A list next to ``a.png`` and ``b.jpg``."""

    def make(parent: Path) -> Path:
        pictures.save(parent / "a.png")
        pictures.save(parent / "b.jpg")
        path = parent / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def jsonl(*rows: object) -> Make:
    return listed("".join(f"{json.dumps(row)}\n" for row in rows), "list.jsonl")


def good(count: int = 1, **failed: str) -> Edited:
    return Edited(count, None, None, {name.replace("__", "."): why for name, why in failed.items()})


def but(name: str, why: str, count: int = 1) -> Edited:
    """All come out but one."""
    return Edited(count, None, None, {name: why})


_LONG = "make it snow " * 8000

CASES: tuple[Case, ...] = (
    # -- contents of a folder
    Case("an empty folder", lambda parent: _empty(parent / "catalog"), Refused("contains no images")),
    Case("a folder of text", folder(lambda p: (p / "a.txt").write_text("x")), good()),
    Case("a link to the folder itself", folder(link("again", ".")), good()),
    Case("a link to the folder above", folder(link("up", "..")), but("up", "a folder outside")),
    Case("links in a circle", folder(link("1.png", "2.png"), link("2.png", "1.png")),
         Edited(1, None, None, {"1.png": "a broken link", "2.png": "a broken link"})),
    Case("a link to a file elsewhere", folder(outside, link("l.png", "../elsewhere/x.png")),
         but("l.png", "a file outside")),
    Case("a link to a folder elsewhere", folder(outside, link("l", "../elsewhere")),
         but("l", "a folder outside")),
    Case("a link to the root", folder(link("l", "/")), but("l", "a folder outside")),
    Case("a link to an image inside", folder(link("l.png", "good.png")), good(2)),
    Case("a named pipe in it", folder(pipe), but("pipe.png", "not a regular file")),
    Case("a socket in it", folder(server), but("s.png", "not a regular file")),
    Case("a link to a device in it", folder(link("z.png", "/dev/zero")),
         but("z.png", "not a regular file")),
    Case("a folder called x.png", folder(sub("x.png")), good()),
    Case("an image in a folder called x.png", folder(picture("x.png/y.png")), good(2)),
    Case("an image without read permission", folder(closed), but("closed.png", "ermission"), root_can=True),
    Case("200 folders deep", folder(deep), good(2)),
    Case("a hidden image", folder(picture(".hidden.png")), good()),
    # -- names
    Case("an image's name of two lines", folder(picture("a\nb.png")), good(2)),
    Case("an image's name with control characters", folder(picture("a\a\x1b[31m.png")), good(2)),
    Case("an image's name that is not UTF-8", folder(picture(b"caf\xe9.png")),
         but("caf\\xe9.png", "not UTF-8")),
    Case("an image's name of 255 bytes", folder(picture("n" * 251 + ".png")), good(2)),
    Case("an image's name of 255 bytes, as JPEG", folder(picture("n" * 251 + ".png")),
         but("n" * 251 + ".png", "longer than 255 bytes"), Encoding(format="webp")),
    Case("names that begin with a dash", folder(picture("-rf.png")), good(2)),
    Case("names that end with a space", folder(picture("a .png"), picture("b.png ")), good(2)),
    Case("two become one", folder(picture("good.jpg")), but("good.png", "already"),
         Encoding(format="png")),
    Case("two suffixes of one format", folder(picture("good.jpg"), picture("good.jpeg")),
         but("good.png", "already", 2), Encoding(format="jpeg")),
    Case("names that differ by case", folder(picture("Good.PNG")), good(2)),
    # -- lists
    Case("CSV with a byte order mark", listed("\ufeffpath,instruction\na.png,snow\n"), good()),
    Case("CSV in UTF-16", listed("path\na.png\n".encode("utf-16")), Edited()),
    Case("CSV in Latin-1", listed("path,instruction\na.png,caf\xe9\n".encode("latin-1")),
         Edited(warns="line 2 is not UTF-8; the table is read as Windows-1252")),
    Case("CSV with a NUL", listed("path,instruction\na.png,a\0b\n"), Refused("no file can")),
    Case("CSV with an open quote", listed('path,instruction\na.png,"snow\n'), Refused("not CSV")),
    Case("CSV without its column", listed("file\na.png\n"), Refused("names no column 'path'")),
    Case("CSV without a header", listed("a.png,snow\n"), Refused("names no column 'path'")),
    Case("CSV of nothing but a header", listed("path\n"), Refused("contains no images")),
    Case("CSV of empty lines", listed("\n\n\n"), Refused("contains no images")),
    Case("a list that is an image", lambda p: pictures.save(p / "a.png").rename(p / "a.csv"),
         Refused("neither UTF-8 nor Windows-1252")),
    Case("an output outside", listed("path,output\na.png,../../x.png\nb.jpg,\n"),
         but("a.png", "is not inside")),
    Case("an output at the root", listed("path,output\na.png,/etc/x.png\nb.jpg,\n"),
         but("a.png", "is not inside")),
    Case("one output twice", listed("path,output\na.png,x.png\nb.jpg,x.png\n"),
         but("b.jpg", "already")),
    Case("one row twice", listed("path\na.png\na.png\n"), but("a.png", "already")),
    Case("an image that is not there", listed("path\na.png\nz.png\n"), but("z.png", "o such file")),
    Case("an image outside", listed("path\na.png\n../in/b.jpg\n"), good(2)),
    Case("an image at /dev/zero", listed("path,output\na.png,\n/dev/zero,z.png\n"),
         but("zero", "not a regular file")),
    Case("a very long instruction", listed(f"path,instruction\na.png,{_LONG}\n"), good()),
    Case("an even longer one", jsonl({"path": "b.jpg", "instruction": _LONG * 3}), good()),
    Case("a seed too large", jsonl({"path": "a.png", "seed": 2**64}, {"path": "b.jpg"}),
         but("a.png", "0 to 2^63 - 1")),
    Case("a seed of infinite size", listed('{"path": "a.png", "seed": 1e999}\n{"path": "b.jpg"}\n',
                                           "list.jsonl"), but("a.png", "whole number")),
    Case("a number of 5000 digits",
         listed('{"path": "a.png", "seed": ' + "9" * 5000 + "}\n", "list.jsonl"),
         Refused("line 1 is not JSON: Exceeds the limit")),
    Case("JSON within JSON without end", listed("[" * 100_000 + "\n", "list.jsonl"),
         Refused("nested too deeply")),
    Case("JSON that is a list", jsonl(["a.png"]), Refused("line 1 is not an object")),
    Case("JSON with half a character",
         listed('{"path": "\\ud800.png"}\n{"path": "a.png"}\n', "list.jsonl"),
         but("list.jsonl", "no file can")),
    Case("JSON with numbers for names", jsonl({"path": 7}, {"path": "a.png"}),
         but("list.jsonl", "path is not text")),
)  # fmt: skip


def _empty(path: Path) -> Path:
    path.mkdir()
    return path
