"""The one door to PyAV: opening containers, and telling users what FFmpeg's errors mean.

PyAV 18 and 19 both work: rationals are ``Fraction`` or ``None`` in the one and ``AVRational``,
never ``None``, in the other, so they are only ever tested for truth and passed to :func:`ratio`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging

from ...errors import SourceError
from ...storage.atomic import cannot_write

# FFmpeg's own lines would stand between ours; what matters comes back as an exception. Any level
# but None installs a callback that wants the interpreter's lock from FFmpeg's threads, and closing
# a video that is being decoded then waits for ever.
av.logging.set_level(None)

# Tags that are not UTF-8 must not keep a video from being read; PyAV 19 replaces them by itself.
_TAGS: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
#: A file must not make FFmpeg read another one, and much less call a host and wait for it: files
#: only, and of kinds that name no others. HLS, DASH, concat and SDP do, so they are not among
#: FFmpeg's names of what is read. Pictures and sounds are, for the sake of saying what they are.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,"
    "gif,apng,mxf,gxf,dv,rm,nut,ivf,obu,av1,h261,h263,h264,hevc,vvc,vc1,dirac,cavsvideo,mjpeg,"
    "yuv4mpegpipe,wtv,nsv,ty,pva,lxf,wav,mp3,flac,aac,ac3,jpeg_pipe,png_pipe,bmp_pipe,gif_pipe,"
    "tiff_pipe,webp_pipe,j2k_pipe,jpegxl_pipe,psd_pipe",
}
#: What PyAV raises for media that it cannot make sense of, or that the disk does not give.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)

_HINT = "Check the file with a player; if it plays there, `ffmpeg -i FILE -c copy NEW.mkv` helps."


def ratio(value: Any, default: tuple[int, int] = (0, 1)) -> tuple[int, int]:
    """A rational of PyAV as ``(numerator, denominator)``; ``default`` where there is none."""
    if not value:
        return default
    return (int(value.numerator), int(value.denominator))


def fraction(value: tuple[int, int]) -> Fraction:
    """The reverse of :func:`ratio`."""
    return Fraction(*value)


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """Open a video for reading.

    Raises:
        SourceError: ``path`` is missing, unreadable, or nothing that FFmpeg knows. Also raised
            in place of what FFmpeg raises inside the block.
    """
    try:
        # Absolute: FFmpeg takes a name with a colon in it for an address.
        opened = av.open(str(path.absolute()), options=_OPTIONS, **_TAGS)
    except av.error.ArgumentError as error:  # of the list of formats
        raise SourceError(
            f"{path}: not a kind of video that is read.", path=path, hint=_HINT
        ) from error
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise SourceError(f"{path}: {reason(error)}.", path=path, hint=_HINT) from error
    try:
        with opened as container:
            yield container
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise SourceError(f"{path}: {reason(error)}.", path=path, hint=_HINT) from error


@contextmanager
def writing(path: Path, *, format: str, options: dict[str, str] | None = None) -> Iterator[Any]:
    """Open a video for writing.

    Raises:
        OutputError: the file cannot be written. Also raised in place of what FFmpeg raises
            inside the block.
    """
    try:
        with av.open(str(path), "w", format=format, options=options or {}) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise cannot_write(path.parent, reason(error)) from error


def reason(error: BaseException) -> str:
    """A few words on why, without the file name and without FFmpeg's numbers."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a video that can be read, or cut short"
    if isinstance(error, av.error.EOFError):
        return "the file ends too soon"
    if isinstance(error, av.error.FFmpegError) and error.errno == errno.EIO:
        return "it ends too soon, or the disk does not give it"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[0].lower() + str(text)[1:]
