"""Where a video ends: the duration of its last frame, and how much of its end is missing."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .frame_timing import ELEMENTARY, FrameTiming
from .pyav import fraction, ratio
from .scan import Scan
from .truncation import is_truncated
from .types import InputContainer, Stream

#: Seconds by which the last frame may end before the header's duration without a note, where the
#: container cannot say whether its end is missing.
_TOLERANCE = 0.5
#: Seconds; a longer last frame is an error of the file.
_LONGEST = 3600


@dataclass(frozen=True, slots=True)
class Ending:
    """End of a video.

    Attributes:
        last_ticks: duration of the last frame in ticks of the time base, at least 1.
        missing_seconds: seconds that the header promises and the file does not hold.
    """

    last_ticks: int
    missing_seconds: float


def find_ending(
    scan: Scan,
    timing: FrameTiming,
    rate: Fraction,
    path: Path,
    container: InputContainer,
    stream: Stream,
) -> Ending:
    """Find the end of a video whose packets were all read.

    Args:
        scan: of the whole file.
        timing: of all frames, at least one.
        rate: frames per second.
    """
    base, pts = timing.time_base, timing.pts
    step = max(1, round(1 / rate / base)) if rate > 0 else 1
    name = container.format.name
    if name in ELEMENTARY:  # FFmpeg guesses a duration from the size
        return Ending(step, 0.0)
    last = int(pts[-1]) * base
    promised = header_end(stream)
    if promised is None:
        promised = _container_end(scan, last + step * base, container)
    gap = None if promised is None else promised - last
    truncated = is_truncated(path, name)
    if gap is not None and gap > 0 and (truncated or truncated is None):
        missing = float(gap) - float(step * base)
        if missing > _TOLERANCE and not _is_own(scan, int(pts[-1]), gap):
            return Ending(step, missing)
    own = _own_ticks(scan, int(pts[-1]), gap if truncated is False else None, name)
    if not 0 < own * base <= _LONGEST:
        own = step
    # Where ticks are coarse, rounding must not add up to another average rate.
    even = round(len(pts) / rate / base) - int(pts[-1] - pts[0]) if rate > 0 else own
    return Ending(even if abs(own - step) <= 1 and abs(even - step) <= 1 and even > 0 else own, 0.0)


def header_end(stream: Stream) -> Fraction | None:
    """Seconds at which a stream ends by its header; None if that names no time of the stream."""
    if stream.duration and stream.time_base:
        ticks = int(stream.start_time or 0) + stream.duration
        return ticks * fraction(ratio(stream.time_base))
    return _matroska_end(stream)


def _matroska_end(stream: Stream) -> Fraction | None:
    """End of a stream in seconds, by its tag ``DURATION``: ``00:00:05.240000000``."""
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)
    except ValueError:
        return None


def _container_end(scan: Scan, end: Fraction, container: InputContainer) -> Fraction | None:
    """Seconds at which the video ends by the file's duration; None if another stream is longer."""
    if not container.duration:
        return None
    counts_from_zero = container.format.name.startswith(("matroska", "flv"))
    offset = 0 if counts_from_zero else (container.start_time or 0)
    promised = Fraction(offset + container.duration, 1_000_000)
    # It is the duration of the longest stream.
    longest = max(Fraction(scan.other_end), end)
    return promised if promised > longest else None


def _is_own(scan: Scan, last: int, gap: Fraction) -> bool:
    """Whether the packet of the last frame lasts as long as the header says."""
    own = scan.last_duration * scan.time_base
    return scan.last_listed == last and abs(own - gap) <= max(scan.time_base, Fraction(1, 500))


def _own_ticks(scan: Scan, last: int, gap: Fraction | None, container: str) -> int:
    """Ticks for which the last frame lasts by its packet, or by the header of a whole file.

    Args:
        last: presentation time of the last frame, in ticks.
        gap: seconds from there to the end of a whole file by its header; None if unknown.
    """
    ticks = scan.last_duration if scan.last_listed == last else 0
    if gap is None or gap <= 0:
        return ticks
    by_header = round(gap / scan.time_base)
    # MP4 has a duration for each packet, which is that of another frame if frames are reordered;
    # Matroska has the average where no other is stored; AVI and FLV have none.
    is_exact = container.startswith("mov") and scan.last_is_decoded_last
    if is_exact and ticks > 0:
        return ticks
    # Headers round to milliseconds.
    near = abs(by_header - ticks) * scan.time_base <= Fraction(2, 1000)
    return ticks if near and ticks > 0 else by_header
