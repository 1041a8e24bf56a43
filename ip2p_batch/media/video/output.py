"""Choose the output's container, and check that it can hold what a job puts into it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import OutputError, RecipeError
from ...frame import Frame
from ...jobs.spec import Encoding, VideoFacts
from . import stream_copy
from .pyav import open_input
from .segment import CODECS, Codec, SegmentWriter, segment_suffix


@dataclass(frozen=True, slots=True)
class Container:
    """A container that outputs can have.

    Attributes:
        name: FFmpeg's.
        keeps_time_base: whether it stores the source's time base; Matroska counts milliseconds.
    """

    name: str
    keeps_time_base: bool


#: Containers by the suffix of the output.
CONTAINERS: Mapping[str, Container] = {
    ".mp4": Container("mp4", keeps_time_base=True),
    ".m4v": Container("mp4", keeps_time_base=True),
    ".mov": Container("mov", keeps_time_base=True),
    ".mkv": Container("matroska", keeps_time_base=False),
    ".webm": Container("webm", keeps_time_base=False),
}


def output_suffix(source_suffix: str, encoding: Encoding) -> str:
    """Suffix of an output without a given name: the source's, if that container holds the codec."""
    containers = CODECS[encoding.codec].containers
    if source_suffix.lower() in containers:
        return source_suffix
    if source_suffix.lower() == ".gif" and ".mp4" in containers:
        return ".mp4"
    return ".mkv"  # holds every codec, and nearly every sound and subtitle format


def check_output(source: Path, output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Check before any frame is edited that the output can be written as requested.

    Encodes one black frame, then writes the output's header and first packets with it and with
    each other stream of the source, because some muxers refuse a stream only at its first packet.

    Returns:
        one line for each subtitle, data or cover stream that the container cannot hold.

    Raises:
        OutputError: the container cannot hold the codec or the sound, or is not supported.
        RecipeError: ``crf`` is out of the codec's range.
    """
    codec, suffix = CODECS[encoding.codec], output.suffix.lower()
    _check_container(output, suffix, codec, encoding)
    _check_crf(codec, encoding)
    warnings = []
    with tempfile.TemporaryDirectory(prefix="ip2p-") as folder:
        sample = _sample_segment(Path(folder), facts, encoding)
        with open_input(source) as container:
            for stream in stream_copy.copyable_streams(container, facts.stream):
                if stream_copy.container_accepts(
                    stream, source, sample, CONTAINERS[suffix].name
                ) or stream_copy.is_empty(stream, source):  # announced in the header only
                    continue
                name = stream_copy.describe(stream)
                if stream.type == "audio":
                    raise OutputError(
                        f"{output.name}: {suffix} files cannot hold the source's {name}.",
                        path=output,
                        hint="Convert the sound first: ffmpeg -i FILE -c copy -c:a flac NEW.mkv"
                        if suffix == ".mkv"
                        else f"Name the output {output.stem}.mkv, which can.",
                    )
                warnings.append(f"{suffix} files cannot hold the source's {name}; it is left out.")
    return warnings


def _check_container(output: Path, suffix: str, codec: Codec, encoding: Encoding) -> None:
    if suffix not in CONTAINERS:
        reason = f"{suffix} is not supported" if suffix else "the name has no suffix"
        raise OutputError(
            f"{output.name}: the suffix of a video must name its container, and {reason}.",
            path=output,
            hint=f"Use one of: {', '.join(CONTAINERS)}.",
        )
    if suffix not in codec.containers:
        raise OutputError(
            f"{output.name}: {suffix} files cannot hold {encoding.codec}.",
            path=output,
            hint=f"Name the output {' or '.join(codec.containers)}, or choose another --codec.",
        )


def _check_crf(codec: Codec, encoding: Encoding) -> None:
    if encoding.crf is None:
        return
    low, high = codec.crf_range
    if codec.crf is None:
        raise RecipeError(f"{encoding.codec} is lossless and takes no --crf.", hint="Remove --crf.")
    if not low <= encoding.crf <= high:
        raise RecipeError(
            f"--crf {encoding.crf} is out of range for {encoding.codec}.",
            hint=f"Use {low} to {high}; lower is better quality, {codec.crf} is the default.",
        )


def _sample_segment(folder: Path, facts: VideoFacts, encoding: Encoding) -> Path:
    path = folder / f"sample{segment_suffix(encoding)}"
    width, height = facts.upright
    with SegmentWriter(path, facts, encoding) as writer:
        writer.write(Frame(0, 0, np.zeros((height, width, 3), np.uint8)))
    return path
