"""Open media containers with PyAV, and describe FFmpeg's errors in plain words.

PyAV 18 and 19 both work. Rationals are ``Fraction`` or ``None`` in version 18 and ``AVRational``,
never ``None``, in version 19: test them for truth only, and convert them with :func:`ratio`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import av.logging

from ...errors import SourceError
from ...storage.atomic import cannot_write
from .types import InputContainer, OutputContainer, Rational

# Keep FFmpeg's log lines out of our output; errors that matter arrive as exceptions. Any level
# but None installs a callback that takes the interpreter lock (GIL) in FFmpeg's threads, and then
# closing a video that is being decoded deadlocks (https://github.com/PyAV-Org/PyAV/issues/751).
av.logging.set_level(None)

# A video must be readable even if its tags are not UTF-8. PyAV 19 replaces invalid bytes by itself.
_TAGS: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
#: An input must never make FFmpeg open another file or connect to a host, so only the ``file``
#: protocol and formats that reference nothing else are allowed. HLS, DASH, concat and SDP
#: reference other files and are left out. Image and sound formats are allowed so that an error
#: can name them.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,live_flv,asf,ogg,"
    "gif,apng,mxf,gxf,dv,rm,nut,ivf,obu,av1,h261,h263,h264,hevc,vvc,vc1,dirac,cavsvideo,mjpeg,"
    "yuv4mpegpipe,wtv,nsv,ty,pva,lxf,wav,mp3,flac,aac,ac3,jpeg_pipe,png_pipe,bmp_pipe,gif_pipe,"
    "tiff_pipe,webp_pipe,j2k_pipe,jpegxl_pipe,psd_pipe,dpx_pipe,exr_pipe",
}
#: What PyAV raises for damaged media and for failed reads.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)

_HINT = (
    "Open the file in a video player. If it plays, convert it: "
    "`ffmpeg -i FILE -c:v libx264 -crf 12 -c:a flac NEW.mkv`."
)


def ratio(value: Rational | None, default: tuple[int, int] = (0, 1)) -> tuple[int, int]:
    """Convert a PyAV rational to ``(numerator, denominator)``; ``default`` if zero or missing."""
    if not value:
        return default
    return (int(value.numerator), int(value.denominator))


def fraction(value: tuple[int, int]) -> Fraction:
    """Convert ``(numerator, denominator)`` to a ``Fraction``."""
    return Fraction(*value)


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        SourceError: ``path`` is missing, unreadable, or in a format that FFmpeg does not know or
            that is not allowed. FFmpeg's errors inside the block are raised as SourceError, too.
    """
    try:
        # An absolute path: FFmpeg takes a relative name with a colon for a URL.
        container = av.open(str(path.absolute()), options=_OPTIONS, **_TAGS)
    except av.error.ArgumentError as error:  # the format is not in format_whitelist
        raise SourceError(
            f"{path}: this video format is not supported.", path=path, hint=_HINT
        ) from error
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise source_error(path, error) from error
    try:
        with container:
            yield cast(InputContainer, container)
    except (av.error.FFmpegError, OSError, EOFError) as error:
        raise source_error(path, error) from error


@contextmanager
def open_output(
    path: Path, *, format: str, options: dict[str, str] | None = None
) -> Iterator[OutputContainer]:
    """Open a media file for writing.

    Args:
        format: FFmpeg's name of the container.
        options: of the muxer.

    Raises:
        OutputError: the file cannot be written. FFmpeg's errors inside the block are raised as
            OutputError, too.
    """
    try:
        with av.open(str(path), "w", format=format, options=options or {}) as container:
            yield cast(OutputContainer, container)
    except (av.error.FFmpegError, OSError) as error:
        raise cannot_write(path.parent, describe_error(error)) from error


def describe_error(error: BaseException) -> str:
    """Describe an error in a few words, without the file name and FFmpeg's error numbers."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a readable video, or truncated"
    if isinstance(error, av.error.EOFError):
        return "the file ends too early"
    if isinstance(error, av.error.FFmpegError) and error.errno == errno.EIO:
        return "the file ends too early, or the disk cannot read it"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[0].lower() + str(text)[1:]


def source_error(path: Path, error: BaseException) -> SourceError:
    """The error of a file that FFmpeg or the system cannot read."""
    return SourceError(f"{path}: {describe_error(error)}.", path=path, hint=_HINT)
