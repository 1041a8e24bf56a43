"""Find the time of every frame, also in files that list no presentation times, or wrong ones.

AVI, ASF, MXF and some Matroska files store the order of decoding only. FFmpeg then derives
presentation times that are wrong wherever frames are reordered (B-frames). Elementary streams have
no times, and program streams have some. What is right in each of them is the order in which the
decoder returns its frames, so frames get their times by this order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from ...jobs.video_facts import FrameKey, VideoFacts
from .frame_keys import EMPTY_SIZE
from .packets import RESTART
from .pyav import fraction
from .scan import NO_TIME, Scan
from .timestamps import Times

#: FFmpeg's demuxers of elementary streams: frames without times. Their header's rate is a default.
ELEMENTARY = {
    "h261", "h263", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "dirac", "cavsvideo", "mjpeg",
    "obu", "av1",
}  # fmt: skip
#: Formats with decoding times only.
_DECODING_TIMES_ONLY = {"avi"}
#: MPEG program streams. After a seek, frames arrive with timestamps of other frames, and the last
#: two frames may share one, so frames are found by their place in the file.
_WITHOUT_SEEKING = {"mpeg"}
#: Formats whose packets have the same decoding times after a seek; those of ASF, for one, differ.
_SEEKABLE = ("avi", "matroska", "mov", "mxf")
#: MPEG transport and program streams, which can be joined as files are.
_BROADCAST = "mpeg"
#: Frames after a clock's new beginning that must be nearer to it than to the old clock.
_FOLLOWING = 4
#: Share of frames that may come before their predecessor: more is no damage, but wrong times.
_MOST_DISORDER = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class FrameTiming:
    """Times of all frames.

    Attributes:
        key: see :attr:`VideoFacts.frame_key`.
        time_base: seconds per tick of ``pts``.
        pts: presentation times in ticks, sorted, without duplicates, int64, shape ``(frames,)``.
        ids: decoding time or place in the file of each frame, the same shape; None if ``key`` is
            ``pts``.
        numbers: frame number of each decoded frame, in the decoder's order.
        repeated: decoded frames that have the time or packet of another one.
        goes_back: whether times go back in the decoder's order and frames were sorted by them.
        undecoded: packets with a frame that did not decode.
        restarts: how often the clock begins again, as where recordings were joined.
    """

    key: FrameKey
    time_base: Fraction
    pts: Times
    ids: Times | None
    numbers: Times
    repeated: int
    goes_back: bool
    undecoded: int
    restarts: int = 0


def listed_timing(scan: Scan) -> FrameTiming:
    """Times of a scan that decoded nothing: those of the packets."""
    times = scan.pts[scan.kept]
    pts = np.unique(times)
    numbers = np.searchsorted(pts, times)
    repeated = len(times) - len(pts)
    return FrameTiming("pts", scan.time_base, pts, None, numbers, repeated, False, 0)


def can_list(scan: Scan, facts: VideoFacts) -> bool:
    """Whether the packets of a scan list the times of all frames, so that none need be decoded."""
    if facts.container in ELEMENTARY | _WITHOUT_SEEKING or np.any(scan.pts == NO_TIME):
        return False
    if len(np.unique(kept := scan.pts[scan.kept])) < len(kept):  # each frame gets its own time
        return False
    back = -round(RESTART / scan.time_base)
    if facts.container.startswith(_BROADCAST) and np.any(np.diff(scan.pts) < back):
        return False
    # FFmpeg derives times of reordered frames from the order of decoding.
    return facts.container not in _DECODING_TIMES_ONLY or np.array_equal(scan.pts, scan.dts)


def frame_timing(scan: Scan, facts: VideoFacts) -> FrameTiming:
    """Times of a scan that decoded every frame.

    Args:
        facts: from the header.
    """
    shown = np.asarray(scan.shown, dtype=np.int64)
    first = np.sort(np.unique(shown, return_index=True)[1])  # the first frame of each packet
    places = shown[first]
    rate = fraction(facts.frame_rate)
    step = 1 / rate if rate > 0 else Fraction(1, 25)
    own, decoding, restarts = scan.pts[places], scan.dts[places], 0
    if facts.container.startswith(_BROADCAST):
        ticks = round(RESTART / scan.time_base)
        own, restarts = continued_times(own, step / scan.time_base, ticks)
    solid = scan.kept & (scan.sizes_of_packets > EMPTY_SIZE)
    undecoded = int(np.count_nonzero(solid)) - int(np.count_nonzero(solid[places]))
    key = "order" if restarts else _choose_key(scan, own, facts.container)
    if key == "pts":
        return _by_presentation(scan, shown)
    numbers = np.searchsorted(first, np.arange(len(shown)), side="right") - 1
    base = scan.time_base
    if facts.container in ELEMENTARY:
        base = Fraction(1, step.denominator)
        pts = np.arange(len(places), dtype=np.int64) * step.numerator
    elif (
        not restarts
        and _has_decoding_times(scan)
        and (facts.container in _DECODING_TIMES_ONLY or not _is_ordered(own))
    ):
        pts = delayed_times(decoding, step / base)
    else:
        pts = filled_times(own, step / base)
    ids = decoding if key == "dts" else places
    repeated = len(shown) - len(places)
    return FrameTiming(key, base, pts, ids, numbers, repeated, False, undecoded, restarts)


def only_frames(timing: FrameTiming, shown: Times) -> FrameTiming:
    """The times of some frames only.

    Args:
        timing: of all frames, found by their presentation times.
        shown: numbers of the frames to keep in the decoder's order.
    """
    kept = np.unique(timing.numbers[shown])
    # A frame that is left out has the number of the one before it.
    numbers = np.maximum(np.searchsorted(kept, timing.numbers, side="right") - 1, 0)
    return replace(timing, pts=timing.pts[kept], numbers=numbers)


def continued_times(times: Times, step: Fraction, least: int) -> tuple[Times, int]:
    """Let the clock of joined recordings continue where it begins again.

    Args:
        times: in the decoder's order, in ticks; ``NO_TIME`` where missing.
        step: ticks from one frame to the next.
        least: ticks by which a clock must go back, and be followed; less, or once, is damage.

    Returns:
        the times, and how often the clock began again.

    >>> continued_times(np.array([800, 840, 0, 40]), Fraction(40), 50)[0].tolist()
    [800, 840, 880, 920]
    """
    result = times.copy()
    known = np.flatnonzero(times != NO_TIME)
    shift = restarts = 0
    for number, (previous, place) in enumerate(pairwise(known.tolist()), 1):
        last = int(result[previous])
        time = int(times[place]) + shift
        if time < last - least and _begins(
            times[known[number : number + _FOLLOWING + 1]] + shift, last
        ):
            shift += last + round((place - previous) * step) - time
            restarts += 1
        result[place] = times[place] + shift
    return result, restarts


def _begins(times: Times, last: int) -> bool:
    """Whether the times after the first one follow it, and not ``last``."""
    following = times[1:]
    is_near = np.abs(following - times[0]) < np.abs(following - last)
    return len(following) > 0 and bool(np.all(is_near))


def delayed_times(decoding: Times, step: Fraction) -> Times:
    """Presentation times by the decoding times of frames.

    A decoder that reorders returns a frame some packets after its own: as many as the frame that
    is decoded the most packets before it is shown needs. Frames are therefore shown at the times
    of the packets that many places later, counted from the first one.

    Args:
        decoding: decoding time of each frame, in the order of presentation, in ticks.
        step: ticks from one frame to the next, after the last packet.

    >>> delayed_times(np.array([0, 80, 120, 40, 480]), Fraction(40)).tolist()  # I B B P I
    [0, 40, 80, 440, 480]
    """
    places = np.arange(len(decoding))
    delay = int(np.max(np.argsort(np.argsort(decoding)) - places))
    times = np.sort(decoding)
    after = np.round(np.arange(1, delay + 1) * float(step)).astype(np.int64)
    result: Times = np.append(times[delay:], times[-1] + after) - (times[delay] - times[0])
    return result


def filled_times(times: Times, step: Fraction) -> Times:
    """Complete the times of frames in the decoder's order.

    A time that is missing, or not after its predecessors, is interpolated between its neighbours.

    Args:
        times: in ticks; ``NO_TIME`` where missing.
        step: ticks from one frame to the next.

    >>> filled_times(np.array([NO_TIME, 40, NO_TIME, 120, 120, NO_TIME]), Fraction(40)).tolist()
    [0, 40, 80, 120, 160, 200]
    """
    known: list[int] = []
    for number, time in enumerate(times.tolist()):
        if time != NO_TIME and (
            not known or time - int(times[known[-1]]) >= number - known[-1]  # a tick for each
        ):
            known.append(number)
    places = np.arange(len(times))
    if not known:
        return np.round(places * float(step)).astype(np.int64)
    filled = np.interp(places, known, times[known].astype(np.float64))
    before, after = places < known[0], places > known[-1]
    filled[before] = times[known[0]] - (known[0] - places[before]) * float(step)
    filled[after] = times[known[-1]] + (places[after] - known[-1]) * float(step)
    result = np.round(filled).astype(np.int64)
    result[known] = times[known]  # exact, also above 2**53
    return result


def _choose_key(scan: Scan, own: Times, container: str) -> FrameKey:
    """What identifies a frame.

    Args:
        own: presentation time of each frame's packet, in the decoder's order.
    """
    if container in ELEMENTARY | _WITHOUT_SEEKING:
        return "order"
    if container not in _DECODING_TIMES_ONLY and not np.any(own == NO_TIME) and _is_ordered(own):
        return "pts" if len(np.unique(own)) == len(own) else "order"
    if not _has_decoding_times(scan):
        # Times that all go back together are those of joined recordings.
        is_timed = container not in _DECODING_TIMES_ONLY and not np.any(own == NO_TIME)
        return "pts" if is_timed else "order"
    return "dts" if container.startswith(_SEEKABLE) else "order"


def _has_decoding_times(scan: Scan) -> bool:
    return not np.any(scan.dts == NO_TIME) and bool(np.all(np.diff(scan.dts) > 0))


def _is_ordered(own: Times) -> bool:
    """Whether frames come in the order of their known times, except for a few after damage."""
    known = own[own != NO_TIME]
    disorder = int(np.count_nonzero(np.diff(known) < 0))
    return len(known) > 0 and disorder <= max(1, _MOST_DISORDER * len(known))


def _by_presentation(scan: Scan, shown: Times) -> FrameTiming:
    own = scan.pts[shown]
    pts = np.unique(own)
    listed = scan.pts[scan.kept]
    undecoded = len(np.setdiff1d(listed[listed != NO_TIME], pts))
    goes_back = bool(np.any(np.diff(own) < 0))
    numbers = np.searchsorted(pts, own)
    repeated = len(own) - len(pts)
    return FrameTiming("pts", scan.time_base, pts, None, numbers, repeated, goes_back, undecoded)
