"""Images that lie, break off, or are merely unusual; each alone, as one image to edit."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image as Pil
from PIL import ImageCms

from ip2p_batch.jobs.coding import Encoding

from .. import pictures
from .corpus import Case, Edited, Make, Refused
from .odd_videos import data, noise

SIZE = (48, 32)


def saved(name: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: object) -> Make:
    """A good image of that mode."""

    def make(folder: Path) -> Path:
        path = folder / name
        scene = pictures.scene(*size)
        image = Pil.fromarray(scene)
        if mode == "LAB":
            lab = ImageCms.createProfile("LAB")
            image = ImageCms.profileToProfile(
                image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
            )
        elif mode in ("I;16", "I", "F"):
            grey = scene[..., 0].astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode])
            image = Pil.fromarray(grey * 257 if mode != "F" else grey / 255)
        elif mode == "PA":
            image = image.convert("RGBA").quantize(16)
        else:
            image = image.convert(mode)
        pictures.save(path, image, **options)
        return path

    return make


def changed(make: Make, change: Callable[[bytearray], object]) -> Make:
    """A good image, and then ``change`` has its bytes."""

    def made(folder: Path) -> Path:
        path = make(folder)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)
        return path

    return made


def cut(make: Make, share: float) -> Make:
    def change(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return changed(make, change)


def put(kind: bytes, offset: int, value: bytes) -> Callable[[bytearray], None]:
    """Overwrite bytes behind the first ``kind``."""

    def change(content: bytearray) -> None:
        at = content.index(kind) + len(kind) + offset
        content[at : at + len(value)] = value

    return change


def png(width: int, height: int, *parts: bytes, depth: int = 8, color: int = 2) -> bytes:
    """A PNG of these chunks behind its header."""
    header = struct.pack(">LLBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((pictures.chunk(b"IHDR", header), *parts, END))


END = pictures.chunk(b"IEND", b"")
ROWS = pictures.chunk(b"IDAT", zlib.compress((b"\0" + bytes(3 * 8)) * 8))


def interlaced() -> bytes:
    """A PNG in Adam7's order: 8 x 8, seven passes."""
    sizes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    raw = b"".join((b"\0" + bytes([90] * 3 * w)) * h for w, h in sizes)
    header = struct.pack(">LLBBBBB", 8, 8, 8, 2, 0, 0, 1)
    parts = (pictures.chunk(b"IHDR", header), pictures.chunk(b"IDAT", zlib.compress(raw)), END)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated(name: str, count: int = 4) -> Make:
    def make(folder: Path) -> Path:
        first, *more = (Pil.fromarray(pictures.scene() // (n + 1)) for n in range(count))
        first.save(folder / name, save_all=True, append_images=more)
        return folder / name

    return make


def mpo(folder: Path) -> Path:
    first, second = (Pil.fromarray(pictures.scene() // n) for n in (1, 2))
    first.save(folder / "a.mpo", save_all=True, append_images=[second])
    return (folder / "a.mpo").rename(folder / "a.jpg")


def oriented(turn: int) -> Make:
    return lambda folder: pictures.oriented(folder / "a.jpg", turn)


def exif_of(block: bytes) -> Make:
    """A JPEG with that for its EXIF."""
    return saved("a.jpg", exif=b"Exif\0\0" + block)


def looping_tiff(folder: Path) -> Path:
    """A TIFF whose first directory is followed by itself."""
    path = saved("a.tif")(folder)
    content = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<L", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<L", content, at + 2 + 12 * count, at)
    path.write_bytes(content)
    return path


def tag(number: int, value: int, count: int = 1) -> Callable[[bytearray], None]:
    """Give a tag of a TIFF's first directory another value and count, as a LONG."""

    def change(content: bytearray) -> None:
        (at,) = struct.unpack_from("<L", content, 4)
        (entries,) = struct.unpack_from("<H", content, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            if struct.unpack_from("<H", content, entry)[0] == number:
                struct.pack_into("<HLL", content, entry + 2, 4, count, value)

    return change


def rows_of(byte: bytes) -> Callable[[bytearray], None]:
    """Overwrite the last rows of a TIFF that ends with them."""

    def change(content: bytearray) -> None:
        content[-200:] = byte * 200

    return change


def one(size: tuple[int, int] | None = SIZE, warns: str | None = "") -> Edited:
    return Edited(1, size, warns)


def bad(name: str, says: str = "damaged or truncated") -> Edited:
    """It opens, and then its pixels are not there."""
    return Edited(0, None, None, {name: says})


_KINDS = (("a.jpg", {}), ("a.png", {}), ("a.webp", {}), ("a.tif", {"compression": "tiff_lzw"}),
          ("a.bmp", {}), ("a.avif", {}))  # fmt: skip
#: What a header alone does not show is found when the image is read: one that failed.
_CUTS: dict[str, dict[float, Edited | Refused]] = {
    "a.jpg": {0.02: Refused(""), 0.5: bad("a.jpg"), 0.9: bad("a.jpg")},
    "a.png": {0.02: Refused(""), 0.5: bad("a.png"), 0.7: bad("a.png")},
    "a.webp": {0.02: Refused(""), 0.5: Refused(""), 0.9: Refused("")},
    "a.tif": {0.02: Refused(""), 0.5: Refused(""), 0.9: Refused("")},
    "a.bmp": {0.002: Refused(""), 0.02: bad("a.bmp"), 0.5: bad("a.bmp"), 0.9: bad("a.bmp")},
    "a.avif": {0.02: Refused(""), 0.5: Refused("")},
}
_TOO_MANY = Refused("IP2P_MAX_PIXELS")
_TWO_BILLION = struct.pack("<LL", 0x7FFF, 0x7FFF)

CASES: tuple[Case, ...] = (
    # -- every format: cut, empty, something else
    *(
        Case(f"{name[2:]}: cut at {share:.0%}", cut(saved(name, **options), share), expected)
        for name, options in _KINDS
        for share, expected in _CUTS[name].items()
    ),
    *(Case(f"{name[2:]}: random bytes", noise(name), Refused("not an image")) for name, _ in _KINDS),
    *(Case(f"{name[2:]}: nothing in it", data(name, b""), Refused("empty")) for name, _ in _KINDS),
    Case("text called PNG", data("a.png", "hello\n" * 20), Refused("text, not an image")),
    Case("a web page called JPEG", data("a.jpg", "<!DOCTYPE html><p>404"), Refused("a web page")),
    Case("PNG called JPEG", lambda f: saved("a.png")(f).rename(f / "a.jpg"), one()),
    Case("GIF called PNG", lambda f: saved("a.gif", "P")(f).rename(f / "a.png"), one()),
    Case("HEIC: nothing behind its first box", data("a.heic", b"\0\0\0\x18ftypheic" + bytes(40)),
         Refused("damaged"), suffix=".png"),
    Case("a PDF called PNG", data("a.png", b"%PDF-1.7\n" + bytes(50)), Refused("PDF document")),
    # -- more pixels than there are
    Case("PNG of 65535 x 65535", data("a.png", png(65535, 65535, ROWS)), _TOO_MANY),
    Case("PNG of 2 billion x 1", data("a.png", png(0x7FFFFFFF, 1, ROWS)), _TOO_MANY),
    Case("PNG of 0 x 0", data("a.png", png(0, 0, ROWS)), Refused("")),
    Case("JPEG of 65500 x 65500", changed(saved("a.jpg"), put(b"\xff\xc0", 3, b"\xff\xdc" * 2)),
         _TOO_MANY),
    Case("BMP of 32767 x 32767", changed(saved("a.bmp"), put(b"BM", 16, _TWO_BILLION)), _TOO_MANY),
    Case("TIFF of 65535 x 65535",
         changed(saved("a.tif"), lambda c: (tag(256, 65535)(c), tag(257, 65535)(c))), _TOO_MANY),
    Case("lossless WebP of 16383 x 16383",
         changed(saved("a.webp", lossless=True), put(b"VP8L", 5, b"\xfe\xbf\xff\x0f")), _TOO_MANY),
    Case("PNG that unpacks to a gigabyte of text",
         data("a.png", png(8, 8, pictures.chunk(
             b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20))), ROWS)), Refused("")),
    Case("PNG whose profile unpacks to 100 MB",
         data("a.png", png(8, 8, pictures.chunk(
             b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20))), ROWS)), Refused("")),
    # -- modes
    *(
        Case(f"{name[2:]}: mode {mode}", saved(name, mode), one(warns=warns))
        for name, mode, warns in (
            ("a.png", "1", ""), ("a.png", "L", ""), ("a.png", "LA", ""), ("a.png", "P", ""),
            ("a.png", "RGBA", ""), ("a.png", "PA", ""), ("a.png", "I;16", ""),
            ("a.jpg", "L", ""), ("a.jpg", "CMYK", "CMYK"), ("a.tif", "1", ""),
            ("a.tif", "CMYK", "CMYK"), ("a.tif", "LAB", "Lab"), ("a.tif", "I;16", ""),
            ("a.tif", "F", "floating-point"), ("a.tif", "YCbCr", ""), ("a.tif", "LA", ""),
            ("a.tif", "RGBA", ""), ("a.webp", "RGBA", ""), ("a.bmp", "1", None),
            ("a.bmp", "P", None), ("a.bmp", "RGBA", None), ("a.avif", "RGBA", ""),
        )
    ),
    Case("32-bit grey beyond 16 bits", changed(saved("a.tif", "I"), rows_of(b"\x7f")),
         bad("a.tif", "no known white")),
    Case("TIFF with a field of two billion values",
         changed(saved("a.tif"), tag(262, 2, count=0x7FFFFFFF)), Refused("claims 2147483647 values")),
    Case("PNG of 16 bits a channel",
         data("a.png", pictures.png(pictures.scene().astype("u2") * 257, 2)), one()),
    Case("PNG of 16 bits a channel, as JPEG",
         data("a.png", pictures.png(pictures.scene().astype("u2") * 257, 2)),
         one(warns="16-bit"), Encoding(format="jpeg"), ".jpg"),
    Case("TIFF of 16 bits in planes",
         data("a.tif", pictures.tiff(pictures.scene().astype("u2") * 257, planar=True)), one()),
    Case("TIFF of grey and alpha in 16 bits",
         data("a.tif", pictures.tiff(pictures.scene()[..., :2].astype("u2"), extra=2)), one()),
    Case("transparent palette, as JPEG", saved("a.png", "P", transparency=0),
         one(warns=None), Encoding(format="jpeg"), ".jpg"),
    *(
        Case(f"TIFF packed by {way}", saved("a.tif", mode, compression=way), one(warns=None))
        for way, mode in (
            ("packbits", "RGB"), ("tiff_adobe_deflate", "RGB"), ("jpeg", "RGB"), ("lzma", "RGB"),
            ("zstd", "RGB"), ("group3", "1"), ("group4", "1"),
        )
    ),
    # -- more than one image, unusual order
    Case("TIFF of four pages", animated("a.tif"), one(warns="holds 4 images")),
    Case("TIFF that goes in circles", looping_tiff, one(warns=None)),
    Case("JPEG of two images (MPO)", mpo, one(warns="holds 2 images")),
    Case("progressive JPEG", saved("a.jpg", progressive=True), one()),
    Case("interlaced PNG", data("a.png", interlaced()), one((8, 8))),
    *(Case(f"turned by EXIF {turn}", oriented(turn), one()) for turn in range(1, 9)),
    *(
        Case(f"{w} x {h} {suffix}", saved(f"a.{suffix}", size=(w, h)), one((w, h), None))
        for w, h in ((1, 1), (1, 5000), (5000, 1), (3, 2))
        for suffix in ("png", "jpg")
    ),
    # -- damage inside
    Case("PNG whose pixels fail their checksum", changed(saved("a.png"), put(b"IDAT", 30, b"\0\1\2\3")),
         bad("a.png")),
    Case("PNG without pixels", data("a.png", png(8, 8)), bad("a.png")),
    Case("PNG with an unknown chunk", data("a.png", png(8, 8, pictures.chunk(b"zzZz", b"?"), ROWS)),
         one((8, 8))),
    Case("PNG of an unknown colour type", data("a.png", png(8, 8, ROWS, color=5)), Refused("")),
    Case("JPEG without its tables", changed(saved("a.jpg"), put(b"\xff\xdb", 0, b"\0\2")),
         bad("a.jpg")),
    Case("JPEG with a broken profile", saved("a.jpg", icc_profile=b"not a profile" * 20),
         one(warns="profile is damaged")),
    Case("PNG with a profile for CMYK", data("a.png", png(8, 8, pictures.chunk(
        b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 200)), ROWS)), one((8, 8), "profile is damaged")),
    Case("EXIF that is noise", exif_of(b"\x11" * 60), one(warns=None)),
    Case("EXIF that points beyond its end", exif_of(b"II*\0\xff\xff\xff\x7f"), one(warns=None)),
    Case("EXIF that points at itself",
         exif_of(b"II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"), one(warns=None)),
    Case("EXIF with an orientation of 99",
         exif_of(b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0"), one(warns=None)),
    Case("TIFF with an orientation of 0", changed(saved("a.tif"), tag(262, 99)), Refused("")),
    Case("TIFF with samples of 3 bits", changed(saved("a.tif", "L"), tag(258, 3)), one()),
    Case("TIFF whose rows are far away", changed(saved("a.tif"), tag(273, 0x7FFFFFF0)), bad("a.tif")),
    Case("BMP of unknown packing", changed(saved("a.bmp"), put(b"BM", 28, b"\x63")), Refused("")),
)  # fmt: skip
