"""Read the packets of a job's segments, and give them their times in the finished video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import EditError, SourceError
from .pyav import MEDIA_ERRORS, describe_error, open_input
from .timestamps import Times, decoding_times
from .types import Packet


def decoding_order(segments: Sequence[Path]) -> npt.NDArray[np.int64]:
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


def timed_packets(
    segments: Sequence[Path],
    extradata: bytes | None,
    presentation: Times,
    times: Times,
    base: Fraction,
    last: int,
    *,
    by_decoding: bool,
) -> Iterator[Packet]:
    """Read the video packets of all segments, and set their final times and durations.

    Args:
        extradata: codec header that each segment must have.
        presentation: pts of each packet, in decoding order.
        times: the same, sorted.
        base: seconds per tick.
        last: ticks for which the last frame lasts.
        by_decoding: whether the container stores durations as differences of decoding times, as MP4
            does. The packet that is decoded last then ends the stream.
    """
    steps = np.diff(times, append=times[-1:] + last)
    durations = dict(zip(times.tolist(), steps.tolist(), strict=True))
    if by_decoding:
        durations[int(presentation[-1])] = last
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
