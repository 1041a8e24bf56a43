"""Facts about a video: from its headers and first frame, then corrected by a scan of all of it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import msgspec

from ...errors import SourceError
from ...jobs.coding import Decoding
from ...jobs.grouping import counted
from ...jobs.video_facts import VideoFacts
from . import color
from .alpha import announces_alpha, frame_has_alpha
from .animated_input import plays_of
from .crop import container_crop
from .ending import find_ending, header_end
from .fields import FieldCounter
from .frame_rate import average_rate
from .frame_timing import ELEMENTARY, FrameTiming
from .hdr import hdr_facts
from .orientation import orientation
from .pyav import fraction, ratio
from .remux import copy_command, retime_command
from .scan import Scan
from .spatial import spatial_facts
from .types import InputContainer, Stream, VideoFrame

#: Bytes of video above which reading a file from its beginning for each chunk is slow.
_SLOW_BYTES = 500_000_000
#: Seconds by which sound may start before the first frame; above, its clock is another one.
_LONGEST_LEAD = 3600
#: Frame rate of headers that name none, as a fraction.
_DEFAULT_RATE = (25, 1)


def header_facts(
    container: InputContainer,
    stream: Stream,
    frame: VideoFrame,
    path: Path,
    decoding: Decoding,
    container_tags: color.Tags,
) -> VideoFacts:
    """Facts from the headers and the first decoded frame; counts are the header's, unchecked.

    Args:
        decoding: how the file is read.
        container_tags: the container's, where the frame states nothing.

    Raises:
        SourceError: a colour matrix without a conversion.
    """
    time_base = ratio(stream.time_base, (1, 1000))
    rates = stream.average_rate, stream.guessed_rate
    if container.format.name in ELEMENTARY:  # the average is FFmpeg's default
        rates = rates[::-1]
    rate = ratio(rates[0], ratio(rates[1], _DEFAULT_RATE))
    sar = ratio(stream.sample_aspect_ratio, (1, 1))
    duration = float(header_end(stream) or 0)
    rotation, mirrored = orientation(frame)
    tags = color.frame_tags(frame, stream.codec_context.name).or_else(container_tags)
    colors = color.color_facts(frame, path, tags)
    fields = FieldCounter()
    fields.feed(frame)
    crop = container_crop(path, container.format.name, stream.index, (frame.width, frame.height))
    return VideoFacts(
        stream=stream.index,
        width=frame.width - crop[0] - crop[2],
        height=frame.height - crop[1] - crop[3],
        crop=crop,
        rotation=rotation,
        mirrored=mirrored,
        sar=sar if min(sar) > 0 else (1, 1),
        time_base=time_base,
        frame_rate=rate,
        frames=stream.frames or round(duration * rate[0] / rate[1]),
        duration=duration,
        codec=stream.codec_context.name,
        container=container.format.name,
        pix_fmt=frame.format.name,
        bit_depth=max((component.bits for component in frame.format.components), default=8),
        interlaced=fields.interlaced,
        field_order=fields.order,
        deinterlace=decoding.deinterlace,
        has_alpha=frame_has_alpha(frame) or announces_alpha(stream),
        color=colors,
        hdr=hdr_facts(frame, colors, decoding.hdr),
        spatial=spatial_facts(frame),
        plays=plays_of(container),
        audio_streams=len(container.streams.audio),
        subtitle_streams=len(container.streams.subtitles),
    )


def scanned_facts(
    draft: VideoFacts,
    scan: Scan,
    timing: FrameTiming,
    path: Path,
    container: InputContainer,
    stream: Stream,
) -> VideoFacts:
    """Replace the header's counts by those of a scan, and add notes for the user.

    Args:
        draft: see :func:`header_facts`.
        scan: of the whole file.
        timing: of all frames, at least one.

    Raises:
        SourceError: the dynamic range changes within the video.
    """
    if scan.was_decoded:
        draft = _with_fields(draft, scan)
    draft = msgspec.structs.replace(draft, has_captions=scan.has_captions)
    base, pts, header_rate = timing.time_base, timing.pts, fraction(draft.frame_rate)
    if scan.film is not None:
        header_rate *= Fraction(4, 5)
    is_guess = draft.frame_rate == _DEFAULT_RATE and scan.film is None
    rate = average_rate(pts, base, header_rate, is_guess=is_guess)
    ending = find_ending(scan, timing, rate, path, container, stream)
    cut_off = round(ending.missing_seconds * float(rate))
    notes = [*draft.notes, *_timestamp_notes(timing, rate)]
    if timing.undecoded:
        frames = counted(timing.undecoded, "damaged frame")
        notes.append(f"Left out: {frames}, not decodable; the others are edited.")
    if cut_off:
        notes.append(
            f"The file is truncated: its end lacks about "
            f"{counted(cut_off, 'frame')} ({ending.missing_seconds:.1f} s); the result has "
            f"{counted(len(pts), 'frame')}."
        )
    notes += _content_notes(draft, scan, timing) + _color_notes(draft, scan, timing, path)
    return msgspec.structs.replace(
        draft,
        time_base=(base.numerator, base.denominator),
        frame_key=timing.key,
        frames=len(pts),
        missing=timing.undecoded + cut_off,
        duration=round(float((int(pts[-1]) - int(pts[0]) + ending.last_ticks) * base), 6),
        last_ticks=ending.last_ticks,
        is_joined=timing.restarts > 0 or scan.sound_goes_back,
        lead_ticks=_lead_ticks(scan, int(pts[0]), base),
        frame_rate=(rate.numerator, rate.denominator),
        notes=tuple(notes),
    )


def _timestamp_notes(timing: FrameTiming, rate: Fraction) -> list[str]:
    """Notes on timestamps that repeat or go back, as where two recordings were joined."""
    fix = f"`{retime_command(rate)}` gives each frame its own time"
    if timing.repeated:
        return [
            f"Left out: {counted(timing.repeated, 'frame')} with the timestamp of another frame; "
            f"{fix}."
        ]
    if timing.restarts:
        return ["The clock begins again within the video; its parts follow each other."]
    if timing.goes_back:
        return [f"The video's timestamps go back, so frames may be out of order; {fix}."]
    return []


def _content_notes(draft: VideoFacts, scan: Scan, timing: FrameTiming) -> list[str]:
    """Notes on what editing does not keep or handle."""
    notes = []
    if scan.damaged:
        notes.append(f"{counted(scan.damaged, 'damaged frame')} may show artifacts.")
    if len(scan.sizes) > 1:
        notes.append(
            "The frame size changes within the video; all frames are scaled to the first size, "
            f"{draft.width}x{draft.height}."
        )
    if timing.key == "order" and scan.bytes > _SLOW_BYTES:
        notes.append(
            "The file cannot be searched by time, so each chunk reads it from its beginning; "
            f"`{copy_command(draft.container)}` makes a faster source."
        )
    notes += _field_notes(draft, scan)
    return notes


def _lead_ticks(scan: Scan, first: int, base: Fraction) -> int:
    """Ticks by which sound starts before the first frame, at ``first``; 0 if it does not."""
    if scan.sound_start is None:
        return 0
    lead = first * base - scan.sound_start
    return math.ceil(lead / base) if 0 < lead <= _LONGEST_LEAD else 0


def _with_fields(draft: VideoFacts, scan: Scan) -> VideoFacts:
    """Add the fields of all frames; without interlaced ones there is nothing to deinterlace."""
    interlaced = scan.fields.interlaced
    return msgspec.structs.replace(
        draft,
        interlaced=interlaced,
        field_order=scan.fields.order,
        deinterlace="off" if draft.deinterlace == "auto" and not interlaced else draft.deinterlace,
    )


def _color_notes(draft: VideoFacts, scan: Scan, timing: FrameTiming, path: Path) -> list[str]:
    """Notes on colours that change within the video; matrix and range are converted by frames.

    Raises:
        SourceError: the dynamic range changes.
    """
    own = draft.color
    primaries = {own.primaries}
    for tags, shown in scan.colors.items():
        then, now = (color.dynamic_range(code) for code in (own.transfer, tags.transfer))
        if tags.transfer and now != then:
            ticks = int(timing.pts[timing.numbers[shown]]) - int(timing.pts[0])
            seconds = float(ticks * timing.time_base)
            raise SourceError(
                f"{path}: it is {then} at first, and {now} from {seconds:.2f} s on; one result "
                "has one dynamic range.",
                path=path,
                hint="Cut it there, and edit the parts: ffmpeg -i FILE -t "
                f"{seconds:.2f} -c copy FIRST.mkv; ffmpeg -ss {seconds:.2f} -i FILE -c copy "
                "SECOND.mkv",
            )
        primaries.add(tags.primaries or own.primaries)
    if len(primaries) > 1:
        return ["The colour primaries change within the video; the result has those of the start."]
    return []


def _field_notes(draft: VideoFacts, scan: Scan) -> list[str]:
    """Notes on what becomes of interlaced frames."""
    if draft.deinterlace == "ivtc":
        return [
            "Film frames are made from the fields of telecined video (fieldmatch, decimate): "
            f"{0 if scan.film is None else len(scan.film)} of {len(scan.shown)} frames."
        ]
    if not draft.interlaced:
        return []
    if draft.deinterlace == "auto":
        return ["Interlaced frames are deinterlaced (bwdif); --deinterlace off keeps their fields."]
    return ["Interlaced video is edited as it is; the model is made for progressive frames."]
