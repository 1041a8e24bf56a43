"""Join segments into the finished video by copying packets, with the source's other streams.

Nothing is encoded again. The n-th frame in presentation order gets the n-th planned time, and
decoding times are computed anew for the whole file, because some containers store none. PyAV's own
remuxing example drops packets without a decoding time (https://github.com/PyAV-Org/PyAV/issues/1917,
https://github.com/PyAV-Org/PyAV/pull/2290).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import EditError
from ...frame import FrameTable
from ...jobs.coding import Encoding
from ...jobs.video_facts import VideoFacts
from . import ai_mark, stream_copy
from .codecs import codec_of
from .containers import CONTAINERS
from .header_plan import plan_headers, write_timecode
from .packets import TimeRange, copied_packets, merge_by_time
from .pyav import fraction, open_input, open_output, ratio
from .routes import RouteTimes, add_routes
from .segment_packets import decoding_order, timed_packets
from .spatial import hide_apple_box, spatial_template
from .stream_plan import plan_streams
from .timestamps import Times
from .trial import target_for

#: Latest start of a file, in seconds, that is kept. A later one is the clock of a recorded stream
#: that was already running.
_MAX_FIRST_TIME = 10
#: Seconds by which the samples that an encoder adds before the sound may start before zero.
_MAX_PRIMING = 1


def planned_times(facts: VideoFacts, table: FrameTable, start: int, stop: int) -> Times:
    """Times of the output's frames, in ticks of the source's time base.

    They are the source's own, so that sound and subtitles stay in step. A part of a video begins at
    zero, and so does a source whose clock is not near zero, with the sound if that starts first.

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
    order = decoding_order(segments)
    if len(order) != len(times):
        raise EditError(
            f"The segments hold {len(order)} frames, and {len(times)} were planned.",
            hint="Run the command again with --overwrite.",
        )
    presentation = times[order]
    last = _last_duration(facts, table, stop)
    base = fraction(facts.time_base)
    target_format = CONTAINERS[suffix.lower()]
    options = {}
    if target_format.keeps_time_base:
        options = {"video_track_timescale": str(base.denominator), "movflags": "+faststart"}
        if (int(times[0]) * base * 1000).denominator > 1:
            # The gap before a late first frame is in ticks of the file, by default milliseconds.
            options["movie_timescale"] = str(base.denominator)
    kept = None
    if start > 0 or stop < len(table):
        begin = int(table[start]) - (facts.lead_ticks if start == 0 else 0)
        kept = TimeRange(begin * base, int(table[stop]) * base if stop < len(table) else None)
    offset = _shift(facts, table, start) * base
    # Image files have no other streams, and neither has a segment.
    others_of = segments[0] if facts.is_sequence else source
    with open_input(segments[0]) as first, open_input(others_of) as container, ExitStack() as stack:
        where = target_for(output, suffix, facts, encoding, segments[0])
        headers = plan_headers(container, facts.stream, where, _frames_before(facts, table, start))
        for name, value in headers.options.items():
            options[name] = options.get(name, "") + value
        target = stack.enter_context(
            open_output(output, format=target_format.name, options=options)
        )
        template = first.streams.video[0]
        with spatial_template(segments[0], facts.spatial) as spatial:
            video = stream_copy.add_stream(target, spatial or template)
        tag = codec_of(encoding).tag
        if tag and target_format.keeps_time_base:
            video.codec_context.codec_tag = tag
        elif codec_of(encoding).segment_format == "mov":  # ProRes has a tag for each profile
            video.codec_context.codec_tag = template.codec_context.codec_tag
        video.time_base = base
        stream_copy.set_rate(video, fraction(facts.frame_rate), target_format.counts_frames)
        if template.metadata.get("alpha_mode") == "1":  # else players do not look for opacity
            video.codec_context.pix_fmt = "yuva420p"
        stream_copy.copy_stream_tags(
            container.streams[facts.stream], video, target_format.name, encoding.metadata
        )
        plans = plan_streams(container, facts.stream, replace(where, options=headers.options))
        moved = RouteTimes(
            offset,
            kept,
            counts_samples=target_format.keeps_time_base,
            is_joined=facts.is_joined,
        )
        routes = add_routes(container, plans, target, moved, encoding.metadata)
        target.metadata.update(headers.tags)
        if headers.timecode:
            write_timecode(target, video.metadata, headers.timecode)
        stream_copy.copy_chapters(container, target, offset, kept)
        video_packets = timed_packets(
            segments,
            template.codec_context.extradata,
            presentation,
            times,
            base,
            last,
            by_decoding=target_format.keeps_time_base,
        )
        others = copied_packets(
            container, routes, offset, kept, preroll=target_format.keeps_time_base
        )
        for packet, stream in merge_by_time(video_packets, video, others):
            packet.stream = stream
            target.mux(packet)
    if facts.spatial is not None and target_format.name == "mp4":
        with output.open("r+b") as file:
            hide_apple_box(file)
    if encoding.mark_ai and target_format.name in ai_mark.CONTAINERS:
        ai_mark.append_mark(output)


def _frames_before(facts: VideoFacts, table: FrameTable, start: int) -> int:
    """Frames before frame ``start``, as a clock with the average rate counts them."""
    ticks = int(table[start]) - int(table[0])
    return round(ticks * fraction(facts.time_base) * fraction(facts.frame_rate))


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
    if start > 0:
        return int(table[start])
    base = fraction(facts.time_base)
    first = int(table[0]) - facts.lead_ticks
    # MPEG transport and program streams may start at any time. Encoders of sound begin a little
    # before zero, with samples that are not played.
    lowest = 0 if not facts.lead_ticks else -_MAX_PRIMING
    keeps_first_time = (
        not facts.container.startswith("mpeg")
        and table[0] >= 0
        and lowest <= first * base <= _MAX_FIRST_TIME
    )
    return 0 if keeps_first_time else first


def _last_duration(facts: VideoFacts, table: FrameTable, stop: int) -> int:
    """Ticks for which the last edited frame lasts in the source."""
    if stop < len(table):
        return int(table[stop]) - int(table[stop - 1])
    return facts.last_ticks or round(1 / fraction(facts.frame_rate) / fraction(facts.time_base))
