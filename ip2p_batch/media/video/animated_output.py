"""Write a finished video as an animated image: GIF, APNG or WebP.

Segments are lossless, and are encoded once more, all together: a GIF has one palette for all
frames, and each frame of any format stores only what differs from its predecessor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import msgspec
import numpy as np

from ...errors import EditError, OutputError, RecipeError
from ...frame import FrameTable
from ...jobs.coding import Encoding
from ...jobs.grouping import counted
from ...jobs.video_facts import VideoFacts
from ...storage.atomic import cannot_write
from ..animation.compose import Canvas
from ..animation.files import read_animation
from ..animation.palette import ColorCount
from ..animation.timing import Format, Timing, timing
from ..animation.writers import ApngWriter, GifWriter, WebpWriter
from ..images.formats import MAX_SIDE
from ..images.writer import DEFAULT_QUALITY
from .animated_input import open_input
from .color import SWSCALE
from .output_times import last_duration, planned_times
from .pixel_formats import has_alpha
from .pyav import describe_error, fraction
from .pyav import open_input as open_segment
from .stream_copy import content_tags, copyable_streams
from .stream_plan import describe
from .types import VideoFrame

#: Formats by the suffix of the output.
ANIMATIONS: Mapping[str, Format] = {
    ".gif": "gif", ".png": "apng", ".apng": "apng", ".webp": "webp",
}  # fmt: skip
#: Frames from which a GIF is called large.
_MANY = 500
#: Longest side in pixels.
_MAX_SIDE = {"gif": 65535, "webp": MAX_SIDE["webp"], "apng": 2**31 - 1}
#: FFmpeg's pixel formats by depth and opacity.
_PIXELS = {
    (False, False): "rgb24",
    (False, True): "rgba",
    (True, False): "rgb48le",
    (True, True): "rgba64le",
}
#: Colours of a GIF; one more is transparent.
_COLORS = 255


def animated_format(output: Path) -> Format | None:
    """The format of an animated image by its suffix; None for other videos."""
    return ANIMATIONS.get(output.suffix.lower())


def segment_encoding(output: Path, facts: VideoFacts, encoding: Encoding) -> Encoding:
    """The encoding of segments: lossless, with 16 bits a sample where the result has them."""
    is_deep = facts.result_depth > 8 and animated_format(output) == "apng"
    formats = ("gbrp16le", "gbrap16le") if is_deep else ("bgr0", "bgra")
    return msgspec.structs.replace(
        encoding, codec="ffv1", pixel_format=encoding.pixel_format or formats[facts.has_alpha]
    )


def check_animation(source: Path, output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Check that a video can become an animated image.

    Args:
        encoding: of the segments.

    Returns:
        one line for each stream or fact that is left out.

    Raises:
        OutputError: the format holds no such codec, size or sound.
        RecipeError: an option does not fit.
    """
    name, suffix = animated_format(output), output.suffix.lower()
    assert name is not None
    plain = msgspec.structs.replace(encoding, codec=None, pixel_format=None)
    _check_options(output, suffix, facts, encoding, segment_encoding(output, facts, plain))
    width, height = shown_size(facts)
    if max(width, height) > _MAX_SIDE[name]:
        raise OutputError(
            f"{output.name}: frames of {width}x{height} are too large for {suffix} files.",
            path=output,
            hint=f"Name the output {output.stem}.mkv.",
        )
    notes = [] if facts.is_sequence else _stream_notes(source, output, facts, encoding)
    if (width, height) != facts.upright:
        notes.append(f"{suffix} files have square pixels; frames are scaled to {width}x{height}.")
    if facts.has_alpha and name == "gif" and facts.codec != "gif":
        notes.append(
            "Opacity in a GIF is on or off, above and below 50 %; "
            f"{output.stem}.webp or {output.stem}.png keeps it."
        )
    return notes


def _stream_notes(source: Path, output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on streams, tags and chapters that no animated image holds.

    Raises:
        OutputError: the sound is requested.
    """
    suffix = output.suffix.lower()
    notes = []
    with open_input(source) as container:
        for stream in copyable_streams(container, facts.stream):
            if stream.type == "audio" and encoding.audio == "none":
                continue
            if stream.type == "audio" and encoding.audio != "auto":
                raise OutputError(
                    f"{output.name}: {suffix} files hold no sound.",
                    path=output,
                    hint=f"Use --audio none, or name the output {output.stem}.mkv.",
                )
            notes.append(
                f"{suffix} files cannot hold the source's {describe(stream)}; it is left out."
            )
        if tags := content_tags(container.metadata, encoding.metadata):
            named = ", ".join(sorted(tags))
            notes.append(f"{suffix} files hold no tags; they are left out: {named}.")
        if chapters := len(container.chapters()):
            notes.append(f"{suffix} files hold no chapters; the source's {chapters} are left out.")
    return notes


def _check_options(
    output: Path, suffix: str, facts: VideoFacts, encoding: Encoding, plain: Encoding
) -> None:
    if encoding.codec != "ffv1":
        raise OutputError(
            f"{output.name}: {suffix} files cannot hold {encoding.codec}.",
            path=output,
            hint=f"Omit --codec, or name the output {output.stem}.mkv.",
        )
    if encoding.crf is not None:
        raise RecipeError(f"{suffix} files take no --crf.", hint="Use --quality for .webp.")
    if encoding.pixel_format != plain.pixel_format:
        raise RecipeError(f"{suffix} files take no --pix-fmt.", hint="Omit it.")
    if facts.keeps_hdr:
        raise OutputError(
            f"{output.name}: {suffix} files hold no HDR video.",
            path=output,
            hint=f"Name the output {output.stem}.mkv, or use --hdr tonemap.",
        )


def timing_notes(
    output: Path, facts: VideoFacts, table: FrameTable, start: int, stop: int
) -> list[str]:
    """Notes on what an animated image does to the times of the edited frames.

    Empty for other outputs.
    """
    if animated_format(output) is None:
        return []
    planned = frame_timing(output, facts, table, start, stop)
    suffix, notes = output.suffix.lower(), []
    if dropped := stop - start - len(planned.numbers):
        most = 50 if suffix == ".gif" else 90
        notes.append(
            f"Left out: {counted(dropped, 'frame')}; browsers show at most {most} a second of "
            f"{suffix} files."
        )
    if planned.clamped:
        frames = counted(planned.clamped, "frame")
        notes.append(f"Cut to the longest duration that {suffix} files can say: {frames}.")
    if suffix == ".gif" and len(planned.numbers) > _MANY:
        notes.append(
            f"A GIF of {len(planned.numbers)} frames is large; {output.stem}.webp is smaller."
        )
    return notes


def frame_timing(
    output: Path, facts: VideoFacts, table: FrameTable, start: int, stop: int
) -> Timing:
    """Frames of the result among the edited ones, and their durations."""
    name = animated_format(output)
    assert name is not None
    times = planned_times(facts, table, start, stop).tolist()
    return timing(name, times, last_duration(facts, table, stop), fraction(facts.time_base))


def shown_size(facts: VideoFacts) -> tuple[int, int]:
    """``(width, height)`` with square pixels; the longer side of a pixel decides."""
    (width, height), (across, down) = facts.upright, facts.upright_sar
    if across >= down:
        return max(1, round(width * across / down)), height
    return width, max(1, round(height * down / across))


def write(
    segments: Sequence[Path],
    target: Path,
    output: Path,
    facts: VideoFacts,
    encoding: Encoding,
    table: FrameTable,
    *,
    start: int,
    stop: int,
) -> None:
    """Write an animated image from finished segments, and check it.

    Args:
        segments: files of the chunks, in frame order.
        target: file to write.
        output: its final name; decides the format.
        table: presentation times of all frames of the source.
        start, stop: the edited frames, half-open.

    Raises:
        EditError: segments do not hold the planned frames, or the file does not.
        OutputError: the file cannot be written.
    """
    planned = frame_timing(output, facts, table, start, stop)
    try:
        with target.open("wb") as file:
            writer = _writer(file, segments, output, facts, encoding, planned)
            for canvas in _frames(segments, facts, encoding, planned.numbers, stop - start):
                writer.write(canvas)
            writer.close()
    except OSError as error:
        raise cannot_write(target.parent, describe_error(error)) from error
    except ValueError as error:
        raise OutputError(f"{output.name}: {error}.", path=output) from error
    _verify(target, planned, shown_size(facts))


def _writer(
    file: Any,
    segments: Sequence[Path],
    output: Path,
    facts: VideoFacts,
    encoding: Encoding,
    planned: Timing,
) -> ApngWriter | WebpWriter | GifWriter:
    name, size = animated_format(output), shown_size(facts)
    plays = facts.plays or 0
    if name == "apng":
        return ApngWriter(file, size, planned, plays)
    alpha = facts.has_alpha
    if name == "webp":
        quality = encoding.quality or DEFAULT_QUALITY["webp"]
        return WebpWriter(file, size, planned, plays, quality=quality, has_alpha=alpha)
    count = ColorCount(_COLORS)
    for canvas in _frames(segments, facts, encoding, planned.numbers):
        visible = canvas[canvas[..., 3] >= 128][:, :3] if alpha else canvas.reshape(-1, 3)
        count.feed(cast(Any, visible))
    return GifWriter(file, size, planned, plays, palette=count.palette(), has_alpha=alpha)


def _frames(
    segments: Sequence[Path],
    facts: VideoFacts,
    encoding: Encoding,
    numbers: Sequence[int],
    expected: int | None = None,
) -> Iterator[Canvas]:
    """The frames of these numbers, as RGB, or RGB and opacity.

    Raises:
        EditError: there are not ``expected`` frames in all.
    """
    kept, count = set(numbers), 0
    size = shown_size(facts)
    alpha = has_alpha(encoding.pixel_format or "")
    for segment in segments:
        with open_segment(segment) as container:
            for frame in container.decode(video=0):
                if count in kept:
                    yield _canvas(frame, size, alpha=alpha)
                count += 1
    if expected is not None and count != expected:
        raise EditError(
            f"The segments hold {count} frames, and {expected} were planned.",
            hint="Run the command again with --overwrite.",
        )


def _canvas(frame: VideoFrame, size: tuple[int, int], *, alpha: bool) -> Canvas:
    """The pixels of a frame; those that are not visible are black, and so equal to others."""
    is_deep = max(component.bits for component in frame.format.components) > 8
    name = _PIXELS[is_deep, alpha]
    packed: Any = frame.reformat(format=name, interpolation=SWSCALE).to_ndarray()
    if (frame.width, frame.height) != size:
        packed = cv2.resize(packed, size, interpolation=cv2.INTER_AREA)
    if alpha:
        packed = np.where(packed[..., 3:] == 0, 0, packed).astype(packed.dtype)
    return cast(Canvas, packed)


def _verify(path: Path, planned: Timing, size: tuple[int, int]) -> None:
    """Check that a file holds the planned frames.

    Raises:
        EditError: it does not.
    """
    with path.open("rb") as file:
        found = read_animation(file, len(planned.numbers) + 1)
    durations = () if found is None else tuple(part.seconds for part in found.parts)
    if (
        found is None
        or durations != planned.seconds
        or (found.width, found.height) != size
        or found.is_truncated
    ):
        raise EditError(
            f"The animation is not as planned: it has {len(durations)} frames.",
            hint="Please report this, with the segments from the job folder.",
            survives="All segments are kept.",
        )
