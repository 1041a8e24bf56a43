"""Options of a source and of its results, as groups that ``edit`` and ``plan`` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import msgspec

from ..jobs.coding import Decoding, Deinterlacing, Encoding, HdrChoice, VideoCodec
from .command import OptionGroup
from .help_format import OUTPUT, SOURCE
from .options import option
from .param_types import choice, path_name, seconds

_ENCODING = get_type_hints(Encoding)
CODECS: tuple[str, ...] = get_args(VideoCodec)
FORMATS: tuple[str, ...] = get_args(get_args(_ENCODING["format"])[0])
DEINTERLACING: tuple[str, ...] = get_args(Deinterlacing)
HDR_CHOICES: tuple[str, ...] = get_args(HdrChoice)
AUDIO: tuple[str, ...] = get_args(_ENCODING["audio"])
METADATA: tuple[str, ...] = get_args(_ENCODING["metadata"])


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionGroup):
    """Which part of a source is edited, and how it is read."""

    start: Annotated[
        float | None,
        option(
            "--start",
            metavar="TIME",
            parser=seconds,
            help="Edit a video from this time on: seconds, MM:SS or HH:MM:SS.fff.",
            panel=SOURCE,
        ),
    ] = None
    end: Annotated[
        float | None,
        option(
            "--end",
            metavar="TIME",
            parser=seconds,
            help="Edit a video up to this time.",
            panel=SOURCE,
        ),
    ] = None
    fps: Annotated[
        str | None,
        option(
            "--fps",
            metavar="RATE",
            help="Frames per second of an image sequence (frames/f_%05d.png): a number or a"
            " fraction such as 24000/1001.",
            panel=SOURCE,
            default="24",
        ),
    ] = None
    stream: Annotated[
        int | None,
        option(
            "--stream",
            min=0,
            metavar="N",
            help="Index of the video stream in the file, as ffprobe counts.",
            panel=SOURCE,
            default="the one flagged as default, then the one with the largest frames",
        ),
    ] = None
    deinterlace: Annotated[
        str,
        option(
            "--deinterlace",
            metavar="NAME",
            help="Interlaced video. `auto` makes frames flagged as interlaced progressive (bwdif),"
            " `ivtc` restores the film frames of telecined video (24 of 30), `off` keeps the"
            " fields.",
            values=DEINTERLACING,
            panel=SOURCE,
            default="auto",
            **choice(DEINTERLACING),
        ),
    ] = "auto"
    hdr: Annotated[
        str,
        option(
            "--hdr",
            metavar="NAME",
            help="HDR video (PQ, HLG). `tonemap` gives SDR (BT.709, tone curve of BT.2390), `keep`"
            " applies the edit to the HDR frames.",
            values=HDR_CHOICES,
            panel=SOURCE,
            default="tonemap",
            **choice(HDR_CHOICES),
        ),
    ] = "tonemap"
    follow_links: Annotated[
        bool,
        option(
            "--follow-links",
            help="Follow the links of a folder to files and folders outside of it.",
            panel=SOURCE,
        ),
    ] = False

    def decoding(self) -> Decoding:
        """How the source is read."""
        values = {
            "stream": self.stream,
            "deinterlace": self.deinterlace,
            "hdr": self.hdr,
            "follow_links": self.follow_links,
            "fps": self.fps,
        }
        return msgspec.convert(values, Decoding)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    """Where the result goes and how it is written."""

    output: Annotated[
        Path | None,
        option(
            "--output",
            "-o",
            metavar="PATH",
            parser=path_name,
            help="File or folder for the result; a folder for several. A name such as o_%05d.png"
            " makes an image sequence of a video.",
            panel=OUTPUT,
            default="next to the source, named ...-edited",
        ),
    ] = None
    overwrite: Annotated[
        bool,
        option(
            "--overwrite",
            help="Replace all existing results, also those that were changed by hand.",
            panel=OUTPUT,
        ),
    ] = False
    codec: Annotated[
        str | None,
        option(
            "--codec",
            metavar="NAME",
            help="Video codec. `ffv1` and `qtrle` are lossless; those of `nvenc` need an NVIDIA"
            " GPU.",
            values=CODECS,
            **choice(CODECS),
            panel=OUTPUT,
            default="h264, hevc with --hdr keep, av1 in .webm, dnxhr in .mxf, ffv1 in .avi; for"
            " transparent video prores in .mov, vp9 in .webm, ffv1 in .mkv",
        ),
    ] = None
    pix_fmt: Annotated[
        str | None,
        option(
            "--pix-fmt",
            metavar="NAME",
            help="Pixel format of a video by FFmpeg's name, such as yuv422p10le.",
            panel=OUTPUT,
            default="the source's depth, in the codec's usual chroma format",
        ),
    ] = None
    crf: Annotated[
        int | None,
        option(
            "--crf",
            min=0,
            max=63,
            metavar="N",
            help="Video quality (constant rate factor); lower is better.",
            panel=OUTPUT,
            default="the codec's",
        ),
    ] = None
    audio: Annotated[
        str,
        option(
            "--audio",
            metavar="NAME",
            help="Sound of a video. `auto` copies it, and converts it to FLAC (PCM in .mov, Opus in"
            " .webm) if the container cannot hold it; `none` leaves it out.",
            values=AUDIO,
            **choice(AUDIO),
            panel=OUTPUT,
            default="auto",
        ),
    ] = "auto"
    format: Annotated[
        str | None,
        option(
            "--format",
            metavar="NAME",
            help="Image format.",
            values=FORMATS,
            **choice(FORMATS, {"jpg": "jpeg", "tif": "tiff"}),
            panel=OUTPUT,
            default="the source image's; JPEG for HEIC, PNG for JPEG XL, JPEG 2000 and GIF",
        ),
    ] = None
    quality: Annotated[
        int | None,
        option(
            "--quality",
            min=1,
            max=100,
            metavar="N",
            help="Quality of JPEG, WebP and AVIF images; higher is better.",
            panel=OUTPUT,
            default="the source's from JPEG to JPEG, at least 75; else JPEG 95, WebP 92, AVIF 85",
        ),
    ] = None
    metadata: Annotated[
        str,
        option(
            "--metadata",
            metavar="NAME",
            help="Metadata of the source to keep. `no-gps` leaves out coordinates.",
            values=METADATA,
            **choice(METADATA),
            panel=OUTPUT,
            default="all",
        ),
    ] = "all"
    embed_recipe: Annotated[
        bool,
        option(
            "--embed-recipe/--no-embed-recipe",
            help="Record the recipe in each image.",
            panel=OUTPUT,
            default="on",
        ),
    ] = True
    mark_ai: Annotated[
        bool,
        option(
            "--mark-ai/--no-mark-ai",
            help="State in the metadata of images (except BMP) and of MP4 and MOV videos that they"
            " were edited with AI (IPTC DigitalSourceType, in XMP).",
            panel=OUTPUT,
            default="on",
        ),
    ] = True

    def encoding(self) -> Encoding:
        """How the result is encoded."""
        values: dict[str, object] = {
            "codec": self.codec,
            "crf": self.crf,
            "pixel_format": self.pix_fmt,
            "audio": self.audio,
            "format": self.format,
            "quality": self.quality,
            "metadata": self.metadata,
            "embed_recipe": self.embed_recipe,
            "mark_ai": self.mark_ai,
        }
        return msgspec.convert(values, Encoding)
