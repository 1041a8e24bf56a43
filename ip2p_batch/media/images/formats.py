"""Formats of images, and how to open an image file safely.

Six formats are read and written, four are only read. Pillow supports dozens more; some of them
start other programs or have no reliable signature.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from PIL import ExifTags, ImageFile
from PIL import Image as Pillow

from ...errors import Ip2pError, SourceError
from .. import limits
from . import tiff_page, tiff_samples
from .heif_image import HeifImage
from .unsupported import UnsupportedSamplesError

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
    ".jpf": "jp2", ".jpx": "jp2", ".jpc": "jp2", ".j2c": "jp2",
}  # fmt: skip
#: The formats of their results.
WRITTEN_AS: Mapping[str, str] = {"heic": "jpeg", "gif": "png", "jp2": "png"}
FORMAT_NAMES: Mapping[str, str] = {
    "jpeg": "JPEG", "png": "PNG", "heic": "HEIC", "gif": "GIF", "jp2": "JPEG 2000",
}  # fmt: skip
#: Suffixes of images that cannot be edited, but are reported.
UNSUPPORTED: Mapping[str, str] = {
    ".jxl": "JPEG XL", ".psd": "Photoshop", **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf", ".pef", ".srw"),
        "camera raw",
    ),
}  # fmt: skip
#: Longest side in pixels that a format or its encoder can hold, if inputs may exceed it.
MAX_SIDE: Mapping[str, int] = {"jpeg": 65500, "webp": 16383, "avif": 65535}

FORMATS_TEXT = "JPEG, PNG, WebP, TIFF, BMP, AVIF, HEIC, JPEG 2000 and GIF"
_OPENERS: Mapping[str, str] = {  # Pillow's name -> ours; MPO is several JPEGs in one file
    "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "TIFF": "tiff", "BMP": "bmp",
    "AVIF": "avif", "GIF": "gif", "JPEG2000": "jp2",
}  # fmt: skip
_HEIF = re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL)
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (rb"....ftypavi[fs]", "an AVIF image, which this Pillow was built without,"),
    (rb"....ftyp", "a video"),
    (rb"%PDF", "a PDF document"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"8BPS", "a Photoshop document"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (rb"(?i)\s*(<!doctype html|<html)", "a web page"),
)


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


@contextmanager
def open_image(path: Path, *, max_pixels: int | None = None) -> Iterator[tuple[Pillow.Image, str]]:
    """Open an image and read its header; yields Pillow's image, not yet decoded, and the format.

    Errors that Pillow raises inside the block, decoding included, become SourceErrors, and its
    warnings are not shown.

    Raises:
        SourceError: not a regular file, unreadable, empty, not of a known format, damaged, or
            of more than ``max_pixels`` pixels (None: of ``limits.PIXELS``). Its message is
            ``PATH: REASON``.
    """
    with silence_pillow():
        try:
            # Before open(), which would wait forever for the writer of a named pipe.
            if not stat.S_ISREG(path.stat().st_mode):
                raise _error(path, "not a regular file", "Remove it from the input.")
            with path.open("rb") as file:
                image, name = _open(path, file)
                with image:
                    what = f"{image.width}x{image.height} is"
                    limits.PIXELS.check(image.width * image.height, path, what, max_pixels)
                    yield image, name
        except Ip2pError:
            raise
        except UnsupportedSamplesError as error:
            raise _error(path, str(error), _CONVERT) from None
        except MemoryError:
            reason = "not enough memory to decode it"
            raise _error(path, reason, "Scale the image down first.") from None
        except Pillow.DecompressionBombError:
            reason = "too many pixels to be decoded safely"
            raise _error(path, reason, "Scale the image down first.") from None
        except OSError as error:
            if error.errno is not None:
                reason = f"cannot be read: {error.strerror or error}"
                raise _error(path, reason, "Check that the file is there and readable.") from error
            raise _error(path, f"damaged or truncated ({_line(error)})", _DAMAGED) from error
        except Exception as error:
            # Pillow's decoders raise errors of any kind on damaged files.
            raise _error(path, f"damaged ({_line(error)})", _DAMAGED) from error


_CONVERT = "Convert it to RGB of 8 or 16 bits first."
_DAMAGED = "Copy or download the file again, or remove it from the input."


def orientation(image: Pillow.Image, name: str) -> int:
    """The EXIF orientation, 1 to 8, that an opened image's pixels still need."""
    if name in ("tiff", "heic"):  # turned upright when decoded; their sizes are upright, too
        return 1
    try:
        # Not image.getexif(): for PNG it decodes the image, to search after the pixels.
        value = Pillow.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # an image with damaged EXIF is still editable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_size(image: Pillow.Image, name: str) -> tuple[int, int]:
    """Upright ``(width, height)`` of an opened image."""
    width, height = image.size
    return (height, width) if orientation(image, name) >= 5 else (width, height)


def _open(path: Path, file: IO[bytes]) -> tuple[ImageFile.ImageFile, str]:
    head = file.read(512)
    if not head:
        raise _error(path, "the file is empty", _DAMAGED)
    _load_plugins()
    for name, own in _OPENERS.items():
        if name not in Pillow.OPEN:
            continue
        factory, accept = Pillow.OPEN[name]
        # The registry instead of Image.open(), which has a process-wide limit of 179 million
        # pixels. The caller checks our limit before anything is decoded.
        if accept is not None and accept(head[:16]) is True:
            file.seek(0)
            try:
                if name == "TIFF":
                    return _open_tiff(path, file), own
                # Without its name: Pillow would map the file into memory, which kills the process
                # if another one truncates it, and then turn oriented TIFF files wrongly.
                image = factory(file, "")
            except SyntaxError as error:
                if name == "AVIF" and b"avi" not in head[8:40]:
                    break  # HEIF of another brand
                raise _error(path, f"damaged ({_line(error)})", _DAMAGED) from error
            if own == "gif" and getattr(image, "n_frames", 1) > 1:
                raise _error(path, "an animated GIF", "Edit it on its own, as a video.")
            return image, own
    if _HEIF.match(head):
        file.seek(0)
        return HeifImage(file, ""), "heic"
    raise _error(path, _what_else(head), f"{FORMATS_TEXT} can be edited.")


def _open_tiff(path: Path, file: IO[bytes]) -> ImageFile.ImageFile:
    page = tiff_page.main_page(file)
    if page.big and page.order == ">":  # Pillow takes it for another format
        raise _error(path, "of a kind that cannot be edited: big-endian BigTIFF", _CONVERT)
    image = tiff_page.open_page(page)
    if tiff_samples.has_own_decoder(page) and (kind := tiff_samples.refusal(page)):
        raise _error(path, f"of a kind that cannot be edited: {kind}", _CONVERT)
    return image


def _load_plugins() -> None:
    if not Pillow.OPEN.keys() >= {"JPEG", "PNG", "BMP"}:
        Pillow.preinit()
    if not Pillow.OPEN.keys() >= {"MPO", "WEBP", "TIFF"}:
        Pillow.init()


def _what_else(head: bytes) -> str:
    for pattern, what in _SIGNATURES:
        if re.match(pattern, head, re.DOTALL):
            return f"{what}, despite its suffix"
    with suppress(UnicodeDecodeError):
        # A full head may end within a character.
        if (
            head[: 509 if len(head) == 512 else None]
            .decode("utf-8")
            .replace("\n", "")
            .replace("\r", "")
            .isprintable()
        ):
            return "text, not an image"
    return "not an image of a known format"


def _error(path: Path, reason: str, hint: str) -> SourceError:
    return SourceError(f"{path}: {reason}", path=path, hint=hint)


def _line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text[:200] or type(error).__name__


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
