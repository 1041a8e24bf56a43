"""Decide which tags of a source the output has, and in which form."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import av

from .stream_copy import content_tags
from .timecode import advanced
from .trial import REFUSALS, Target, trial
from .types import InputContainer, OutputContainer

#: Tags for which players of MP4 and MOV look under Apple's name if a file has QuickTime keys.
_APPLE_NAMES = {
    "title", "artist", "album", "author", "comment", "copyright", "description", "director",
    "genre", "keywords",
}  # fmt: skip
#: Codecs with a time code in each group of pictures, and what encoders write there by default.
_GOP_TIMECODES = {"mpeg1video", "mpeg2video"}
_ZERO_CODES = {"00:00:00:00", "00:00:00;00"}
_APPLE_PREFIX = "com.apple.quicktime."


@dataclass(frozen=True, slots=True)
class HeaderPlan:
    """Tags of the output.

    Attributes:
        tags: of the file.
        timecode: of its first frame; empty if it has none.
        options: of the muxer.
        warnings: one line for each kind of tag that is left out.
    """

    tags: Mapping[str, str]
    timecode: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def plan_headers(
    source: InputContainer, edited: int, target: Target, first_frame: int = 0
) -> HeaderPlan:
    """Decide on the tags of a source's file, and on its time code.

    Writes them to a file in memory and reads them back: containers drop what they cannot hold
    without an error.

    Args:
        edited: index of the edited stream.
        first_frame: frames of the source before the first edited one.
    """
    tags = content_tags(source.metadata, target.encoding.metadata)
    lost = _lost_tags(tags, target)
    is_reverse_domain = any("." in name for name in lost)
    if is_reverse_domain and target.container.name in ("mp4", "mov"):
        target = replace(target, options={**target.options, "movflags": "+use_metadata_tags"})
        tags |= {
            _APPLE_PREFIX + name.lower(): value
            for name, value in tags.items()
            if name.lower() in _APPLE_NAMES and _APPLE_PREFIX + name.lower() not in tags
        }
        lost = _lost_tags(tags, target)
    warnings = []
    if lost:
        named = ", ".join(sorted(lost))
        warnings.append(f"{target.suffix} files cannot hold these tags; they are left out: {named}")
    if (chapters := len(source.chapters())) and not target.container.chapters:
        warnings.append(
            f"{target.suffix} files cannot hold chapters; the source's {chapters} are left out."
        )
    code = source_timecode(source, edited) if target.encoding.metadata != "none" else ""
    kept = advanced(code, first_frame, target.rate) if code else ""
    if code and not (kept and _holds_timecode(kept, target)):
        kept = ""
        warnings.append(
            f"The source's timecode {code} is left out: {target.suffix} files cannot hold it at "
            f"{float(target.rate):.5g} frames per second."
        )
    return HeaderPlan(tags, kept or "", target.options, tuple(warnings))


def source_timecode(source: InputContainer, edited: int) -> str:
    """The time code of a source's first frame; empty without one."""
    stream = source.streams[edited]
    for tags in (stream.metadata, source.metadata):
        for name, value in tags.items():
            if name.lower() == "timecode":
                is_default = value in _ZERO_CODES and stream.codec_context.name in _GOP_TIMECODES
                return "" if is_default else value
    return ""


def _lost_tags(tags: Mapping[str, str], target: Target) -> list[str]:
    """Names of tags that are not in a file of the target's kind after they were written."""
    memory = io.BytesIO()
    try:
        with trial(target, memory) as attempt:
            attempt.file.metadata.update(tags)
            for packet in attempt.packets:
                attempt.file.mux(packet)
        written = {name.lower() for name in _tags_of(memory)}
    except REFUSALS:
        return sorted(tags)
    return [name for name in tags if name.lower() not in written]


def _holds_timecode(code: str, target: Target) -> bool:
    """Whether a file of the target's kind has a time code after it was written."""
    memory = io.BytesIO()
    try:
        with trial(target, memory) as attempt:
            write_timecode(attempt.file, attempt.video.metadata, code)
            for packet in attempt.packets:
                attempt.file.mux(packet)
        return "timecode" in {name.lower() for name in _tags_of(memory)}
    except REFUSALS:
        return False


def write_timecode(file: OutputContainer, video_tags: dict[str, str], code: str) -> None:
    """Set the time code of a file that has no header yet.

    MOV and MP4 make a track of the tag of the video, MXF and Matroska have it as the file's.
    """
    if file.format.name in ("mov", "mp4"):
        video_tags["timecode"] = code
    else:
        file.metadata["timecode"] = code


def _tags_of(memory: io.BytesIO) -> dict[str, str]:
    memory.seek(0)
    with av.open(memory) as file:
        container = cast(InputContainer, file)
        tags = dict(container.metadata)
        for stream in container.streams:
            tags |= {name: value for name, value in stream.metadata.items() if name == "timecode"}
        return tags
