"""What a source is, and, for a video, what it holds: facts, presentation times, scene cuts."""

from __future__ import annotations

import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from ...errors import RecipeError, SourceError
from ...jobs.spec import VideoFacts
from .. import limits
from ..images import formats
from ..table import TABLES
from . import color
from .pyav import MEDIA_ERRORS, fraction, ratio, reading, reason
from .scenes import CutFinder
from .timestamps import Times

#: Called with a stage, frames done and frames expected (0 where unknown).
Progress = Callable[[str, int, int], None]
Kind = Literal["video", "still", "folder", "manifest"]

#: FFmpeg "demuxers" for single pictures and for text, which it would play as a video.
_NOT_VIDEO = ("image2", "_pipe", "tty", "ico", "bin", "xbin", "adf", "idf")
#: How files begin that only name others, which FFmpeg would play as if they were one.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat version", b"[playlist]")
#: MPEG program streams: after a seek, their frames come with the times of other frames, and two
#: at the end may share one. They are read from the beginning, and their frames counted.
UNSEEKABLE = {"mpeg"}
_PROGRESS_EVERY = 25
_NAME = "Check the name; quote it if it has spaces."
#: Seconds by which the last frame may fall short of what the header promises.
_TOLERATED_END = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """What one pass over a video found.

    Attributes:
        facts: of its picture stream.
        pts: presentation time of each frame, sorted, int64, shape ``(frames,)``, in time base.
        cuts: numbers of the first frames of new shots, sorted; empty without scene detection.
    """

    facts: VideoFacts
    pts: Times
    cuts: tuple[int, ...]


def classify(path: Path) -> Kind:
    """Whether ``path`` is a folder, a manifest, a picture or a video, by its name.

    Raises:
        SourceError: it does not exist, is empty, or is a pipe, socket or device.
    """
    try:
        if path.is_dir():
            return "folder"
        found = path.stat()
    except ValueError:  # a NUL in it
        raise SourceError(f"{path!r}: no file is called so.", path=path, hint=_NAME) from None
    except OSError as error:
        raise SourceError(
            f"{path}: {reason(error)}.",
            path=path,
            hint=_NAME,
        ) from None
    if not stat.S_ISREG(found.st_mode):  # a pipe would wait for its writer for ever
        raise SourceError(
            f"{path}: not a regular file.", path=path, hint="Write its content to a file first."
        )
    if found.st_size == 0:
        raise SourceError(f"{path}: the file is empty.", path=path, hint="Fetch it again.")
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return "manifest"
    # GIF is listed among pictures that cannot be edited; on its own it is a small video.
    if suffix in formats.SUFFIXES or (suffix in formats.UNSUPPORTED and suffix != ".gif"):
        return "still"
    return "video"


def stamp(path: Path) -> str:
    """Size and modification time, which change when somebody replaces the file.

    Raises:
        SourceError: ``path`` cannot be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise SourceError(f"{path}: {reason(error)}.", path=path) from None
    return f"{found.st_size}:{found.st_mtime_ns}"


def index_video(
    path: Path, *, scenes: bool = True, progress: Progress = lambda *_: None
) -> VideoIndex:
    """Read a video once, from end to end.

    With ``scenes`` every frame is decoded: ``pts`` holds what truly decodes, and cuts are found
    on the way. Without, only packets are listed, which takes milliseconds; damage then shows
    when the frames are read. Memory: 16 bytes per frame.

    Raises:
        SourceError: not a video, no picture stream, an unknown codec, high dynamic range, no
            timestamps, not one frame that decodes, or more than ``limits`` let through.
    """
    _refuse_playlist(path)
    with reading(path) as container:
        limits.STREAMS.check(len(container.streams), path, "it has")
        stream = picture_stream(container, path)
        limit_pixels(stream, path)
        first = _first_frame(container, stream, path)
        draft = _facts(container, stream, first, path)
    with reading(path) as container:
        stream = picture_stream(container, path)
        limit_pixels(stream, path)
        stream.thread_type = "AUTO"
        scan = _Scan(stream.index, fraction(draft.time_base), path)
        if scenes:
            finder = CutFinder()
            _decode_all(container, stream, scan, finder, draft.frames, progress)
            cuts = tuple(finder.cuts)
        else:
            for _ in scan.packets(container):
                if len(scan.listed) % 1000 == 0:
                    progress("reading frames", len(scan.listed), draft.frames)
            if scan.untimed or draft.container in UNSEEKABLE:
                # AVI and old MPEG list no presentation times; decoding finds them.
                return _untimed(path, progress)
            scan.decoded = scan.listed
            cuts = ()
        if draft.container in UNSEEKABLE:
            scan.decoded = _rising(scan.decoded)
        pts = np.unique(np.asarray(scan.decoded, dtype=np.int64))
        if scenes and cuts and len(pts) != len(scan.decoded):
            cuts = _renumbered(cuts, scan.decoded, pts)
        if not len(pts):
            raise SourceError(
                f"{path}: its frames carry no timestamps."
                if scan.untimed
                else f"{path}: not one frame decodes.",
                path=path,
                hint="`ffmpeg -i FILE -c copy NEW.mkv` may give it some.",
            )
        hours = float((int(pts[-1]) - int(pts[0])) * fraction(draft.time_base)) / 3600
        limits.HOURS.check(hours, path, "from its first frame to its last it lasts")
        facts = _finished(draft, scan, pts, container, stream)
    progress("finding scene cuts" if scenes else "reading frames", len(pts), len(pts))
    return VideoIndex(facts=facts, pts=pts, cuts=cuts)


def frame_range(
    facts: VideoFacts, pts: Times, start: float | None, end: float | None
) -> tuple[int, int]:
    """The frames shown in ``[start, end)`` seconds, counted from the first frame.

    Args:
        pts: see :class:`VideoIndex`.
        start, end: seconds; None means from the first or to the last frame.

    Returns:
        ``(start, stop)``, half-open frame numbers.

    Raises:
        RecipeError: no frame lies in that range.
    """
    base = fraction(facts.time_base)

    def number(seconds: float) -> int:
        # Half a tick of tolerance: 0.04 s must find the frame at 1/25 s whatever the rounding.
        ticks = Fraction(seconds).limit_denominator(1_000_000) / base - Fraction(1, 2)
        return int(np.searchsorted(pts, int(pts[0]) + float(ticks), side="left"))

    first = 0 if start is None else number(start)
    stop = len(pts) if end is None else number(end)
    if first >= stop:
        shown = float((int(pts[-1]) - int(pts[0])) * base)
        until = "the end" if end is None else f"--end {end:g}"
        raise RecipeError(
            f"No frame lies between --start {start or 0:g} and {until}: "
            f"the video's last frame is at {shown:.2f} s.",
            hint="Give seconds or MM:SS within the video, with --start before --end.",
        )
    return first, stop


def picture_stream(container: Any, path: Path) -> Any:
    """The video stream to edit: the first that is not a cover picture.

    Raises:
        SourceError: there is none, its codec is unknown, or the file is no video at all.
    """
    name = container.format.name
    if any(name == n or name.endswith(n) for n in _NOT_VIDEO):
        what = "a picture" if "image2" in name or "_pipe" in name else "text"
        raise SourceError(
            f"{path}: this is {what}, not a video.",
            path=path,
            hint="Give a picture its usual suffix (.jpg, .png), and it is edited as one.",
        )
    streams = [s for s in container.streams.video if not is_cover(s)]
    if not streams:
        raise SourceError(
            f"{path}: it has no video stream.", path=path, hint="Check that this is the right file."
        )
    if getattr(streams[0], "codec_context", None) is None:
        raise SourceError(
            f"{path}: its video codec is not known here.",
            path=path,
            hint="Convert it first: ffmpeg -i FILE -c:v libx264 -crf 12 NEW.mp4",
        )
    return streams[0]


def limit_pixels(stream: Any, path: Path, planned: int = 0) -> None:
    """Keep a decoder, not yet begun, from frames that are too large.

    Frames that grow beyond the limit on the way do not decode.

    Args:
        planned: pixels of a frame that planning has let through already.

    Raises:
        SourceError: the stream says that its frames have more than ``limits.FRAME_PIXELS``.
    """
    most = max(planned, limits.FRAME_PIXELS.value())
    context = stream.codec_context
    what = f"its frames are {context.width}x{context.height},"
    limits.FRAME_PIXELS.check(context.width * context.height, path, what, most)
    # FFmpeg's own guard counts rows and columns of padding, too.
    context.options = {"max_pixels": str(min(most + most // 4 + 65536, 2**31 - 1))}


def _refuse_playlist(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError as error:
        raise SourceError(
            f"{path}: {reason(error)}.", path=path, hint="Check that it may be read."
        ) from None
    if head.startswith(_PLAYLISTS):
        raise SourceError(
            f"{path}: this is a playlist, which only names other files.",
            path=path,
            hint="Edit those, or make one file of them: ffmpeg -i FILE -c copy NEW.mkv",
        )


def is_cover(stream: Any) -> bool:
    """Whether a video stream is one still picture for a player's shelf."""
    disposition = type(stream.disposition)
    return bool(stream.disposition & (disposition.attached_pic | disposition.timed_thumbnails))


class _Scan:
    """Counts packets of the picture stream, and how far the whole file reaches."""

    def __init__(self, index: int, time_base: Fraction, path: Path) -> None:
        self.path = path
        self.most = limits.FRAMES.value()
        self.index = index
        self.time_base = time_base
        self.listed = array("q")
        self.decoded = array("q")
        self.end = 0.0  # seconds at which the last packet of any stream ends
        self.untimed = 0
        self.damaged = 0
        self.sizes: set[tuple[int, int]] = set()

    def packets(self, container: Any) -> Iterator[Any]:
        """Packets of the picture stream, then one empty one that flushes the decoder."""
        try:
            for packet in container.demux():
                if packet.size and packet.pts is not None and packet.time_base:
                    end = (packet.pts + (packet.duration or 0)) * float(packet.time_base)
                    self.end = max(self.end, end)
                if packet.stream.index != self.index:  # flushing packets all say 0 themselves
                    continue
                if packet.size and not packet.is_discard:
                    if len(self.listed) + self.untimed >= self.most:
                        limits.FRAMES.check(self.most + 1, self.path, "it has at least")
                    if packet.pts is None:
                        self.untimed += 1
                    else:
                        self.listed.append(int(packet.pts))
                yield packet
        except MEDIA_ERRORS:  # cut short: what came before it is good
            return


def _decode_all(
    container: Any, stream: Any, scan: _Scan, finder: CutFinder, expected: int, progress: Progress
) -> None:
    def take(frames: list[Any]) -> None:
        for frame in frames:
            if frame.pts is None:
                scan.untimed += 1
                continue
            scan.damaged += bool(frame.is_corrupt)
            scan.sizes.add((frame.width, frame.height))
            scan.decoded.append(int(frame.pts))
            finder.feed(frame)
            if len(scan.decoded) % _PROGRESS_EVERY == 0:
                progress("finding scene cuts", len(scan.decoded), expected)

    for packet in scan.packets(container):
        take(decode(packet))
    take(decode(None, stream))  # where the file broke off before its end, frames are held back


def decode(packet: Any, stream: Any = None) -> list[Any]:
    """Frames of one packet (None: those the decoder holds back); none where it is damaged.

    ``container.decode()`` would end at the first damaged packet of a file.
    """
    try:
        return list(packet.decode() if packet is not None else stream.decode(None))
    except MEDIA_ERRORS:
        return []


def _untimed(path: Path, progress: Progress) -> VideoIndex:
    found = index_video(path, scenes=True, progress=progress)
    return VideoIndex(facts=found.facts, pts=found.pts, cuts=())


def _rising(times: Sequence[int]) -> array[int]:
    """The same times, but one that is not after the one before it follows at the usual step."""
    if len(times) < 2:
        return array("q", times)
    step = max(1, int(np.median(np.diff(times))))
    rising = array("q", times[:1])
    for time in times[1:]:
        rising.append(time if time > rising[-1] else rising[-1] + step)
    return rising


def _renumbered(cuts: tuple[int, ...], decoded: Sequence[int], pts: Times) -> tuple[int, ...]:
    """Cuts by number of decoding, as numbers in the sorted table without doubles."""
    return tuple(sorted({int(np.searchsorted(pts, decoded[c])) for c in cuts}))


def _first_frame(container: Any, stream: Any, path: Path) -> Any:
    try:
        for packet in container.demux(stream):
            for frame in decode(packet):
                return frame
    except MEDIA_ERRORS:
        pass
    for frame in decode(None, stream):
        return frame
    raise SourceError(
        f"{path}: not one frame decodes.",
        path=path,
        hint="The file is damaged or cut short; fetch it again.",
    )


def _facts(container: Any, stream: Any, frame: Any, path: Path) -> VideoFacts:
    """Facts from headers and the first frame; counts are the container's own, not yet checked."""
    time_base = ratio(stream.time_base, (1, 1000))
    rate = ratio(stream.average_rate, ratio(stream.guessed_rate, (25, 1)))
    sar = ratio(stream.sample_aspect_ratio, (1, 1))
    rotation = -round(frame.rotation / 90) * 90 % 360
    depth = max((c.bits for c in frame.format.components), default=8)
    duration = _promised_seconds(stream) or 0.0
    alpha = (
        any(c.is_alpha for c in frame.format.components)
        or stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
    )
    return VideoFacts(
        width=frame.width,
        height=frame.height,
        rotation=rotation,
        sar=sar if min(sar) > 0 else (1, 1),
        time_base=time_base,
        frame_rate=rate,
        frames=stream.frames or round(duration * rate[0] / rate[1]),
        duration=duration,
        codec=stream.codec_context.name,
        container=container.format.name,
        pix_fmt=frame.format.name,
        bit_depth=depth,
        interlaced=bool(frame.interlaced_frame),
        has_alpha=alpha,
        color=color.facts_of(frame, path),
        audio_streams=len(container.streams.audio),
        subtitle_streams=len(container.streams.subtitles),
    )


def _promised_seconds(stream: Any) -> float | None:
    """Length of the picture stream by its header; None where only the file's is known."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return _matroska_end(stream)


def _matroska_end(stream: Any) -> float | None:
    """When a stream ends by its tag ``DURATION``, "00:00:05.240000000", counted from time zero."""
    try:
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return float(hours) * 3600 + float(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _finished(
    draft: VideoFacts, scan: _Scan, pts: Times, container: Any, stream: Any
) -> VideoFacts:
    """The facts with true counts, and notes on what a user should know."""
    base, rate = fraction(draft.time_base), fraction(draft.frame_rate)
    last = float(int(pts[-1]) * base)
    span = float((int(pts[-1]) - int(pts[0])) * base)
    if span > 0 and (draft.frame_rate == (25, 1) or rate <= 0 or rate > 1000):
        rate = Fraction((len(pts) - 1) / span).limit_denominator(1001)
    step = float(1 / rate) if rate else 0.04
    lost = len(set(scan.listed) - set(scan.decoded))
    short = _shortfall(
        scan, last + step, int(stream.start_time or 0) * float(base), container, stream
    )
    tail = round(short * float(rate)) if short > _TOLERATED_END else 0
    notes = _clock_notes(scan, len(pts))
    if lost:
        notes.append(f"{lost} frames are damaged and cannot be decoded; the others are edited.")
    if tail:
        notes.append(
            f"The file is cut short: about {tail} frames ({short:.1f} s) at its end are missing; "
            f"{len(pts)} frames are edited."
        )
    if scan.damaged:
        notes.append(f"{scan.damaged} frames are damaged and may look so.")
    if len(scan.sizes) > 1:
        notes.append(
            f"The picture's size changes on the way; all of it comes out at the first one, "
            f"{draft.width}x{draft.height}."
        )
    if draft.bit_depth > 8:
        notes.append(f"{draft.bit_depth}-bit video is edited and written in 8 bits.")
    if draft.container in UNSEEKABLE:
        notes.append(
            "MPEG program streams cannot be sought in and are read from their beginning for each "
            "chunk; `ffmpeg -i FILE -c copy NEW.mkv` makes a quicker source."
        )
    if draft.interlaced:
        notes.append("Interlaced video is edited as it is; deinterlace it first for best results.")
    if draft.has_alpha:
        notes.append("Transparency is not kept.")
    return msgspec.structs.replace(
        draft,
        frames=len(pts),
        missing=lost + tail,
        duration=round(span + step, 6),
        frame_rate=ratio(rate, (25, 1)),
        notes=tuple(notes),
    )


def _clock_notes(scan: _Scan, times: int) -> list[str]:
    """What to know of a clock that stands still or goes back, as in two recordings made one."""
    mend = "`ffmpeg -i FILE -c copy NEW.mkv` may give each its own"
    if twice := len(scan.decoded) - times:
        return [f"{twice} frames come at the time of another one and are left out; {mend}."]
    if scan.decoded is not scan.listed and np.any(np.diff(scan.decoded) < 0):
        return [f"The video's clock goes back, so frames may be out of order; {mend}."]
    return []


def _shortfall(scan: _Scan, end: float, begin: float, container: Any, stream: Any) -> float:
    """Seconds that the header promises and the file does not hold."""
    if stream.duration and stream.time_base:
        return begin + float(stream.duration * stream.time_base) - end
    if (promised := _matroska_end(stream)) is not None:
        return promised - end
    if container.duration:  # of the longest stream: only where all streams end before it
        start = 0 if "matroska" in container.format.name else (container.start_time or 0)
        return float(start + container.duration) / 1e6 - max(scan.end, end)
    return 0.0
