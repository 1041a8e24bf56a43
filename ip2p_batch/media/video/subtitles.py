"""Convert text subtitles for containers that hold another text format.

FFmpeg's decoders give every format as ASS events, and its encoders write them with bold, italic and
underlined text. Positions, fonts and effects of ASS are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.subtitles.subtitle import SubtitleSet

from .packets import TimeRange
from .pyav import MEDIA_ERRORS, fraction, ratio
from .types import OutputContainer, Packet, Stream

#: Decoders of text subtitles.
TEXT_DECODERS = frozenset({"mov_text", "srt", "subrip", "ass", "ssa", "webvtt", "text"})
#: Names of the encoders' formats in messages.
TEXT_LABELS = {"mov_text": "MP4 text (mov_text)", "subrip": "SubRip", "webvtt": "WebVTT"}
#: Output times are in milliseconds, as all text formats have them.
_TICKS = 1000
#: Milliseconds for which an event without a duration is shown.
_DEFAULT_DURATION = 3000
#: Fields of an ASS event before its text: ReadOrder, Layer, Style, Name, three margins, Effect.
_FIELDS_BEFORE_TEXT = 8


@dataclass(frozen=True, slots=True)
class Cue:
    """Text on screen, in milliseconds of the output: ``[start, stop)``; ``text`` is ASS."""

    start: int
    stop: int
    text: str


def add_subtitles(target: OutputContainer, stream: Stream, encoder: str) -> Stream:
    """Add a stream to ``target`` that encodes the text of ``stream``.

    Args:
        encoder: FFmpeg's name.

    Raises:
        ValueError: the container cannot hold the format.
    """
    source: Any = stream.codec_context
    source.open(strict=False)  # makes the styles, which encoders need
    added = target.add_stream(encoder)
    context: Any = added.codec_context
    context.subtitle_header = source.subtitle_header
    added.time_base = Fraction(1, _TICKS)
    return added


class SubtitleConverter:
    """Decode the packets of a text stream and encode them for the output.

    Args:
        source: stream to decode.
        output: stream of :func:`add_subtitles`.
        offset: seconds to subtract from every time of the source.
        kept: the edited part of the source; None: all. Text on screen at its borders is cut there.
    """

    def __init__(
        self, source: Stream, output: Stream, offset: Fraction, kept: TimeRange | None
    ) -> None:
        self._source: Any = source.codec_context
        self._output = output
        self._encoder: Any = output.codec_context
        self._offset = offset
        self._start = 0 if kept is None else max(round((kept.start - offset) * _TICKS), 0)
        stop = None if kept is None or kept.stop is None else kept.stop - offset
        self._stop = None if stop is None else round(stop * _TICKS)
        # A sample of MP4 text ends where the next one begins.
        self._merger = CueMerger() if self._encoder.name == "mov_text" else None

    def push(self, packet: Packet) -> Iterator[Packet]:
        """Decode one packet of the source; yields packets of the output."""
        cue = self._decode(packet)
        if cue is None:
            return
        for merged in (cue,) if self._merger is None else self._merger.push(cue):
            yield from self._encode(merged)

    def flush(self) -> Iterator[Packet]:
        """Yield the text that is still on screen."""
        for cue in () if self._merger is None else self._merger.flush():
            yield from self._encode(cue)

    def _decode(self, packet: Packet) -> Cue | None:
        try:
            decoded = self._source.decode2(packet)
        except MEDIA_ERRORS:
            return None
        texts = [_text(rect.ass) for rect in decoded or () if getattr(rect, "ass", None)]
        if not texts or packet.pts is None:
            return None
        base = fraction(ratio(packet.time_base, (1, _TICKS)))
        start = round((packet.pts * base - self._offset) * _TICKS)
        shown = round((packet.duration or 0) * base * _TICKS) or _DEFAULT_DURATION
        stop = start + shown if self._stop is None else min(start + shown, self._stop)
        start = max(start, self._start)
        return Cue(start, stop, r"\N".join(texts)) if stop > start else None

    def _encode(self, cue: Cue) -> Iterator[Packet]:
        event = f"0,0,Default,,0,0,0,,{cue.text}".encode()
        shown = cue.stop - cue.start
        packet = self._encoder.encode_subtitle(SubtitleSet.create(event, 0, shown))
        if not bytes(packet).strip(b"\0"):
            return  # only a drawing, or nothing
        packet.stream, packet.time_base = self._output, Fraction(1, _TICKS)
        packet.pts = packet.dts = cue.start
        packet.duration = shown
        yield packet


class CueMerger:
    """Turn cues that overlap into cues that follow each other, with the text of all at a time."""

    def __init__(self) -> None:
        self._shown: list[Cue] = []
        self._time = 0

    def push(self, cue: Cue) -> Iterator[Cue]:
        """Take the next cue, by start; yields what is complete."""
        yield from self._until(cue.start)
        self._time = max(self._time, cue.start)
        self._shown.append(cue)

    def flush(self) -> Iterator[Cue]:
        """Yield the rest."""
        yield from self._until(None)

    def _until(self, time: int | None) -> Iterator[Cue]:
        while self._shown and (time is None or self._time < time):
            stop = min(cue.stop for cue in self._shown)
            stop = stop if time is None else min(stop, time)
            if stop > self._time:
                text = r"\N".join(cue.text for cue in self._shown)
                yield Cue(self._time, stop, text)
                self._time = stop
            self._shown = [cue for cue in self._shown if cue.stop > self._time]


def _text(event: bytes) -> str:
    """The text of an ASS event."""
    fields = event.decode("utf-8", "replace").split(",", _FIELDS_BEFORE_TEXT)
    return fields[-1].strip()
