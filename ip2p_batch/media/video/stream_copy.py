"""Copy streams, tags and chapters of the source to the output without encoding them again."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import av
import av.error

from ...jobs.coding import MetadataChoice
from .languages import storable_language
from .packets import TimeRange
from .pyav import fraction, ratio
from .types import InputContainer, OutputContainer, Stream

#: Container and stream tags that describe the source's file instead of its content. The time code
#: is written by itself, with the number of the first edited frame.
_FILE_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "rotate",
    "vendor_id", "alpha_mode", "bps", "number_of_frames", "number_of_bytes", "software", "timecode",
    # of MXF: the program that wrote the file, and identifiers of this very file
    "application_platform", "company_name", "generation_uid", "material_package_umid",
    "operational_pattern_ul", "product_name", "product_uid", "product_version",
    "product_version_num", "toolkit_version_num", "uid", "file_package_umid",
}  # fmt: skip
#: Parts of names of tags that hold a position: ``com.apple.quicktime.location.ISO6709``.
_POSITION_WORDS = ("location", "gps", "iso6709", "latitude", "longitude")
#: Prefix of the tags in which mkvmerge stores counts and dates of the file.
_STATISTICS = "_statistics_"


def copyable_streams(container: InputContainer, edited: int) -> list[Stream]:
    """All streams of a source except the edited one, and except the track of MP4's chapters.

    Args:
        edited: index of the edited stream.
    """
    has_chapters = bool(container.chapters())  # copy_headers writes them to a new track
    return [
        stream
        for stream in container.streams
        if stream.index != edited
        and not (has_chapters and stream.type == "data" and stream.name == "bin_data")
        and not (stream.type == "data" and "timecode" in stream.metadata)  # written from its tag
    ]


def add_stream(target: OutputContainer, template: Stream) -> Stream:
    """Add a stream with the template's codec and parameters to ``target``.

    AV1 and VP9 need ``opaque``: FFmpeg's decoders and encoders of them have different names, and
    PyAV would search for an encoder by the decoder's name.
    """
    return target.add_stream_from_template(
        template, opaque=None if _has_encoder(template.codec_context.name) else True
    )


def set_rate(stream: Stream, rate: Fraction, counts_frames: bool) -> None:
    """Set the average frame rate of a video stream to write.

    A template's rate is that of its header, where x264 writes the number of ticks in a second.

    Args:
        counts_frames: whether the container stores no times, as AVI and MXF.
    """
    context = stream.codec_context
    context.framerate = rate
    if counts_frames:
        stream.time_base = context.time_base = 1 / rate


def _has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def add_copy(target: OutputContainer, stream: Stream) -> Stream:
    """Add a stream that gets the packets of ``stream``, or the file of an attachment.

    Raises:
        ValueError: the container cannot hold the codec.
    """
    if stream.type == "attachment":
        name = stream.name or stream.metadata.get("filename", "attachment")
        return target.add_attachment(
            name, stream.mimetype or "application/octet-stream", bytes(stream.data)
        )
    return target.add_stream_from_template(stream)


def add_cover(target: OutputContainer, stream: Stream, image: bytes) -> Stream:
    """Add a cover as an attachment, with the name by which Matroska players find it.

    Args:
        stream: of the source.
        image: its only packet.
    """
    kind = "png" if stream.codec_context.name == "png" else "jpeg"
    suffix = {"png": "png", "jpeg": "jpg"}[kind]
    name = stream.metadata.get("filename", f"cover.{suffix}")
    return target.add_attachment(name, stream.metadata.get("mimetype", f"image/{kind}"), image)


def copy_stream_tags(
    original: Stream, copy: Stream, format_name: str, choice: MetadataChoice = "all"
) -> None:
    """Copy title, language and flags of a stream.

    Args:
        format_name: FFmpeg's name of the output's container.
        choice: see :class:`~ip2p_batch.jobs.coding.Encoding`.
    """
    tags = content_tags(original.metadata, choice)
    if "name" in tags:  # the title of a track in MP4 and MOV, as FFmpeg reads it
        tags.setdefault("title", tags.pop("name"))
    if (language := tags.pop("language", None)) is not None:
        tags["language"] = storable_language(language, format_name) or "und"
    copy.metadata.update(tags)
    if copy.type != "attachment":
        copy.disposition = original.disposition


def copy_chapters(
    source: InputContainer, target: OutputContainer, offset: Fraction, kept: TimeRange | None
) -> None:
    """Copy the chapters within the edited part.

    Args:
        offset: seconds to subtract from every time.
        kept: the edited part; None: all.
    """
    chapters = []
    for chapter in source.chapters():
        base = fraction(ratio(chapter["time_base"], (1, 1000)))
        start, end = chapter["start"] * base, chapter["end"] * base
        if kept is not None:
            start = max(start, kept.start)
            end = end if kept.stop is None else min(end, kept.stop)
            if end <= start:
                continue
        times = {"start": round((start - offset) / base), "end": round((end - offset) / base)}
        chapters.append({**chapter, **times})
    if chapters:
        target.set_chapters(chapters)


def content_tags(tags: Mapping[str, str], choice: MetadataChoice = "all") -> dict[str, str]:
    """Tags that describe a source's content, and not its file.

    Args:
        choice: see :class:`~ip2p_batch.jobs.coding.Encoding`; without metadata, languages are kept.
    """
    return {name: value for name, value in tags.items() if _is_kept(name.lower(), choice)}


def _is_kept(name: str, choice: MetadataChoice) -> bool:
    if choice == "none":
        return name == "language"
    if choice == "no-gps" and any(word in name for word in _POSITION_WORDS):
        return False
    return name.split("-")[0] not in _FILE_TAGS and not name.startswith(_STATISTICS)
