"""Join segments into the finished video by copying packets, with the source's other streams.

Nothing is encoded again. The n-th frame in presentation order gets the n-th planned time, and
decoding times are computed anew for the whole file, because some containers store none. PyAV's own
remuxing example drops packets without a decoding time (https://github.com/PyAV-Org/PyAV/issues/1917,
https://github.com/PyAV-Org/PyAV/pull/2290).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import EditError, SourceError
from ...frame import FrameTable
from ...jobs.spec import Encoding, VideoFacts
from . import stream_copy
from .codecs import codec_of
from .output import CONTAINERS
from .packets import TimeRange, copied_packets, merge_by_time
from .pyav import MEDIA_ERRORS, describe_error, fraction, open_input, open_output, ratio
from .timestamps import Times, decoding_times
from .types import Packet

#: Longest time of a first frame, in seconds, that is kept. A later one is the clock of a recorded
#: stream that was already running.
_MAX_FIRST_TIME = 10


def planned_times(facts: VideoFacts, table: FrameTable, start: int, stop: int) -> Times:
    """Times of the output's frames, in ticks of the source's time base.

    They are the source's own, so that sound and subtitles stay in step. Times are moved to begin at
    zero for a part of a video, and for a source whose first time is not near zero.

    Args:
        table: presentation times of all frames of the source.
        start, stop: the edited frames, half-open.
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
    """Write the output from finished segments and the source's other streams.

    Args:
        segments: files of the chunks, in frame order.
        source: the video that was edited.
        output: file to write; any name.
        table: presentation times of all frames of the source.
        start, stop: the edited frames, half-open.
        suffix: of the output's final name; decides the container.

    Raises:
        EditError: segments were encoded with different settings, or do not hold the planned frames.
        OutputError: the output cannot be written.
    """
    times = planned_times(facts, table, start, stop)
    order = _decoding_order(segments)
    if len(order) != len(times):
        raise EditError(
            f"The segments hold {len(order)} frames, and {len(times)} were planned.",
            hint="Run the command again with --overwrite.",
        )
    presentation = times[order]
    base = fraction(facts.time_base)
    target_format = CONTAINERS[suffix.lower()]
    options = {}
    if target_format.keeps_time_base:
        options = {"video_track_timescale": str(base.denominator), "movflags": "+faststart"}
    kept = None
    if start > 0 or stop < len(table):
        kept = TimeRange(
            int(table[start]) * base, int(table[stop]) * base if stop < len(table) else None
        )
    offset = _shift(facts, table, start) * base
    with (
        open_input(segments[0]) as first,
        open_input(source) as container,
        open_output(output, format=target_format.name, options=options) as target,
    ):
        template = first.streams.video[0]
        video = stream_copy.add_stream(target, template)
        tag = codec_of(encoding).tag
        if tag and target_format.keeps_time_base:
            video.codec_context.codec_tag = tag
        elif codec_of(encoding).segment_format == "mov":  # ProRes has a tag for each profile
            video.codec_context.codec_tag = template.codec_context.codec_tag
        video.time_base = base
        if target_format.counts_frames:
            stream_copy.set_rate(video, fraction(facts.frame_rate))
        stream_copy.copy_video_tags(container.streams[facts.stream], video)
        copies = stream_copy.add_copies(
            container,
            target,
            facts.stream,
            path=source,
            sample=segments[0],
            format_name=target_format.name,
        )
        stream_copy.copy_headers(container, target, offset, kept)
        video_packets = _timed_packets(
            segments, template.codec_context.extradata, presentation, times, facts
        )
        others = copied_packets(
            container, copies, offset, kept, preroll=target_format.keeps_time_base
        )
        for packet, stream in merge_by_time(video_packets, video, others):
            packet.stream = stream
            target.mux(packet)


def verify(output: Path, facts: VideoFacts, table: FrameTable, *, start: int, stop: int) -> None:
    """Check that a joined file lists exactly the planned frames at the planned times.

    Raises:
        EditError: it does not.
    """
    planned = planned_times(facts, table, start, stop)
    with open_input(output) as container:
        stream = container.streams.video[0]
        output_base = fraction(ratio(stream.time_base))
        is_transport_stream = container.format.name == "mpegts"
        listed = [
            packet.dts if packet.pts is None else packet.pts  # AVI has decoding times only
            for packet in container.demux(stream)
            if packet.size and (packet.pts is not None or packet.dts is not None)
        ]
    times = np.sort(np.asarray(listed, dtype=np.int64))
    if is_transport_stream and len(times):
        # MPEG transport streams begin later, so that decoders can fill their buffers.
        first = int(planned[0]) * fraction(facts.time_base) / output_base
        times = times - int(times[0]) + round(first)
    difference = _difference(times, output_base, planned, fraction(facts.time_base))
    if difference:
        raise EditError(
            f"The joined video is not as planned: {difference}.",
            hint="Please report this, with the segments from the job folder.",
            survives="All segments are kept.",
        )


def _difference(times: Times, output_base: Fraction, planned: Times, source_base: Fraction) -> str:
    """Describe the first difference between two tables of times; empty if there is none."""
    if len(times) != len(planned):
        return f"it lists {len(times)} frames instead of {len(planned)}"
    # Matroska counts milliseconds: a time may be off by one tick of the coarser time base.
    tolerance = 0 if output_base == source_base else max(output_base, source_base)
    for number, (tick, planned_tick) in enumerate(
        zip(times.tolist(), planned.tolist(), strict=True)
    ):
        time, planned_time = tick * output_base, planned_tick * source_base
        if abs(time - planned_time) > tolerance:
            return (
                f"frame {number} is at {float(time):.4f} s instead of {float(planned_time):.4f} s"
            )
    return ""


def _shift(facts: VideoFacts, table: FrameTable, start: int) -> int:
    """Ticks to subtract from every time of the source."""
    first = int(table[start])
    seconds = first * fraction(facts.time_base)
    # MPEG transport and program streams may start at any time.
    keeps_first_time = (
        start == 0 and not facts.container.startswith("mpeg") and 0 <= seconds <= _MAX_FIRST_TIME
    )
    return 0 if keeps_first_time else first


def _decoding_order(segments: Sequence[Path]) -> npt.NDArray[np.int64]:
    """Frame number of each packet, in decoding order over all segments, counted in the output."""
    parts: list[npt.NDArray[np.int64]] = []
    first = 0
    for path in segments:
        times = np.asarray([packet.pts for packet in _segment_packets(path)], dtype=np.int64)
        ranks = np.empty(len(times), dtype=np.int64)
        ranks[np.argsort(times, kind="stable")] = np.arange(len(times))
        parts.append(first + ranks)
        first += len(times)
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _segment_packets(path: Path, extradata: bytes | None = None) -> Iterator[Packet]:
    """Read the video packets of one segment.

    Args:
        extradata: codec header that the segment must have; None: any.

    Raises:
        EditError: it cannot be read, or its codec header differs.
    """
    try:
        with open_input(path) as container:
            stream = container.streams.video[0]
            if extradata is not None and stream.codec_context.extradata != extradata:
                raise EditError(
                    f"{path.name} was encoded with other settings than the first segment.",
                    hint="Workers must all run one version: update them, then run the command "
                    "again with --overwrite.",
                    survives="All segments are kept.",
                )
            # Not "packets with a decoding time": Matroska stores none for real packets.
            yield from (packet for packet in container.demux(stream) if packet.size)
    except (SourceError, *MEDIA_ERRORS) as error:
        reason = error.message if isinstance(error, SourceError) else describe_error(error)
        raise EditError(
            f"Segment {path.name} cannot be read: {reason}",
            hint="Run `ip2p-batch resume`, which makes the segment again.",
        ) from error


def _timed_packets(
    segments: Sequence[Path],
    extradata: bytes | None,
    presentation: Times,
    times: Times,
    facts: VideoFacts,
) -> Iterator[Packet]:
    """Read the video packets of all segments, and set their final times and durations.

    Args:
        extradata: codec header that each segment must have.
        presentation: pts of each packet, in decoding order.
        times: the same, sorted.
    """
    base = fraction(facts.time_base)
    last_step = round(1 / fraction(facts.frame_rate) / base)
    steps = np.diff(times, append=times[-1:] + last_step)
    durations = dict(zip(times.tolist(), steps.tolist(), strict=True))
    decoding = decoding_times(presentation)
    number = 0
    for path in segments:
        for packet in _segment_packets(path, extradata):
            packet.time_base = base
            packet.pts = int(presentation[number])
            packet.dts = int(decoding[number])
            packet.duration = max(int(durations[packet.pts]), 1)
            number += 1
            yield packet
