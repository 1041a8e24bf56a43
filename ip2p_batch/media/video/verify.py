"""Check that a finished video has the planned frames at the planned times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import EditError
from ...frame import FrameTable
from ...jobs.video_facts import VideoFacts
from .output_times import planned_times
from .pyav import fraction, open_input, ratio
from .timestamps import Times


def verify_joined(
    output: Path, facts: VideoFacts, table: FrameTable, *, start: int, stop: int
) -> None:
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
