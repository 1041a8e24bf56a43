"""Choose the output's container, and check that it can hold what a job puts into it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import av
import msgspec
import numpy as np

from ...errors import OutputError, RecipeError, SourceError
from ...frame import Frame
from ...jobs.coding import Encoding, VideoCodec
from ...jobs.video_facts import VideoFacts
from ...storage.sequence import is_unknown_sequence
from . import stream_copy
from .animated_input import open_input
from .animated_output import (
    ANIMATIONS,
    animated_format,
    check_animation,
    segment_encoding,
)
from .codecs import CODECS, Codec, codec_name, codec_of, segment_suffix
from .containers import CONTAINERS
from .header_plan import plan_headers
from .pixel_formats import chroma_name, chroma_share, format_depth, has_alpha
from .pyav import MEDIA_ERRORS, fraction
from .result_format import allowed_formats, keeps_alpha, keeps_captions, keeps_fields, pixel_format
from .segment import SegmentWriter
from .spatial_notes import shape_notes, spatial_notes
from .stream_plan import plan_streams
from .timestamps import Times
from .trial import target_for
from .types import OutputContainer

#: Suffixes of image sequences, in a message.
FRAME_SUFFIXES = ".png, .jpg, .tif, .dpx, .exr, .webp, .avif or .bmp"
#: Default codecs that do not write small frames, and what replaces them.
_FOR_SMALL_FRAMES: Mapping[VideoCodec, VideoCodec] = {"av1": "vp9", "dnxhr": "prores"}

#: Containers with times for the codecs of those without.
_WITH_TIMES = {".mxf": ".mov", ".avi": ".mkv"}


def output_suffix(source_suffix: str, encoding: Encoding) -> str:
    """Suffix of an output without a given name: the source's, if that container holds the codec."""
    suffix = source_suffix.lower()
    if suffix in ANIMATIONS and encoding.codec is None:
        return source_suffix
    own = CONTAINERS.get(suffix)
    if (
        own
        and own.is_default
        and (encoding.codec is None or suffix in codec_of(encoding).containers)
    ):
        return source_suffix
    if suffix == ".gif" and ".mp4" in codec_of(encoding).containers:
        return ".mp4"
    # Matroska holds nearly every codec, sound and subtitle format.
    return ".mkv" if ".mkv" in codec_of(encoding).containers else codec_of(encoding).containers[0]


def resolved_encoding(output: Path, facts: VideoFacts, encoding: Encoding) -> Encoding:
    """The encoding with its codec and pixel format, chosen where it names none.

    Args:
        output: its suffix decides; one without a container is refused by :func:`check_output`.
    """
    codec = encoding.codec
    if codec is None and animated_format(output) is not None:
        return segment_encoding(output, facts, encoding)
    if codec is None:
        container = CONTAINERS.get(output.suffix.lower(), CONTAINERS[".mp4"])
        codec = (facts.has_alpha and container.alpha_codec) or container.codec
        least = CODECS[codec].min_size
        if facts.upright[0] < least[0] or facts.upright[1] < least[1]:
            codec = _FOR_SMALL_FRAMES.get(codec, codec)
        if codec == "h264" and facts.keeps_hdr and min(facts.upright) >= 64:
            codec = "hevc"  # few players show HDR in H.264
    chosen = msgspec.structs.replace(encoding, codec=codec)
    return msgspec.structs.replace(chosen, pixel_format=pixel_format(facts, chosen))


def alpha_notes(output: Path, facts: VideoFacts, requested: Encoding) -> list[str]:
    """Notes on what becomes of the source's transparency.

    Args:
        requested: the encoding before :func:`resolved_encoding`.
    """
    if not facts.has_alpha or animated_format(output) is not None:
        return []
    chosen = resolved_encoding(output, facts, requested)
    if keeps_alpha(facts, chosen):
        if requested.codec is None:
            return [f"The source is transparent, so the result is {codec_name(chosen)}."]
        return []
    suffix = output.suffix.lower()
    container = CONTAINERS.get(suffix)
    if requested.pixel_format is not None and codec_of(chosen).alpha_pix_fmts:
        fix = f"--pix-fmt {pixel_format(facts, Encoding(codec=chosen.codec))} keeps it"
    elif container is not None and container.alpha_codec:
        fix = f"--codec {container.alpha_codec} keeps it"
    else:
        stem = output.stem
        fix = f"-o {stem}.mov (ProRes 4444), {stem}.webm (VP9) or {stem}.mkv (FFV1) keeps it"
    return [
        f"The source's transparency is not kept in {suffix} files of {codec_name(chosen)}; {fix}."
    ]


def format_notes(facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on chroma resolution that the result does not have.

    GIF is left out: each frame has 256 colours of any kind, and its players know nothing else.
    """
    result = pixel_format(facts, encoding)
    if facts.codec == "gif" or chroma_share(result) >= chroma_share(facts.pix_fmt):
        return []
    finer = [
        name
        for name in allowed_formats(facts, encoding)
        if chroma_share(name) >= chroma_share(facts.pix_fmt)
        and has_alpha(name) >= has_alpha(result)
        and format_depth(name) >= min(facts.bit_depth, format_depth(result))
    ]
    finer.sort(key=lambda name: (chroma_share(name), format_depth(name)))
    others = "--codec prores (.mov) and ffv1 (.mkv) keep it"
    choice = f"--pix-fmt {finer[0]} keeps it" if finer else others
    if finer and codec_name(encoding) in ("h264", "hevc"):
        choice += ", in files that few phones, TVs and browsers play"
    return [
        f"The source's {chroma_name(facts.pix_fmt)} colour resolution becomes "
        f"{chroma_name(result)}; {choice}."
    ]


def odd_size_notes(facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on frames with an odd side, whose chroma H.264 and HEVC cannot halve."""
    width, height = facts.upright
    name = codec_name(encoding)
    halves = chroma_share(pixel_format(facts, encoding)) < 1
    if name.split("_")[0] not in ("h264", "hevc") or halves or not (width % 2 or height % 2):
        return []
    note = (
        f"Frames of {width}x{height} have an odd side, so {name} results have 4:4:4 chroma, which "
        "few phones, TVs and browsers play; --codec av1 keeps the size in 4:2:0"
    )
    if min(width, height) > 1:  # a side of 1 has nothing to crop
        even = f"{width - width % 2}:{height - height % 2}"
        note += (
            f", or crop the source first: ffmpeg -i FILE -vf crop={even}:0:0 -crf 12 -c:a copy "
            "NEW.mkv"
        )
    return [note]


def field_notes(facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on the fields of interlaced video that is edited as it is."""
    if facts.deinterlace != "off" or not facts.interlaced:
        return []
    if facts.kept_field_order is None:
        return ["Turned interlaced video has no fields; omit --deinterlace off for best results."]
    if not keeps_fields(encoding):
        return [
            f"{codec_name(encoding)} results are not flagged as interlaced, so players do not "
            "deinterlace them; --codec h264, prores and ffv1 keep the flags."
        ]
    return []


def caption_notes(facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on closed captions that the result does not have."""
    if not facts.has_captions or keeps_captions(facts, encoding):
        return []
    how = (
        "inverse telecine garbles them"
        if facts.deinterlace == "ivtc"
        else "--codec h264 and hevc keep them"
    )
    return [f"The closed captions (CEA-608/708) in the source's frames are left out; {how}."]


def output_name(source: Path, encoding: Encoding) -> str:
    """Name of an output in another folder than its source's: ``clip.avi`` -> ``clip.mkv``."""
    return source.stem + output_suffix(source.suffix, encoding)


def check_output(source: Path, output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Check before any frame is edited that the output can be written as requested.

    Encodes one black frame, then writes the output's header and first packets with it and with
    each other stream of the source, because some muxers refuse a stream only at its first packet.

    Returns:
        one line for each stream that is converted or left out, and for tags that are left out.

    Raises:
        OutputError: the container is not supported, or cannot hold the codec, or the sound as
            ``encoding`` requests it; the encoder cannot start.
        RecipeError: ``crf`` is out of the codec's range, or the codec does not have this pixel
            format.
    """
    if animated_format(output) is not None:
        return check_animation(source, output, facts, encoding)
    codec, suffix = codec_of(encoding), output.suffix.lower()
    _check_container(output, suffix, codec, encoding)
    _check_crf(codec, encoding)
    _check_pixel_format(facts, encoding)
    with tempfile.TemporaryDirectory(prefix="ip2p-") as folder:
        sample = _sample_segment(Path(folder), facts, encoding)
        if CONTAINERS[suffix].counts_frames:
            _check_rate(output, sample, facts)
        # Image files have no other streams, and neither has a segment.
        with open_input(sample if facts.is_sequence else source) as container:
            target = target_for(output, suffix, facts, encoding, sample)
            headers = plan_headers(container, facts.stream, target)
            target = replace(target, options=headers.options)
            plans = plan_streams(container, facts.stream, target)
        shape = [*spatial_notes(target), *shape_notes(target, facts)]
    return [*(plan.warning for plan in plans if plan.warning), *headers.warnings, *shape]


def _check_container(output: Path, suffix: str, codec: Codec, encoding: Encoding) -> None:
    if suffix not in CONTAINERS:
        reason = f"{suffix} is not supported" if suffix else "the name has no suffix"
        raise OutputError(
            f"{output.name}: the suffix of a video must name its container, and {reason}.",
            path=output,
            hint=f"Use one of: {', '.join((*CONTAINERS, *ANIMATIONS))}."
            + (f" Image sequences are {FRAME_SUFFIXES}." if is_unknown_sequence(output) else ""),
        )
    if suffix not in codec.containers:
        raise OutputError(
            f"{output.name}: {suffix} files cannot hold {codec_name(encoding)}.",
            path=output,
            hint=f"Name the output {' or '.join(codec.containers)}, or choose another --codec.",
        )


def _check_crf(codec: Codec, encoding: Encoding) -> None:
    if encoding.crf is None:
        return
    low, high = codec.crf_range
    name = codec_name(encoding)
    if codec.crf is None:
        raise RecipeError(
            f"{name} has one quality and takes no --crf.", hint="Remove --crf, or use --codec hevc."
        )
    if not low <= encoding.crf <= high:
        raise RecipeError(
            f"--crf {encoding.crf} is out of range for {name}.",
            hint=f"Use {low} to {high}; lower is better quality, {codec.crf} is the default.",
        )


def _check_pixel_format(facts: VideoFacts, encoding: Encoding) -> None:
    name, choices = encoding.pixel_format, allowed_formats(facts, encoding)
    if name is None or name in choices:
        return
    width, height = facts.upright
    odd = f" of {width}x{height}" if name in codec_of(encoding).choices else ""
    raise RecipeError(
        f"{codec_name(encoding)} cannot write frames{odd} in the pixel format {name!r}.",
        hint=f"Use one of: {', '.join(choices)}.",
    )


def _check_rate(output: Path, sample: Path, facts: VideoFacts) -> None:
    """Write a header: MXF holds the frame rates of television only."""
    rate, suffix = fraction(facts.frame_rate), output.suffix.lower()
    try:
        with (
            open_input(sample) as segment,
            av.open(io.BytesIO(), "w", format=CONTAINERS[suffix].name) as memory,
        ):
            target = cast(OutputContainer, memory)
            video = stream_copy.add_stream(target, segment.streams.video[0])
            stream_copy.set_rate(video, rate, counts_frames=True)
            for packet in segment.demux(segment.streams.video[0]):
                if packet.size:
                    packet.stream = video
                    target.mux(packet)
    except (SourceError, *MEDIA_ERRORS) as error:  # open_input raises SourceError for any
        raise OutputError(
            f"{output.name}: {suffix} files cannot hold video of {float(rate):.5g} frames a second "
            f"and {facts.upright[0]}x{facts.upright[1]} pixels.",
            path=output,
            hint=f"Name the output {output.stem}{_WITH_TIMES[suffix]}.",
        ) from error


def check_times(output: Path, facts: VideoFacts, times: Times) -> None:
    """Check that the container can store the times of the frames.

    Args:
        times: of the edited frames, in ticks of the source's time base.

    Raises:
        OutputError: it stores a constant rate only, and the frames do not have one.
    """
    suffix = output.suffix.lower()
    if suffix in ANIMATIONS or not CONTAINERS[suffix].counts_frames:
        return
    per_tick = float(fraction(facts.time_base) * fraction(facts.frame_rate))
    places = (times - times[0]) * per_tick
    if np.abs(places - np.arange(len(times))).max(initial=0) >= 0.5:
        raise OutputError(
            f"{output.name}: {suffix} files hold frames at a constant rate only, and the source's "
            "rate changes.",
            path=output,
            hint=f"Name the output {output.stem}{_WITH_TIMES[suffix]}.",
        )


def _sample_segment(folder: Path, facts: VideoFacts, encoding: Encoding) -> Path:
    path = folder / f"sample{segment_suffix(encoding)}"
    width, height = facts.upright
    with SegmentWriter(path, facts, encoding) as writer:
        writer.write(Frame(0, 0, np.zeros((height, width, 3), np.uint8)))
    return path
