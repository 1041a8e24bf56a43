"""Decide for each stream of a source whether the output copies it, converts it or leaves it out."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import av

from ...errors import OutputError
from .animated_input import open_input
from .languages import storable_language
from .packets import Converter
from .sound import SOUND_CODECS, SoundConverter, add_sound
from .stream_copy import add_copy, copyable_streams
from .streams import is_cover
from .subtitles import TEXT_DECODERS, TEXT_LABELS, SubtitleConverter, add_subtitles
from .trial import REFUSALS, Target, trial
from .types import InputContainer, Packet, Stream

#: Packets that are converted on trial.
_TRIED = 4
#: Decoders of covers that Matroska players know as attachments.
_COVERS = {"mjpeg", "png"}


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What happens to one stream.

    Attributes:
        stream: of the source.
        action: copy it, convert its sound or its text, attach it as a cover, or leave it out.
        codec: name of :data:`~.sound.SOUND_CODECS` for sound that is converted, and FFmpeg's
            encoder for text.
        warning: a line for the user; empty if the stream is kept as it is, or left out on request.
    """

    stream: Stream
    action: Literal["copy", "sound", "text", "cover", "omit"]
    codec: str = ""
    warning: str = ""


def plan_streams(source: InputContainer, edited: int, target: Target) -> list[StreamPlan]:
    """Decide on every stream of a source but the edited one.

    Args:
        edited: index of the edited stream.

    Raises:
        OutputError: the container cannot hold the sound as ``target.encoding`` requests it.
    """
    plans = [_plan(source, stream, target) for stream in copyable_streams(source, edited)]
    return [_with_forced_note(_with_language_note(plan, target), target) for plan in plans]


def _with_forced_note(plan: StreamPlan, target: Target) -> StreamPlan:
    """Add a warning if subtitles are no longer marked as forced: MOV has no such mark."""
    is_forced = plan.stream.type == "subtitle" and bool(
        plan.stream.disposition & type(plan.stream.disposition).forced
    )
    if plan.action == "omit" or not is_forced or target.container.name != "mov":
        return plan
    note = f"{target.suffix} files cannot mark the {describe(plan.stream)} as forced."
    return replace(plan, warning=f"{plan.warning} {note}".lstrip())


def _with_language_note(plan: StreamPlan, target: Target) -> StreamPlan:
    """Add a warning if the container cannot store the language of a stream that is kept."""
    language = plan.stream.metadata.get("language", "und")
    stored = storable_language(language, target.container.name)
    is_whole = stored == language if "-" in language else stored is not None
    if plan.action == "omit" or is_whole:
        return plan
    note = f"{target.suffix} files cannot name the language {language} of the source's "
    note += f"{describe(plan.stream)}" + (f"; it becomes {stored}." if stored else ".")
    return replace(plan, warning=f"{plan.warning} {note}".lstrip())


def _plan(source: InputContainer, stream: Stream, target: Target) -> StreamPlan:
    if stream.type == "audio":
        return _plan_sound(source, stream, target)
    name = describe(stream)
    if stream.type == "video" and not is_cover(stream):
        choice = f"--stream {stream.index} edits it"
        warning = f"Only one video stream is edited. The {name} is left out; {choice}."
        return StreamPlan(stream, "omit", warning=warning)
    if stream.type == "video" and target.container.name == "matroska":
        return StreamPlan(stream, "cover" if stream.codec_context.name in _COVERS else "copy")
    if _accepts(source, stream, target):
        return StreamPlan(stream, "copy")
    if _is_empty(source, stream):
        return StreamPlan(stream, "omit")
    encoder = target.container.text
    is_text = stream.type == "subtitle" and _is_text(stream)
    if is_text and encoder and _converts(source, stream, encoder, target):
        reason = f"since {target.suffix} files cannot hold it"
        warning = f"The source's {name} is converted to {TEXT_LABELS[encoder]}, {reason}."
        return StreamPlan(stream, "text", encoder, warning)
    warning = f"{target.suffix} files cannot hold the source's {name}; it is left out."
    return StreamPlan(stream, "omit", warning=warning)


def cover_image(source: InputContainer, stream: Stream) -> bytes:
    """The file of a cover."""
    with open_input(Path(source.name)) as container:
        packet = _first_packet(container, container.streams[stream.index])
        return b"" if packet is None else bytes(packet)


def _is_text(stream: Stream) -> bool:
    context = getattr(stream, "codec_context", None)
    return context is not None and context.name in TEXT_DECODERS


def describe(stream: Stream) -> str:
    """Name a stream in a message: ``eng subtitle stream (mov_text)``."""
    if stream.type == "attachment":
        return f"attachment {stream.name or stream.metadata.get('filename', '')}".rstrip()
    kind = stream.type
    if kind == "video":
        kind = "cover image" if is_cover(stream) else "other video"
    context = getattr(stream, "codec_context", None)
    name = context.name if context is not None else stream.metadata.get("handler_name", "")
    codec = f" ({name})" if name else ""
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
        if context is not None and _converts(source, stream, codec, target):
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
        return False  # muxers accept some data streams, but write them as another kind
    context = getattr(stream, "codec_context", None)
    if target.container.copies and (context is None or context.name not in target.container.copies):
        return False
    try:
        # Opened again, so that the caller's position does not change.
        memory = io.BytesIO()
        with open_input(Path(source.name)) as container, trial(target, memory) as attempt:
            original = container.streams[stream.index]
            copy = add_copy(attempt.file, original)
            if original.type != "attachment":
                copy.disposition = original.disposition
            for packet in attempt.packets:
                attempt.file.mux(packet)
            if original.type != "attachment" and (first := _first_packet(container, original)):
                first.stream = copy
                attempt.file.mux(first)
        if stream.type == "attachment":
            return _has(memory, lambda read: read.type == "attachment")
        return not (stream.type == "video" and is_cover(stream)) or _has(
            memory, lambda read: read.type == "video" and is_cover(read)
        )
    except REFUSALS:
        return False


def _has(memory: io.BytesIO, is_such: Callable[[Stream], bool]) -> bool:
    """Whether a file has such a stream.

    Some muxers leave out attachments and covers without an error, or make covers video tracks.
    """
    memory.seek(0)
    with av.open(memory) as file:
        return any(is_such(stream) for stream in cast(InputContainer, file).streams)


def _converts(source: InputContainer, stream: Stream, codec: str, target: Target) -> bool:
    """Whether sound or text of a stream can be converted to a codec in the container.

    Converts the first packets, since some decoders and encoders refuse a stream only there.
    """
    try:
        with open_input(Path(source.name)) as container, trial(target) as attempt:
            original = container.streams[stream.index]
            converter: Converter
            if stream.type == "audio":
                added = add_sound(attempt.file, original, codec)
                converter = SoundConverter(original, added, Fraction(0), None)
            else:
                added = add_subtitles(attempt.file, original, codec)
                converter = SubtitleConverter(original, added, Fraction(0), None)
            for packet in attempt.packets:
                attempt.file.mux(packet)
            for packet in islice((p for p in container.demux(original) if p.size), _TRIED):
                attempt.file.mux(list(converter.push(packet)))
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
