"""Copy streams, tags and chapters of the source to the output without encoding them again."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error

from ...errors import SourceError
from .packets import TimeRange
from .pyav import MEDIA_ERRORS, fraction, open_input, ratio
from .streams import is_cover
from .types import InputContainer, OutputContainer, Packet, Stream

#: Container and stream tags that describe the source's file instead of its content. MOV turns a
#: ``timecode`` tag into a track, for which copied packets lack the data.
_FILE_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "rotate",
    "vendor_id", "alpha_mode", "bps", "number_of_frames", "number_of_bytes", "software", "timecode",
}  # fmt: skip
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
    ]


def describe(stream: Stream) -> str:
    """Name a stream in a message: ``eng subtitle stream (mov_text)``."""
    kind = stream.type
    if kind == "video":
        kind = "cover image" if is_cover(stream) else "second video"
    context = getattr(stream, "codec_context", None)
    codec = f" ({context.name})" if context is not None else ""
    language = stream.metadata.get("language", "und")
    return f"{'' if language == 'und' else language + ' '}{kind} stream{codec}"


def container_accepts(stream: Stream, source: Path, sample: Path, format_name: str) -> bool:
    """Whether a container can hold a stream in addition to the edited video.

    Writes the header, the video and the stream's first packet to memory: some muxers refuse a
    stream only at its first packet.

    Args:
        stream: of the source.
        source: the source; opened again, so that the caller's position does not change.
        sample: a segment with video as the output will have it.
        format_name: FFmpeg's name of the container.
    """
    if stream.type not in ("audio", "subtitle", "video", "attachment"):
        return False
    if stream.type == "video" and not is_cover(stream):
        return False  # a second camera angle would be in the output unedited
    try:
        with open_input(sample) as segment, open_input(source) as container:
            original = container.streams[stream.index]
            with av.open(io.BytesIO(), "w", format=format_name) as memory:
                target = cast(OutputContainer, memory)
                video = add_stream(target, template := segment.streams.video[0])
                if format_name in ("avi", "mxf"):
                    set_rate(video, fraction(ratio(template.average_rate, (25, 1))), True)
                copy = _add(target, original)
                for packet in segment.demux(segment.streams.video[0]):
                    if packet.size:
                        packet.stream = video
                        target.mux(packet)
                if original.type != "attachment" and (first := _first_packet(container, original)):
                    first.stream = copy
                    target.mux(first)
    except (SourceError, *MEDIA_ERRORS, NotImplementedError):
        return False
    return True


def is_empty(stream: Stream, source: Path) -> bool:
    """Whether a stream of ``source`` has no packets."""
    with open_input(source) as container:
        return _first_packet(container, container.streams[stream.index]) is None


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


def add_copies(
    source: InputContainer,
    target: OutputContainer,
    edited: int,
    *,
    path: Path,
    sample: Path,
    format_name: str,
) -> dict[int, Stream]:
    """Add every stream that the container accepts, with its tags and flags.

    Args:
        edited: index of the edited stream of the source.
        path, sample, format_name: see :func:`container_accepts`.

    Returns:
        streams of ``target`` by the source's stream index; without attachments, which have no
        packets.
    """
    copies = {}
    for stream in copyable_streams(source, edited):
        if not container_accepts(stream, path, sample, format_name):
            continue
        copy = _add(target, stream)
        copy.metadata.update(_content_tags(stream.metadata))
        if stream.type != "attachment":
            copy.disposition = stream.disposition
            copies[stream.index] = copy
    return copies


def copy_video_tags(original: Stream, video: Stream) -> None:
    """Copy title, language and flags of the edited stream."""
    video.metadata.update(_content_tags(original.metadata))
    video.disposition = original.disposition


def copy_headers(
    source: InputContainer, target: OutputContainer, offset: Fraction, kept: TimeRange | None
) -> None:
    """Copy the container's tags, and its chapters within the edited part.

    Args:
        offset: seconds to subtract from every time.
        kept: the edited part; None: all.
    """
    target.metadata.update(_content_tags(source.metadata))
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


def _add(target: OutputContainer, stream: Stream) -> Stream:
    if stream.type == "attachment":
        name = stream.name or stream.metadata.get("filename", "attachment")
        return target.add_attachment(
            name, stream.mimetype or "application/octet-stream", bytes(stream.data)
        )
    return target.add_stream_from_template(stream)


def _first_packet(container: InputContainer, stream: Stream) -> Packet | None:
    return next((packet for packet in container.demux(stream) if packet.size), None)


def _content_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in tags.items()
        if name.lower().split("-")[0] not in _FILE_TAGS and not name.lower().startswith(_STATISTICS)
    }
