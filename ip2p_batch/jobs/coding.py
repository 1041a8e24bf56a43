"""How a source is read and how results are written: options, as pure data."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from msgspec import Meta

from .codec import FrozenStruct

VideoCodec = Literal[
    "h264", "hevc", "av1", "vp9", "prores", "dnxhr", "ffv1", "qtrle",
    "h264_nvenc", "hevc_nvenc", "av1_nvenc",
]  # fmt: skip
#: What becomes of interlaced frames; see :class:`Decoding`.
Deinterlacing = Literal["auto", "off", "ivtc"]
#: What becomes of HDR; see :class:`Decoding`.
HdrChoice = Literal["tonemap", "keep"]
#: What a result keeps of its source's metadata; see :class:`Encoding`.
MetadataChoice = Literal["all", "no-gps", "none"]


class Decoding(FrozenStruct, frozen=True, kw_only=True):
    """How a source is read.

    Attributes:
        stream: index of the video stream in the file, as ffprobe counts; None is the stream with
            the default flag, and the one with the largest frames among several. Never a cover.
        deinterlace: ``auto`` makes frames flagged as interlaced progressive (bwdif), one frame for
            each; ``ivtc`` restores the frames of telecined film (fieldmatch, decimate): four of
            five, each at the time of the frame that shows it first; ``off`` keeps
            the fields, and encodes the result as interlaced.
        hdr: what becomes of HDR video (PQ, HLG): ``tonemap`` gives SDR in BT.709; ``keep`` edits a
            tone-mapped copy and applies the edit to the HDR frames.
        follow_links: whether links of a folder are followed to files and folders outside of it.
        fps: frames per second of an image sequence: a number or a fraction such as
            ``24000/1001``, see :func:`frame_rate`; None is 24.
    """

    stream: Annotated[int, Meta(ge=0)] | None = None
    deinterlace: Deinterlacing = "auto"
    hdr: HdrChoice = "tonemap"
    follow_links: bool = False
    fps: int | float | str | None = None


class Encoding(FrozenStruct, frozen=True, kw_only=True):
    """How results are encoded.

    Attributes:
        codec: video codec; None is chosen by the output's suffix and the source's transparency.
            The job of a video has the choice. ``ffv1`` and ``qtrle`` are lossless, and those of
            ``nvenc`` need an NVIDIA GPU.
        pixel_format: FFmpeg's name of the pixel format of a video, one that the codec can be
            written in; None has the source's depth, as far as the codec can.
        crf: constant rate factor of the codec, lower is better; None is the codec's default.
        format: image format (``png``, ``jpeg``, ``webp``, ``tiff``, ``bmp``, ``avif``); None
            keeps each image's own.
        audio: what happens to the sound of a video. ``auto`` copies it, and converts it where the
            container cannot hold it: to FLAC, or to PCM in ``.mov`` and Opus in ``.webm``.
            ``copy`` never converts, ``flac`` and ``aac`` convert all sound that has another codec,
            ``none`` leaves it out.
        quality: image quality 1-100 for lossy formats; None is the source's for JPEG to JPEG, else
            the format's default.
        metadata: what a result keeps of its source's metadata: ``all``, ``no-gps`` (all but GPS
            coordinates) or ``none`` (of images only colour profile and resolution, of videos only
            languages and chapters).
        embed_recipe: whether images record their recipe.
        mark_ai: whether results state in XMP that they were edited with generative AI (IPTC digital
            source type): images except BMP, and MP4 and MOV videos.
    """

    codec: VideoCodec | None = None
    pixel_format: str | None = None
    crf: int | None = None
    format: Literal["png", "jpeg", "webp", "tiff", "bmp", "avif"] | None = None
    quality: int | None = None
    audio: Literal["auto", "copy", "flac", "aac", "none"] = "auto"
    metadata: MetadataChoice = "all"
    embed_recipe: bool = True
    mark_ai: bool = True


#: Frames per second of an image sequence where nothing is requested.
DEFAULT_FPS = 24
#: A rate above it is a mistake.
_MAX_FPS = 1000


def frame_rate(fps: int | float | str) -> Fraction:
    """The exact rate of ``Decoding.fps``.

    The rounded NTSC rates 23.976, 29.97, 47.952, 59.94 and 119.88 mean n * 1000 / 1001 (SMPTE ST
    170).

    Raises:
        ValueError: not a number above 0 and up to 1000.

    >>> frame_rate(24), frame_rate("23.976"), frame_rate("25/2")
    (Fraction(24, 1), Fraction(24000, 1001), Fraction(25, 2))
    """
    try:
        rate = Fraction(str(fps).strip())
    except ZeroDivisionError:
        raise ValueError("the denominator is 0") from None
    except ValueError:
        raise ValueError("it is not a number") from None
    if not 0 < rate <= _MAX_FPS:
        raise ValueError(f"it is not above 0 and up to {_MAX_FPS}")
    if rate.denominator == 1 or "/" in str(fps):
        return rate
    near = round(rate * 1001 / 1000)
    ntsc = Fraction(near * 1000, 1001)
    is_ntsc = near in (24, 30, 48, 60, 120) and abs(rate - ntsc) < Fraction(1, 1000)
    return ntsc if is_ntsc else rate.limit_denominator(100_000)
