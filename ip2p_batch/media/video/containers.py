"""Containers that outputs can have, by the suffix of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...jobs.coding import VideoCodec
from .codecs import DEFAULT_CODEC


@dataclass(frozen=True, slots=True)
class Container:
    """A container that outputs can have.

    Attributes:
        name: FFmpeg's.
        keeps_time_base: whether it stores the source's time base; Matroska counts milliseconds.
        sound: codecs for sound that cannot be copied, names of :data:`~.sound.SOUND_CODECS`. The
            first one is chosen by default.
        codec: the default codec of its videos.
        alpha_codec: the same for a source with transparency; empty if no codec keeps it there.
        is_default: whether a source in such a container gets a result in one.
        counts_frames: whether it stores no times, but only frames at one constant rate.
        text: FFmpeg's encoder of its text subtitles; empty if it has none.
        chapters: whether it holds chapters.
        copies: decoders of the streams that can be copied; empty: all that the muxer accepts.
    """

    name: str
    keeps_time_base: bool
    sound: tuple[str, ...] = ("flac", "aac")
    codec: VideoCodec = DEFAULT_CODEC
    alpha_codec: VideoCodec | None = None
    is_default: bool = True
    counts_frames: bool = False
    copies: frozenset[str] = frozenset()
    text: str = ""
    chapters: bool = True


#: Streams that MPEG transport streams can name, by FFmpeg's decoders. The muxer takes all others,
#: too, as private data that no player recognizes.
_TRANSPORT_STREAMS = frozenset({
    "aac", "aac_latm", "ac3", "eac3", "mp2", "mp2float", "mp3", "mp3float", "opus", "libopus",
    "dca", "truehd", "s302m", "pcm_bluray", "dvbsub", "dvb_subtitle", "libzvbi_teletextdec",
})  # fmt: skip

#: Containers by the suffix of the output.
CONTAINERS: Mapping[str, Container] = {
    ".mp4": Container("mp4", keeps_time_base=True, text="mov_text"),
    ".m4v": Container("mp4", keeps_time_base=True, text="mov_text"),
    # QuickTime files have no FLAC.
    ".mov": Container(
        "mov",
        keeps_time_base=True,
        sound=("pcm", "aac"),
        text="mov_text",
        alpha_codec="prores",
    ),
    ".mkv": Container("matroska", keeps_time_base=False, text="subrip", alpha_codec="ffv1"),
    ".webm": Container(
        "webm",
        keeps_time_base=False,
        sound=("opus",),
        text="webvtt",
        codec="av1",
        alpha_codec="vp9",
    ),
    ".ts": Container(
        "mpegts",
        keeps_time_base=False,
        sound=("aac",),
        is_default=False,
        chapters=False,
        copies=_TRANSPORT_STREAMS,
    ),
    ".mxf": Container(
        "mxf",
        keeps_time_base=False,
        sound=("pcm",),
        codec="dnxhr",
        is_default=False,
        chapters=False,
        counts_frames=True,
    ),
    ".avi": Container(
        "avi",
        keeps_time_base=False,
        sound=("pcm",),
        codec="ffv1",
        is_default=False,
        chapters=False,
        counts_frames=True,
    ),
}
