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

from ...errors import EditError
from ...frame import FrameTable
from ...jobs.coding import Encoding
from ...jobs.video_facts import VideoFacts
from . import ai_mark, stream_copy
from .animated_input import open_input
from .codecs import codec_of
from .containers import CONTAINERS, Container
from .display_size import display_size, write_display_size
from .header_plan import plan_headers, write_timecode
from .output_times import frames_before, kept_range, last_duration, planned_times, shift
from .packets import copied_packets, merge_by_time
from .pyav import fraction, open_output
from .routes import RouteTimes, add_routes
from .segment_packets import decoding_order, timed_packets
from .spatial import hide_apple_box, spatial_template
from .stream_plan import plan_streams
from .trial import target_for
from .types import Stream


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
    last = last_duration(facts, table, stop)
    base = fraction(facts.time_base)
    target_format = CONTAINERS[suffix.lower()]
    options = _clock_options(base, int(times[0])) if target_format.keeps_time_base else {}
    kept = kept_range(facts, table, start, stop)
    offset = shift(facts, table, start) * base
    # Image files have no other streams, and neither has a segment.
    others_of = segments[0] if facts.is_sequence else source
    with open_input(segments[0]) as first, open_input(others_of) as container, ExitStack() as stack:
        where = target_for(output, suffix, facts, encoding, segments[0])
        headers = plan_headers(container, facts.stream, where, frames_before(facts, table, start))
        for name, value in headers.options.items():
            options[name] = options.get(name, "") + value
        target = stack.enter_context(
            open_output(output, format=target_format.name, options=options)
        )
        template = first.streams.video[0]
        with spatial_template(segments[0], facts.spatial) as spatial:
            video = stream_copy.add_stream(target, spatial or template)
        _describe_video(video, template, facts, encoding, target_format)
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
    if facts.upright_sar != (1, 1) and target_format.name in ("matroska", "webm"):
        write_display_size(output, display_size(facts.upright, Fraction(*facts.upright_sar)))
    if encoding.mark_ai and target_format.name in ai_mark.CONTAINERS:
        ai_mark.append_mark(output)


def _clock_options(base: Fraction, first: int) -> dict[str, str]:
    """Options of MP4 and MOV that keep times exact; ``first`` is the first frame's, in ticks."""
    options = {"video_track_timescale": str(base.denominator), "movflags": "+faststart"}
    if (first * base * 1000).denominator > 1:
        # The gap before a late first frame is in ticks of the file, by default milliseconds.
        options["movie_timescale"] = str(base.denominator)
    return options


def _describe_video(
    video: Stream, template: Stream, facts: VideoFacts, encoding: Encoding, container: Container
) -> None:
    """Set what a copied video stream does not get from its template, a segment's stream."""
    codec = codec_of(encoding)
    if codec.tag and container.keeps_time_base:
        video.codec_context.codec_tag = codec.tag
    elif codec.segment_format == "mov":  # ProRes has a tag for each profile
        video.codec_context.codec_tag = template.codec_context.codec_tag
    video.time_base = fraction(facts.time_base)
    if facts.upright_sar != (1, 1):  # MP4, MOV and MXF have it from here
        video.codec_context.sample_aspect_ratio = Fraction(*facts.upright_sar)
    stream_copy.set_rate(video, fraction(facts.frame_rate), container.counts_frames)
    if template.metadata.get("alpha_mode") == "1":  # else players do not look for opacity
        video.codec_context.pix_fmt = "yuva420p"
