"""Index a video: facts about it, the presentation time of every frame, and scene cuts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from ...errors import SourceError
from ...jobs.coding import Decoding
from ...jobs.video_facts import VideoFacts
from .. import limits
from .alpha import alpha_decoder, is_transparent
from .animated_input import animation_notes, open_input
from .color import container_tags
from .dolby_vision import check_dolby_vision
from .facts import header_facts, scanned_facts
from .frame_timing import FrameTiming, can_list, frame_timing, listed_timing, only_frames
from .index import VideoIndex
from .pyav import MEDIA_ERRORS, fraction
from .scan import Progress, Scan
from .streams import (
    decode_packet,
    flush_decoder,
    limit_pixels,
    refuse_playlist,
    video_stream,
)
from .types import InputContainer, Stream, VideoFrame

_DEFAULT_DECODING = Decoding()
#: Packets that are decoded to see whether frames are reordered.
_SAMPLED_PACKETS = 40


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
    milliseconds; damage then shows when frames are read. Memory: 80 bytes per frame.

    Args:
        decoding: how the file is read.
        scenes: find scene cuts.
        progress: called with the frames read so far.

    Raises:
        SourceError: not a video, no video stream, no such stream, an unknown codec, high dynamic
            range, no frame that decodes, or an input beyond ``limits``.
    """
    refuse_playlist(path)
    draft = _draft_facts(path, decoding)
    must_decode = scenes or decoding.deinterlace == "ivtc"
    index = None if must_decode else _index_packets(path, draft, progress)
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
        notes = check_dolby_vision(path, container.format.name, stream.index)
        notes += animation_notes(container)
        # Decoding overwrites the tags of the container.
        tags = container_tags(container.format.name, stream.codec_context)
        frame = _first_frame(container, stream, path)
        facts = header_facts(container, stream, frame, path, decoding, tags)
        facts = msgspec.structs.replace(facts, notes=tuple(notes))
    if not facts.has_alpha:
        return facts
    if not _is_transparent(path, facts.stream):
        return msgspec.structs.replace(facts, has_alpha=False)
    if facts.deinterlace == "ivtc":  # FFmpeg's fieldmatch has no formats with an opacity channel
        note = "Inverse telecine does not keep transparency; omit --deinterlace ivtc to keep it."
        return msgspec.structs.replace(facts, has_alpha=False, notes=(*facts.notes, note))
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
    """Index without decoding; None if the packets do not list the times of all frames."""
    with _open_stream(path, draft.stream) as (container, stream):
        scan = Scan(stream, fraction(draft.time_base), path)
        scan.list_packets(container, draft.frames, progress)
        if not can_list(scan, draft) or _derives_times(path, draft, scan):
            return None
        timing = listed_timing(scan)
        _check(timing, path)
        facts = scanned_facts(draft, scan, timing, path, container, stream)
    progress("reading frames", facts.frames, facts.frames)
    return VideoIndex(facts=facts, pts=timing.pts, cuts=())


def _derives_times(path: Path, draft: VideoFacts, packets: Scan) -> bool:
    """Whether FFmpeg derived the presentation times of a file from the order of decoding.

    They then rise from packet to packet although frames are reordered. Decodes a few frames.
    """
    if not np.all(np.diff(packets.pts) > 0):
        return False
    with _open_stream(path, draft.stream) as (container, stream):
        places: list[int] = []
        for place, packet in enumerate(container.demux(stream)):
            packet.pts = place
            places += [int(frame.pts) for frame in decode_packet(packet) if frame.pts is not None]
            if place >= _SAMPLED_PACKETS:
                break
    return places != sorted(places)


def _index_frames(path: Path, draft: VideoFacts, progress: Progress) -> VideoIndex:
    """Index by decoding every frame."""
    with _open_stream(path, draft.stream) as (container, stream):
        stream.thread_type = "AUTO"
        scan = Scan(stream, fraction(draft.time_base), path)
        film = draft.deinterlace == "ivtc"
        cuts = scan.decode(container, stream, draft.frames, progress, film=film)
        timing = frame_timing(scan, draft)
        _check(timing, path)
        if film:
            timing = _film_timing(timing, scan, path)
        cuts = tuple(sorted({int(timing.numbers[cut]) for cut in cuts}))
        facts = scanned_facts(draft, scan, timing, path, container, stream)
    progress("finding scene cuts", facts.frames, facts.frames)
    return VideoIndex(facts=facts, pts=timing.pts, ids=timing.ids, cuts=cuts)


def _film_timing(timing: FrameTiming, scan: Scan, path: Path) -> FrameTiming:
    """The times of film frames only.

    Raises:
        SourceError: the file has no presentation times. Its frames are found by a table of all of
            them, and fields can be matched only next to frames that this table lacks.
    """
    if timing.key != "pts":
        raise SourceError(
            f"{path}: --deinterlace ivtc needs a file with presentation times.",
            path=path,
            hint="Write one without another encode: mkvmerge -o NEW.mkv FILE",
        )
    assert scan.film is not None
    return only_frames(timing, scan.film)


def _check(timing: FrameTiming, path: Path) -> None:
    """Check that there are frames, within ``limits.HOURS``.

    Raises:
        SourceError: there are none, or they span more.
    """
    if not len(timing.pts):
        raise SourceError(
            f"{path}: no frame decodes.",
            path=path,
            hint="The file is damaged or truncated; copy or download it again.",
        )
    hours = float((int(timing.pts[-1]) - int(timing.pts[0])) * timing.time_base) / 3600
    limits.HOURS.check(hours, path, "from its first frame to its last it lasts")
