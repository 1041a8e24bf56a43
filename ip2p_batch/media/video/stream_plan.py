"""Decide for each stream of a source whether the output copies it, converts it or leaves it out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...errors import OutputError
from .pyav import open_input
from .sound import SOUND_CODECS, add_sound
from .stream_copy import add_copy, copyable_streams
from .streams import is_cover
from .trial import REFUSALS, Target, trial
from .types import InputContainer, Packet, Stream


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What happens to one stream.

    Attributes:
        stream: of the source.
        action: copy it, convert its sound, or leave it out.
        codec: name of :data:`~.sound.SOUND_CODECS`, for sound that is converted.
        warning: a line for the user; empty if the stream is kept as it is, or left out on request.
    """

    stream: Stream
    action: Literal["copy", "sound", "omit"]
    codec: str = ""
    warning: str = ""


def plan_streams(source: InputContainer, edited: int, target: Target) -> list[StreamPlan]:
    """Decide on every stream of a source but the edited one.

    Args:
        edited: index of the edited stream.

    Raises:
        OutputError: the container cannot hold the sound as ``target.encoding`` requests it.
    """
    plans = []
    for stream in copyable_streams(source, edited):
        if stream.type == "audio":
            plans.append(_plan_sound(source, stream, target))
        elif _accepts(source, stream, target):
            plans.append(StreamPlan(stream, "copy"))
        elif _is_empty(source, stream):
            plans.append(StreamPlan(stream, "omit"))
        else:
            warning = f"{target.suffix} files cannot hold the source's {describe(stream)}"
            plans.append(StreamPlan(stream, "omit", warning=f"{warning}; it is left out."))
    return plans


def describe(stream: Stream) -> str:
    """Name a stream in a message: ``eng subtitle stream (mov_text)``."""
    kind = stream.type
    if kind == "video":
        kind = "cover image" if is_cover(stream) else "second video"
    context = getattr(stream, "codec_context", None)
    codec = f" ({context.name})" if context is not None else ""
    language = stream.metadata.get("language", "und")
    return f"{'' if language == 'und' else language + ' '}{kind} stream{codec}"


def _plan_sound(source: InputContainer, stream: Stream, target: Target) -> StreamPlan:
    mode = target.encoding.audio
    context: Any = getattr(stream, "codec_context", None)
    name = describe(stream)
    if mode == "none" or _is_empty(source, stream):  # empty: announced in the header only
        return StreamPlan(stream, "omit")
    wants_copy = mode in ("auto", "copy") or (context is not None and context.name == mode)
    if wants_copy and _accepts(source, stream, target):
        return StreamPlan(stream, "copy")
    if mode == "copy":
        raise _cannot_copy(source, stream, target)
    for codec in target.container.sound if mode == "auto" else (mode,):
        if context is not None and _encodes(stream, codec, target):
            label = SOUND_CODECS[codec].label
            reason = f", since {target.suffix} files cannot hold it" if mode == "auto" else ""
            warning = f"The source's {name} is converted to {label}{reason}."
            return StreamPlan(stream, "sound", codec, warning if mode == "auto" else "")
    if mode != "auto" and mode not in target.container.sound:
        raise OutputError(
            f"{target.output.name}: {target.suffix} files cannot hold {SOUND_CODECS[mode].label}.",
            path=target.output,
            hint=f"Use --audio auto, or name the output {target.output.stem}.mkv.",
        )
    raise OutputError(
        f"{target.output.name}: the source's {name} can neither be copied to a {target.suffix} "
        "file nor be converted.",
        path=target.output,
        hint="Leave the sound out with --audio none.",
    )


def _cannot_copy(source: InputContainer, stream: Stream, target: Target) -> OutputError:
    matroska = replace(target, suffix=".mkv")
    hint = "Use --audio auto, which converts it"
    if target.suffix != ".mkv" and _accepts(source, stream, matroska):
        hint += f", or name the output {target.output.stem}.mkv, which can hold it"
    return OutputError(
        f"{target.output.name}: {target.suffix} files cannot hold the source's {describe(stream)}.",
        path=target.output,
        hint=f"{hint}.",
    )


def _accepts(source: InputContainer, stream: Stream, target: Target) -> bool:
    """Whether a container can hold a copy of a stream in addition to the edited video.

    Writes the header, the video and the stream's first packet to memory: some muxers refuse a
    stream only at its first packet.
    """
    if stream.type not in ("audio", "subtitle", "video", "attachment"):
        return False
    if stream.type == "video" and not is_cover(stream):
        return False  # a second camera angle would be in the output unedited
    context = getattr(stream, "codec_context", None)
    if target.container.copies and (context is None or context.name not in target.container.copies):
        return False
    try:
        # Opened again, so that the caller's position does not change.
        with open_input(Path(source.name)) as container, trial(target) as attempt:
            original = container.streams[stream.index]
            copy = add_copy(attempt.file, original)
            for packet in attempt.packets:
                attempt.file.mux(packet)
            if original.type != "attachment" and (first := _first_packet(container, original)):
                first.stream = copy
                attempt.file.mux(first)
    except REFUSALS:
        return False
    return True


def _encodes(stream: Stream, codec: str, target: Target) -> bool:
    """Whether the sound of a stream can be converted to a codec in the container."""
    try:
        with trial(target) as attempt:
            add_sound(attempt.file, stream, codec)
            for packet in attempt.packets:
                attempt.file.mux(packet)
    except REFUSALS:
        return False
    return True


def _is_empty(source: InputContainer, stream: Stream) -> bool:
    """Whether a stream has no packets."""
    if stream.type == "attachment":
        return False
    with open_input(Path(source.name)) as container:
        return _first_packet(container, container.streams[stream.index]) is None


def _first_packet(container: InputContainer, stream: Stream) -> Packet | None:
    return next((packet for packet in container.demux(stream) if packet.size), None)
