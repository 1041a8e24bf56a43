"""Joining segments into the finished video by copying packets, with the source's other streams.

Nothing is encoded again. The n-th shown packet of the picture gets the n-th planned time, and
decoding times are made anew over the whole file. Recipe and measurements follow PyAV issue 1917
and pull request 2290 for what its own remuxing example loses (packets without a decoding time).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import EditError, OutputError, RecipeError, SourceError
from ...frame import Frame, FrameTable
from ...jobs.spec import Encoding, VideoFacts
from . import stream_copy
from .pyav import MEDIA_ERRORS, fraction, ratio, reading, reason, writing
from .segment import CODECS, SegmentWriter, segment_suffix
from .stream_copy import Window
from .timestamps import Times, decoding_times

#: Output suffix -> FFmpeg's name of the container, and whether it keeps a source's time base.
CONTAINERS = {
    ".mp4": ("mp4", True),
    ".m4v": ("mp4", True),
    ".mov": ("mov", True),
    ".mkv": ("matroska", False),
    ".webm": ("webm", False),
}
#: A first frame this many seconds late is part of the film; later, the clock merely ran already.
_LATE = 10


def output_suffix(source_suffix: str, encoding: Encoding) -> str:
    """The suffix for an output nobody named: the source's, where it can hold the codec."""
    outputs = CODECS[encoding.codec].outputs
    if source_suffix.lower() in outputs:
        return source_suffix
    if source_suffix.lower() == ".gif" and ".mp4" in outputs:
        return ".mp4"
    return ".mkv"  # holds every codec and nearly every sound and subtitle


def check_output(source: Path, output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Find out before any frame is edited whether the output can be made as asked.

    Encodes one black frame and writes the output's header with it and with each other stream of
    the source, because some refusals come with the first packet only.

    Returns:
        one line for each subtitle, data or cover stream that cannot come along.

    Raises:
        OutputError: the container cannot hold the codec or the sound, or is not known.
        RecipeError: ``crf`` is out of the codec's range.
    """
    codec, suffix = CODECS[encoding.codec], output.suffix.lower()
    if suffix not in CONTAINERS:
        named = f"{suffix!r} is not one" if suffix else "the name has none"
        raise OutputError(
            f"{output.name}: a video needs a suffix that says its container, and {named}.",
            path=output,
            hint=f"Use one of: {', '.join(CONTAINERS)}.",
        )
    if suffix not in codec.outputs:
        raise OutputError(
            f"{output.name}: {suffix} files do not hold {encoding.codec} here.",
            path=output,
            hint=f"Name the output {' or '.join(codec.outputs)}, or choose another --codec.",
        )
    if encoding.crf is not None:
        low, high = codec.crf_range
        if codec.crf is None:
            raise RecipeError(f"{encoding.codec} is lossless and takes no --crf.", hint="Drop it.")
        if not low <= encoding.crf <= high:
            raise RecipeError(
                f"--crf {encoding.crf} is out of range for {encoding.codec}.",
                hint=f"Use {low} to {high}; lower is better, {codec.crf} is the default.",
            )
    warnings = []
    with tempfile.TemporaryDirectory(prefix="ip2p-") as folder:
        sample = _sample_segment(Path(folder), facts, encoding)
        with reading(source) as container:
            for stream in stream_copy.streams(container):
                if stream_copy.fits(stream, source, sample, CONTAINERS[suffix][0]):
                    continue
                if stream_copy.is_empty(stream, source):
                    continue  # announced in the header, and never there
                name = stream_copy.describe(stream)
                if stream.type == "audio":
                    raise OutputError(
                        f"{output.name}: {suffix} files cannot hold the source's {name}.",
                        path=output,
                        hint="Convert the sound first: ffmpeg -i FILE -c copy -c:a flac NEW.mkv"
                        if suffix == ".mkv"
                        else f"Name the output {output.stem}.mkv, which can.",
                    )
                warnings.append(
                    f"The source's {name} cannot go into a {suffix} file and is left out."
                )
    return warnings


def planned_times(facts: VideoFacts, table: FrameTable, start: int, stop: int) -> Times:
    """Times of the output's frames in the source's time base.

    They are the source's own, so that sound and subtitles need no change either. A part of a
    video begins at zero, and so does one whose clock did not begin near zero (a recorded stream).
    """
    return np.asarray(table[start:stop], dtype=np.int64) - _shift(facts, table, start)


def join(
    segments: Sequence[Path],
    source: Path,
    output: Path,
    facts: VideoFacts,
    encoding: Encoding,
    table: FrameTable,
    *,
    start: int,
    stop: int,
    suffix: str,
) -> None:
    """Make the output of finished segments and of the source's other streams.

    Args:
        segments: files of the chunks, in order of their frames.
        source: the video that was edited.
        output: file to write; its name does not matter.
        table: presentation times of all frames of the source.
        start, stop: the frames that were edited, half-open.
        suffix: of the output's final name; decides the container.

    Raises:
        EditError: segments do not belong together, or do not hold the planned frames.
        OutputError: the output cannot be written.
    """
    times = planned_times(facts, table, start, stop)
    order = _decoding_order(segments)
    if len(order) != len(times):
        raise EditError(
            f"The segments hold {len(order)} frames, and {len(times)} were planned.",
            hint="Run the command again with --overwrite.",
        )
    shown = times[order]  # presentation time of each packet, in order of decoding
    decoding = decoding_times(shown)
    base = fraction(facts.time_base)
    format_name, keeps_base = CONTAINERS[suffix.lower()]
    options = {}
    if keeps_base:
        options = {"video_track_timescale": str(base.denominator), "movflags": "+faststart"}
    window = None
    if start > 0 or stop < len(table):
        end = int(table[stop]) if stop < len(table) else None
        window = Window(int(table[start]) * base, None if end is None else end * base)
    offset = _shift(facts, table, start) * base
    with (
        reading(segments[0]) as first,
        reading(source) as container,
        writing(output, format=format_name, options=options) as target,
    ):
        video = stream_copy.add_stream(target, first.streams.video[0], encoder=encoding.codec)
        tag = CODECS[encoding.codec].tag
        if tag and keeps_base:
            video.codec_context.codec_tag = tag
        video.time_base = base
        extradata = first.streams.video[0].codec_context.extradata
        stream_copy.copy_picture_facts(container, video)
        carried = stream_copy.add_all(container, target, source, segments[0], format_name)
        stream_copy.copy_headers(container, target, offset, window)
        pictures = _pictures(segments, extradata, shown, decoding, times, facts)
        others = stream_copy.packets(container, carried, offset, window, preroll=keeps_base)
        for packet, stream in stream_copy.merged(pictures, video, others):
            packet.stream = stream
            target.mux(packet)


def verify(output: Path, facts: VideoFacts, table: FrameTable, *, start: int, stop: int) -> None:
    """Check that a joined file lists exactly the planned frames at the planned times.

    Raises:
        EditError: it does not.
    """
    planned = planned_times(facts, table, start, stop)
    with reading(output) as container:
        stream = container.streams.video[0]
        own = fraction(ratio(stream.time_base))
        found = [p.pts for p in container.demux(stream) if p.size and p.pts is not None]
    base = fraction(facts.time_base)
    times = np.sort(np.asarray(found, dtype=np.int64))
    if len(times) == len(planned):
        # Matroska counts milliseconds: each time may be off by one tick of the coarser clock.
        tolerance = 0 if own == base else max(own, base)
        wrong = [
            n
            for n, (a, b) in enumerate(zip(times.tolist(), planned.tolist(), strict=True))
            if abs(a * own - b * base) > tolerance
        ]
        if not wrong:
            return
        what = f"frame {wrong[0]} is at {float(times[wrong[0]] * own):.4f} s"
        what += f" instead of {float(planned[wrong[0]] * base):.4f} s"
    else:
        what = f"it lists {len(times)} frames instead of {len(planned)}"
    raise EditError(
        f"The joined video is not as planned: {what}.",
        hint="Please report this; the segments stand in the job folder.",
        survives="All segments are kept.",
    )


# -- parts --------------------------------------------------------------------------------


def _shift(facts: VideoFacts, table: FrameTable, start: int) -> int:
    """Ticks subtracted from every time of the source."""
    first = int(table[start])
    late = first * fraction(facts.time_base)
    streamed = facts.container.startswith("mpeg")  # transport and program streams, any clock
    return first if start > 0 or streamed or not 0 <= late <= _LATE else 0


def _sample_segment(folder: Path, facts: VideoFacts, encoding: Encoding) -> Path:
    path = folder / f"sample{segment_suffix(encoding)}"
    width, height = facts.upright
    with SegmentWriter(path, facts, encoding) as writer:
        writer.write(Frame(0, 0, np.zeros((height, width, 3), np.uint8)))
    return path


def _decoding_order(segments: Sequence[Path]) -> npt.NDArray[np.int64]:
    """For each packet, in order of decoding over all segments, the number of the frame it shows."""
    parts: list[npt.NDArray[np.int64]] = []
    base = 0
    for path in segments:
        times = np.asarray([p.pts for p in _segment_packets(path)], dtype=np.int64)
        ranks = np.empty(len(times), dtype=np.int64)
        ranks[np.argsort(times, kind="stable")] = np.arange(len(times))
        parts.append(base + ranks)
        base += len(times)
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _segment_packets(path: Path, extradata: bytes | None = None) -> Iterator[Any]:
    """Picture packets of one segment.

    Raises:
        EditError: it cannot be read, or its header differs from that of the first one.
    """
    try:
        with reading(path) as container:
            stream = container.streams.video[0]
            own = stream.codec_context.extradata
            if extradata is not None and own != extradata:
                raise EditError(
                    f"{path.name} was encoded with other settings than the first segment.",
                    hint="Workers must all run one version: update them, then run the command "
                    "again with --overwrite.",
                    survives="All segments are kept.",
                )
            # Packets without a decoding time are real in Matroska; only empty ones are not.
            yield from (p for p in container.demux(stream) if p.size)
    except (SourceError, *MEDIA_ERRORS) as error:
        why = error.message if isinstance(error, SourceError) else reason(error)
        raise EditError(
            f"Segment {path.name} cannot be read: {why}", hint="`ip2p-batch resume` makes it again."
        ) from error


def _pictures(
    segments: Sequence[Path],
    extradata: bytes | None,
    shown: Times,
    decoding: Times,
    times: Times,
    facts: VideoFacts,
) -> Iterator[Any]:
    """Picture packets of all segments with their final times."""
    base = fraction(facts.time_base)
    steps = np.diff(times, append=times[-1:] + round(1 / fraction(facts.frame_rate) / base))
    length = dict(zip(times.tolist(), steps.tolist(), strict=True))
    number = 0
    for path in segments:
        for packet in _segment_packets(path, extradata):
            packet.time_base = base
            packet.pts = int(shown[number])
            packet.dts = int(decoding[number])
            packet.duration = max(int(length[packet.pts]), 1)
            number += 1
            yield packet
