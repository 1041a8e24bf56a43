"""Index a video: facts about it, the presentation time of every frame, and scene cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from ...errors import SourceError
from ...jobs.spec import Decoding, VideoFacts
from .. import limits
from .alpha import alpha_decoder, is_transparent
from .color import container_tags
from .dolby_vision import refuse_dolby_vision
from .facts import header_facts, scanned_facts
from .pyav import MEDIA_ERRORS, fraction, open_input
from .scan import Progress, Scan, make_rising
from .streams import (
    UNSEEKABLE,
    decode_packet,
    flush_decoder,
    limit_pixels,
    refuse_playlist,
    video_stream,
)
from .timestamps import Times
from .types import InputContainer, Stream, VideoFrame

_DEFAULT_DECODING = Decoding()


@dataclass(frozen=True, slots=True, eq=False)
class VideoIndex:
    """Result of one pass over a video.

    Attributes:
        facts: about its video stream.
        pts: presentation time of each frame in ticks of the time base, sorted, int64, shape
            ``(frames,)``.
        cuts: numbers of the first frames of new shots, sorted; empty without scene detection.
    """

    facts: VideoFacts
    pts: Times
    cuts: tuple[int, ...]


def index_video(
    path: Path,
    *,
    decoding: Decoding = _DEFAULT_DECODING,
    scenes: bool = True,
    progress: Progress = lambda *_: None,
) -> VideoIndex:
    """Read a video once, from end to end.

    With ``scenes``, every frame is decoded: ``pts`` lists the frames that really decode, and
    scene cuts are found on the way. Without ``scenes``, only packets are listed, which takes
    milliseconds; damage then shows when frames are read. Memory: 16 bytes per frame.

    Args:
        decoding: how the file is read.
        scenes: find scene cuts.
        progress: called with the frames read so far.

    Raises:
        SourceError: not a video, no video stream, no such stream, an unknown codec, high dynamic
            range, no
            timestamps, no frame that decodes, or an input beyond ``limits``.
    """
    refuse_playlist(path)
    draft = _draft_facts(path, decoding)
    index = None if scenes else _index_packets(path, draft, progress)
    if index is None:
        index = _index_frames(path, draft, progress)
    return index if scenes else replace(index, cuts=())


@contextmanager
def _open_stream(path: Path, index: int | None) -> Iterator[tuple[InputContainer, Stream]]:
    with open_input(path) as container:
        limits.STREAMS.check(len(container.streams), path, "it has")
        stream = video_stream(container, path, index)
        limit_pixels(stream, path)
        yield container, stream


def _draft_facts(path: Path, decoding: Decoding) -> VideoFacts:
    with _open_stream(path, decoding.stream) as (container, stream):
        refuse_dolby_vision(path, container.format.name, stream.index)
        # Decoding overwrites the tags of the container.
        tags = container_tags(container.format.name, stream.codec_context)
        frame = _first_frame(container, stream, path)
        facts = header_facts(container, stream, frame, path, decoding.deinterlace, tags)
    if facts.has_alpha and not _is_transparent(path, facts.stream):
        return msgspec.structs.replace(facts, has_alpha=False)
    return facts


def _is_transparent(path: Path, index: int) -> bool:
    """Whether any pixel of the video is less than opaque; decodes up to the first such frame.

    The format alone does not say: every GIF has an opacity channel.
    """
    with _open_stream(path, index) as (container, stream):
        stream.thread_type = "AUTO"
        decoder = alpha_decoder(stream)
        try:
            for packet in container.demux(stream):
                if any(is_transparent(frame) for frame in decode_packet(packet, decoder)):
                    return True
        except MEDIA_ERRORS:
            pass
    return False


def _first_frame(container: InputContainer, stream: Stream, path: Path) -> VideoFrame:
    try:
        for packet in container.demux(stream):
            for frame in decode_packet(packet):
                return frame
    except MEDIA_ERRORS:
        pass
    for frame in flush_decoder(stream):
        return frame
    raise SourceError(
        f"{path}: no frame decodes.",
        path=path,
        hint="The file is damaged or truncated; copy or download it again.",
    )


def _index_packets(path: Path, draft: VideoFacts, progress: Progress) -> VideoIndex | None:
    """Index without decoding; None if the packets do not list the times of all frames.

    AVI lists no presentation times, and MPEG program streams list wrong ones.
    """
    if draft.container in UNSEEKABLE:
        return None
    with _open_stream(path, draft.stream) as (container, stream):
        scan = Scan(stream, fraction(draft.time_base), path)
        scan.list_packets(container, draft.frames, progress)
        if scan.untimed:
            return None
        pts = _sorted_times(scan, path)
        facts = scanned_facts(draft, scan, pts, path, container, stream)
    progress("reading frames", len(pts), len(pts))
    return VideoIndex(facts=facts, pts=pts, cuts=())


def _index_frames(path: Path, draft: VideoFacts, progress: Progress) -> VideoIndex:
    """Index by decoding every frame."""
    with _open_stream(path, draft.stream) as (container, stream):
        stream.thread_type = "AUTO"
        scan = Scan(stream, fraction(draft.time_base), path)
        cuts = scan.decode(container, stream, draft.frames, progress)
        if draft.container in UNSEEKABLE:
            scan.decoded = make_rising(scan.decoded)
        pts = _sorted_times(scan, path)
        if len(pts) != len(scan.decoded):
            cuts = _renumber(cuts, scan.decoded, pts)
        facts = scanned_facts(draft, scan, pts, path, container, stream)
    progress("finding scene cuts", len(pts), len(pts))
    return VideoIndex(facts=facts, pts=pts, cuts=cuts)


def _sorted_times(scan: Scan, path: Path) -> Times:
    """Times of all frames, sorted, without duplicates.

    Raises:
        SourceError: there are none, or they span more than ``limits.HOURS``.
    """
    pts = np.unique(np.asarray(scan.decoded, dtype=np.int64))
    if not len(pts):
        raise SourceError(
            f"{path}: its frames have no timestamps."
            if scan.untimed
            else f"{path}: no frame decodes.",
            path=path,
            hint="`ffmpeg -i FILE -c copy NEW.mkv` may add timestamps.",
        )
    hours = float((int(pts[-1]) - int(pts[0])) * scan.time_base) / 3600
    limits.HOURS.check(hours, path, "from its first frame to its last it lasts")
    return pts


def _renumber(cuts: tuple[int, ...], decoded: Sequence[int], pts: Times) -> tuple[int, ...]:
    """Convert cuts from decoding numbers to numbers in the sorted table without duplicates."""
    return tuple(sorted({int(np.searchsorted(pts, decoded[cut])) for cut in cuts}))
