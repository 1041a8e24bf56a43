"""Good small files of every kind, to be broken; each is made once in a process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as Pil

from .. import clips, pictures

SIZE = (48, 32)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a good file is made.

    Attributes:
        make: writes it to the path it is given.
        suffix: of its name.
    """

    suffix: str
    make: Callable[[Path], object]
    is_video: bool = False


def _video(suffix: str, **options: Any) -> Kind:
    def make(path: Path) -> None:
        clips.make(path, 10, size=SIZE, gop=4, **options)

    return Kind(suffix, make, is_video=True)


def _picture(suffix: str, mode: str = "RGB", **options: Any) -> Kind:
    def make(path: Path) -> None:
        Pil.fromarray(pictures.scene(40, 24)).convert(mode).save(path, **options)

    return Kind(suffix, make)


def _text(suffix: str, text: str) -> Kind:
    return Kind(suffix, lambda path: path.write_text(text))


def _animation(path: Path) -> None:
    frames = [Pil.fromarray(clips.picture(n, *SIZE)) for n in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)


_CSV = "path,instruction,output,seed,negative_prompt\na.png,snow,x/a.png,7,\nb.jpg,fog,,,blur\n"
_JSONL = '{"path": "a.png", "seed": 3}\n{"path": "b.jpg", "instruction": "make it \\u2603"}\n'

KINDS = {
    "mp4": _video(".mp4", audio="aac", subtitles=True, chapters=True, rotation=90),
    "mov": _video(".mov", codec="mpeg4", metadata={"title": "seed"}),
    "mkv": _video(".mkv", audio="flac", subtitles=True, sar=Fraction(4, 3)),
    "webm": _video(".webm", codec="libvpx-vp9", options={"deadline": "realtime"}),
    "avi": _video(".avi", codec="mpeg4"),
    "ts": _video(".ts", audio="aac"),
    "mpg": _video(".mpg", codec="mpeg2video"),
    "gif": Kind(".gif", _animation, is_video=True),
    "jpeg": Kind(".jpg", lambda path: pictures.oriented(path, 6, progressive=True)),
    "jpeg-grey": _picture(".jpg", "L", icc_profile=pictures.wide_gamut_profile()),
    "png": _picture(".png", dpi=(72, 72), icc_profile=pictures.wide_gamut_profile()),
    "png-palette": _picture(".png", "P", transparency=3),
    "png-deep": Kind(
        ".png",
        lambda p: p.write_bytes(pictures.png(pictures.scene(40, 24).astype("u2") * 257, 2)),
    ),
    "webp": _picture(".webp", "RGBA", lossless=True),
    "webp-lossy": Kind(".webp", lambda path: pictures.oriented(path, 3)),
    "tiff": Kind(".tif", lambda path: pictures.oriented(path, 8, compression="tiff_lzw")),
    "tiff-cmyk": _picture(".tif", "CMYK", compression="tiff_adobe_deflate"),
    "bmp": _picture(".bmp", "P"),
    "avif": _picture(".avif", speed=10),
    "csv": _text(".csv", _CSV),
    "jsonl": _text(".jsonl", _JSONL),
}
#: Kinds that list images instead of being one.
TABLES = ("csv", "jsonl")


@cache
def good(kind: str) -> bytes:
    """The good file of that kind."""
    with tempfile.TemporaryDirectory(prefix="seed-") as folder:
        path = Path(folder) / f"good{KINDS[kind].suffix}"
        KINDS[kind].make(path)
        return path.read_bytes()


def pictures_beside(table: Path) -> None:
    """The two images that the lists name."""
    (table.parent / "a.png").write_bytes(good("png"))
    (table.parent / "b.jpg").write_bytes(good("jpeg"))
