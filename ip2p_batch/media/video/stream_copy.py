"""What goes from the source to the output untouched: sound, subtitles, chapters, attachments."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from ...errors import SourceError
from .probe import is_cover, picture_stream
from .pyav import MEDIA_ERRORS, fraction, ratio, reading

#: Container and stream tags that describe the source's file, not its content. A time code would
#: have MOV write a track of its own, for which it needs more than copied packets tell it.
_FILE_TAGS = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "duration", "rotate",
    "vendor_id", "alpha_mode", "bps", "number_of_frames", "number_of_bytes", "software", "timecode",
}  # fmt: skip
_STATISTICS = "_statistics_"
#: Matroska stores how much of these to skip, and counts their times from there.
_DELAYED = {"opus", "libopus"}


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the source that was edited, in seconds of its own clock; None: to its end."""

    start: Fraction
    stop: Fraction | None


def streams(container: Any) -> list[Any]:
    """All streams of a source but the edited picture, and what MP4 keeps its chapters in."""
    edited = picture_stream(container, Path(container.name)).index
    chapters = bool(container.chapters())  # copied on their own; their track is made anew
    return [
        s
        for s in container.streams
        if s.index != edited and not (chapters and s.type == "data" and s.name == "bin_data")
    ]


def describe(stream: Any) -> str:
    """``eng subtitle stream (mov_text)``, for messages."""
    kind = stream.type
    if kind == "video":
        kind = "cover picture" if is_cover(stream) else "second video"
    context = getattr(stream, "codec_context", None)
    codec = f" ({context.name})" if context is not None else ""
    language = stream.metadata.get("language", "und")
    return f"{'' if language == 'und' else language + ' '}{kind} stream{codec}"


def fits(stream: Any, source: Path, sample: Path, format_name: str) -> bool:
    """Whether a container takes a stream beside the picture: its header and its first packet.

    Args:
        stream: of the source.
        source: the source; opened again, so that the caller's position stays.
        sample: a segment that stands for the picture.
        format_name: FFmpeg's name of the container.
    """
    if stream.type not in ("audio", "subtitle", "video", "attachment"):
        return False
    if stream.type == "video" and not is_cover(stream):
        return False  # a second angle; its pictures would stand unedited in the output
    try:
        with reading(sample) as picture, reading(source) as container:
            twin = container.streams[stream.index]
            with av.open(io.BytesIO(), "w", format=format_name) as target:
                video = add_stream(target, picture.streams.video[0])
                copy = _add(target, twin)
                if copy is None:
                    return False
                for packet in picture.demux(picture.streams.video[0]):
                    if packet.size:
                        packet.stream = video
                        target.mux(packet)
                if twin.type != "attachment" and (packet := _first_packet(container, twin)):
                    packet.stream = copy
                    target.mux(packet)
    except (SourceError, *MEDIA_ERRORS, NotImplementedError):
        return False
    return True


def is_empty(stream: Any, source: Path) -> bool:
    """Whether a stream of ``source`` has no packets at all."""
    with reading(source) as container:
        return _first_packet(container, container.streams[stream.index]) is None


def add_stream(target: Any, template: Any, *, encoder: str = "") -> Any:
    """A stream of the same kind in ``target``.

    AV1 needs ``opaque``: its decoder and its encoder have different names in FFmpeg, and PyAV
    would look for an encoder by the decoder's.
    """
    opaque = encoder == "av1" or template.codec_context.name in ("libdav1d", "av1")
    return target.add_stream_from_template(template, opaque=True if opaque else None)


def add_all(source: Any, target: Any, path: Path, sample: Path, format_name: str) -> dict[int, Any]:
    """Add every stream that fits; the result maps the source's stream numbers to them."""
    carried = {}
    for stream in streams(source):
        if not fits(stream, path, sample, format_name):
            continue
        copy = _add(target, stream)
        if copy is None:
            continue
        copy.metadata.update(_content_tags(stream.metadata))
        if stream.type != "attachment":
            copy.disposition = stream.disposition
            carried[stream.index] = copy
    return carried


def copy_picture_facts(source: Any, video: Any) -> None:
    """Title, language and flags of the picture stream."""
    picture = picture_stream(source, Path(source.name))
    video.metadata.update(_content_tags(picture.metadata))
    video.disposition = picture.disposition


def copy_headers(source: Any, target: Any, offset: Fraction, window: Window | None) -> None:
    """Container tags and chapters; chapters outside the edited part are left out."""
    target.metadata.update(_content_tags(source.metadata))
    chapters = []
    for chapter in source.chapters():
        base = fraction(ratio(chapter["time_base"], (1, 1000)))
        start, end = chapter["start"] * base, chapter["end"] * base
        if window is not None:
            start = max(start, window.start)
            end = end if window.stop is None else min(end, window.stop)
        if end <= start and window is not None:
            continue
        moved = {
            **chapter,
            "start": round((start - offset) / base),
            "end": round((end - offset) / base),
        }
        chapters.append(moved)
    if chapters:
        target.set_chapters(chapters)


def packets(
    source: Any, carried: dict[int, Any], offset: Fraction, window: Window | None, *, preroll: bool
) -> Iterator[tuple[Any, Any]]:
    """``(packet, stream of the output)`` of all carried streams, in the source's order.

    Args:
        offset: seconds subtracted from every time.
        window: where given, only packets that sound or show in it.
        preroll: keep sound from before the first frame: decoders need a packet of it to start
            clean, and MP4 hides it by an edit list. Matroska would move the picture instead.
    """
    if not carried:
        return
    wanted = [s for s in source.streams if s.index in carried]
    held: dict[int, Any] = {}  # the last packet before the window, by stream
    try:
        for packet in source.demux(wanted):
            if not packet.size:
                continue
            stream = packet.stream
            copy = carried[stream.index]
            for chosen in _in_window(packet, stream, window, held, preroll=preroll):
                _move(chosen, offset, stream)
                if preroll or _begins(chosen) >= 0 or stream.codec_context.name in _DELAYED:
                    yield chosen, copy
    except MEDIA_ERRORS:
        return  # the source is cut short: planning has said so


def merged(
    pictures: Iterator[Any], video: Any, others: Iterator[tuple[Any, Any]]
) -> Iterator[tuple[Any, Any]]:
    """Both in one order of time, so that the muxer holds back no more than a moment."""
    picture, other = next(pictures, None), next(others, None)
    while picture is not None or other is not None:
        if other is None or (picture is not None and _when(picture) <= _when(other[0])):
            yield picture, video
            picture = next(pictures, None)
        else:
            yield other
            other = next(others, None)


# -- parts --------------------------------------------------------------------------------


def _begins(packet: Any) -> int:
    """When a packet begins to sound or show, in its own clock; only the sign is of use."""
    return int(packet.pts if packet.pts is not None else packet.dts or 0)


def _when(packet: Any) -> Fraction:
    at = packet.dts if packet.dts is not None else packet.pts
    return (at or 0) * fraction(ratio(packet.time_base, (1, 1000)))


def _add(target: Any, stream: Any) -> Any:
    if stream.type == "attachment":
        name = stream.name or stream.metadata.get("filename", "attachment")
        return target.add_attachment(
            name, stream.mimetype or "application/octet-stream", bytes(stream.data)
        )
    return target.add_stream_from_template(stream)


def _first_packet(container: Any, stream: Any) -> Any:
    return next((packet for packet in container.demux(stream) if packet.size), None)


def _content_tags(tags: dict[str, str]) -> dict[str, str]:
    return {
        k: v
        for k, v in tags.items()
        if k.lower().split("-")[0] not in _FILE_TAGS and not k.lower().startswith(_STATISTICS)
    }


def _in_window(
    packet: Any, stream: Any, window: Window | None, held: dict[int, Any], *, preroll: bool
) -> Iterator[Any]:
    if window is None or (stream.type == "video" and is_cover(stream)):
        yield packet
        return
    base = fraction(ratio(packet.time_base, (1, 1000)))
    at = packet.pts if packet.pts is not None else packet.dts
    if at is None:
        return
    begin = at * base
    end = begin + max(int(packet.duration or 0), 1) * base
    if window.stop is not None and begin >= window.stop:
        return
    if stream.type == "subtitle":
        if end > window.start:
            if begin < window.start:  # on screen when the part begins
                packet.pts = packet.dts = round(window.start / base)
                packet.duration = max(1, round((end - window.start) / base))
            yield packet
        return
    if end <= window.start or (begin < window.start and not preroll):
        held[stream.index] = packet
        return
    before = held.pop(stream.index, None)
    if before is not None and preroll:
        yield before
    yield packet


def _move(packet: Any, offset: Fraction, stream: Any) -> None:
    """Subtract ``offset`` seconds, rounded to the packet's own clock."""
    ticks = round(offset / fraction(ratio(packet.time_base, ratio(stream.time_base, (1, 1000)))))
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks
