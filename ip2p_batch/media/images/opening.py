"""Open an image file safely, and say what it is where it cannot be opened."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PIL import ExifTags, ImageFile
from PIL import Image as Pillow

from ...errors import Ip2pError, SourceError
from .. import limits
from . import jpeg_xl
from .formats import FORMATS_TEXT, silence_pillow
from .heif.image import HeifImage
from .tiff.page import main_page, open_page
from .tiff.samples import has_own_decoder, refusal
from .unsupported import UnsupportedSamplesError

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
    (rb"(?i)\s*(<!doctype html|<html)", "a web page"),
)


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
                image, name = _open(path, file, max_pixels)
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
    if name == "jxl" and not jpeg_xl.is_turned_by_exif(image):
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


def _open(path: Path, file: IO[bytes], max_pixels: int | None) -> tuple[ImageFile.ImageFile, str]:
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
                hint = "Give it the suffix .gif, so that it is edited as a video."
                raise _error(path, "an animated GIF", hint)
            return image, own
    if _HEIF.match(head):
        file.seek(0)
        return HeifImage(file, ""), "heic"
    if jpeg_xl.is_jpeg_xl(head):
        return _open_jpeg_xl(path, file, max_pixels), "jxl"
    raise _error(path, _what_else(head), f"{FORMATS_TEXT} can be edited.")


def _open_jpeg_xl(path: Path, file: IO[bytes], max_pixels: int | None) -> ImageFile.ImageFile:
    header = jpeg_xl.read_header(file)
    what = f"{header.width}x{header.height} is"
    limits.PIXELS.check(header.width * header.height, path, what, max_pixels)
    try:
        return jpeg_xl.open_jpeg_xl(file)
    except jpeg_xl.MissingPluginError as error:
        hint = 'Install it with `pip install "ip2p-batch[jxl]"`.'
        raise _error(path, str(error), hint) from None


def _open_tiff(path: Path, file: IO[bytes]) -> ImageFile.ImageFile:
    page = main_page(file)
    if page.big and page.order == ">":  # Pillow takes it for another format
        raise _error(path, "of a kind that cannot be edited: big-endian BigTIFF", _CONVERT)
    image = open_page(page)
    if has_own_decoder(page) and (kind := refusal(page)):
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
