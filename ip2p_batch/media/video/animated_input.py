"""Animated images (GIF, APNG, WebP) as containers with one video stream.

FFmpeg 8 decodes no animated WebP, and does not clear the canvas of all GIF files as browsers do, so
the frames are composed here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, cast

import av
from av.stream import Disposition

from .. import limits
from ..animation.compose import Canvas, Composer
from ..animation.files import read_animation
from ..animation.parts import Animation, ticks_of
from .pyav import open_input as open_with_ffmpeg
from .pyav import source_error
from .types import InputContainer, Packet, Stream, VideoFrame


@dataclass(slots=True)
class _Context:
    """The part of a codec context that readers of animations use."""

    name: str
    width: int
    height: int
    pix_fmt: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Stream:
    """The stream of the frames."""

    codec_context: _Context
    time_base: Fraction
    duration: int
    frames: int
    average_rate: Fraction
    index: int = 0
    type: str = "video"
    name: str | None = None
    start_time: int | None = 0
    sample_aspect_ratio: Fraction = Fraction(1)
    thread_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    disposition: Any = field(default_factory=lambda: Disposition(0))

    @property
    def width(self) -> int:
        return self.codec_context.width

    @property
    def height(self) -> int:
        return self.codec_context.height

    @property
    def pix_fmt(self) -> str:
        return self.codec_context.pix_fmt

    @property
    def guessed_rate(self) -> Fraction:
        return self.average_rate

    def decode(self, packet: None) -> list[VideoFrame]:
        """No frame is kept back."""
        return []


@dataclass(slots=True, eq=False)
class _Packet:
    """One frame, not yet composed; the last packet has none."""

    container: AnimatedInput
    number: int
    pts: int | None
    duration: int
    size: int
    is_discard: bool = False
    is_keyframe: bool = True

    @property
    def dts(self) -> int | None:
        return self.pts

    @property
    def stream(self) -> _Stream:
        return self.container.stream

    @property
    def time_base(self) -> Fraction:
        return self.stream.time_base

    def decode(self) -> list[VideoFrame]:
        """Compose the frame, with the packet's time.

        Raises:
            ValueError: its pixels are damaged.
        """
        if not self.size:
            return []
        frame = video_frame(self.container.composer.frame(self.number))
        frame.pts, frame.time_base = self.pts, self.time_base
        return [frame]


class _Streams(list[Stream]):
    """The streams of an animation: one."""

    audio: Sequence[Stream] = ()
    subtitles: Sequence[Stream] = ()

    @property
    def video(self) -> Sequence[Stream]:
        return self


@dataclass(frozen=True, slots=True)
class _Format:
    name: str


class AnimatedInput:
    """An animated image, open for reading; see :class:`~.types.InputContainer`.

    Args:
        path: of the file.
        file: its content.
        animation: its frames, at least one.

    Attributes:
        animation: as given.
        composer: of the frames.
        stream: of the frames.
    """

    def __init__(self, path: Path, file: IO[bytes], animation: Animation) -> None:
        self.name = str(path)
        self.format = _Format(animation.format)
        self.metadata: dict[str, str] = {}
        self.start_time: int | None = None
        self.duration: int | None = None
        self.animation = animation
        self.composer = Composer(file, animation)
        ticks, durations = ticks_of(part.shown_seconds for part in animation.parts)
        self._durations = durations
        self._times = [0, *accumulate(durations)]
        context = _Context(
            animation.format,
            animation.width,
            animation.height,
            "rgba64le" if animation.depth > 8 else "rgba",
        )
        total, frames = self._times[-1], len(durations)
        self.stream = _Stream(
            context, Fraction(1, ticks), total, frames, Fraction(frames * ticks, total)
        )
        self.streams = _Streams([cast(Stream, self.stream)])
        self._next = 0

    def chapters(self) -> Sequence[Mapping[str, Any]]:
        return []

    def decode(self, *, video: int) -> Iterator[VideoFrame]:
        for packet in self.demux():
            yield from packet.decode()

    def demux(self, *streams: Stream | Sequence[Stream]) -> Iterator[Packet]:
        """The packets from the place of the last seek on, then an empty one."""
        parts = self.animation.parts
        while self._next < len(parts):
            number = self._next
            self._next += 1
            size = sum(length for _, length in parts[number].ranges)
            packet = _Packet(self, number, self._times[number], self._durations[number], size)
            yield cast(Packet, packet)
        yield cast(Packet, _Packet(self, len(parts), None, 0, 0))

    def seek(self, offset: int, *, stream: Stream, backward: bool) -> None:
        """Continue with the last frame at or before ``offset`` ticks."""
        last = len(self.animation.parts) - 1
        self._next = min(max(0, bisect_right(self._times, offset) - 1), last)


def video_frame(canvas: Canvas) -> VideoFrame:
    """A frame of FFmpeg with these pixels."""
    name = "rgba" if canvas.itemsize == 1 else "rgba64le"
    return cast(VideoFrame, av.VideoFrame.from_ndarray(canvas, format=name))


def plays_of(container: object) -> int | None:
    """How often an animated image is played, 0 is forever; None for other videos."""
    return container.animation.plays if isinstance(container, AnimatedInput) else None


def animation_notes(container: object) -> list[str]:
    """Notes for the user on an animated image."""
    if not isinstance(container, AnimatedInput):
        return []
    animation, notes = container.animation, []
    if animation.is_truncated:
        notes.append(f"The file is truncated or damaged after frame {len(animation.parts)}.")
    if any(part.shown_seconds != part.seconds for part in animation.parts):
        notes.append("Frames of 10 ms or less last 100 ms, as browsers show them.")
    if animation.left_out:
        notes.append(f"The animation's metadata is left out: {', '.join(animation.left_out)}.")
    return notes


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a video, or an animated image of several frames, for reading.

    Raises:
        SourceError: as :func:`.pyav.open_input`.
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError):
        with open_with_ffmpeg(path) as container:  # says why
            yield container
        return
    with file:
        animation = read_animation(file, limits.FRAMES.value() + 1)
        if animation is None or len(animation.parts) < 2:
            with open_with_ffmpeg(path) as container:
                yield container
            return
        try:
            yield cast(InputContainer, AnimatedInput(path, file, animation))
        except OSError as error:
            raise source_error(path, error) from error
