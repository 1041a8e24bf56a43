"""Plan a result that is an image sequence: its format, and what of the source it does not hold.

The chunks of such a job are encoded losslessly, as FFV1 in RGB; at the end each frame becomes a
file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ...errors import OutputError, RecipeError
from ...jobs.coding import Encoding
from ...jobs.video_facts import VideoFacts
from ...storage.sequence import is_sequence
from ..images.formats import READ_ONLY, SUFFIXES, WRITTEN_AS, format_suffix, size_error
from ..video import output as video_output
from ..video.codecs import CODECS
from ..video.pixel_formats import format_depth, is_rgb
from ..video.pyav import fraction


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """What a format of frames can hold.

    Attributes:
        bits: most bits per sample.
        has_alpha: whether it holds opacity.
    """

    bits: int = 8
    has_alpha: bool = True


FORMATS: Mapping[str, FrameFormat] = {
    "png": FrameFormat(16), "tiff": FrameFormat(16), "dpx": FrameFormat(16),
    "exr": FrameFormat(16), "jpeg": FrameFormat(8, has_alpha=False), "webp": FrameFormat(),
    "avif": FrameFormat(), "bmp": FrameFormat(8, has_alpha=False),
}  # fmt: skip


def format_of(path: Path) -> str | None:
    """Name of the format of frames with this suffix; None if it is not written."""
    suffix = path.suffix.lower()
    return suffix[1:] if suffix in (".dpx", ".exr") else SUFFIXES.get(suffix)


def output_name(source: Path, encoding: Encoding) -> str:
    """Name of the result in another folder than its source's, of a video or an image sequence.

    A sequence becomes one, with the same pattern: ``f_%05d.heic`` -> ``f_%05d.jpg``. With a codec,
    it becomes a video named after its folder.
    """
    if not is_sequence(source):
        return video_output.output_name(source, encoding)
    if encoding.codec is not None:
        return video_output.output_name(source.parent / f"{source.parent.name}.mkv", encoding)
    if format_of(source) is not None:
        return source.name
    own = READ_ONLY[source.suffix.lower()]
    return source.with_suffix(format_suffix(WRITTEN_AS[own])).name


def default_output(source: Path, encoding: Encoding) -> Path:
    """``shot/f_%05d.png`` -> ``shot-edited/f_%05d.png``, or a video ``shot-edited.mkv``.

    Raises:
        OutputError: the sequence is in the root of a file system.
    """
    folder, name = source.parent, output_name(source, encoding)
    if not folder.name:
        raise OutputError(
            f"{folder} has no name to make one for the output from.",
            path=source,
            hint="Name the results with -o, such as -o edited/f_%05d.png.",
        )
    if encoding.codec is not None:
        return folder.with_name(f"{folder.name}-edited{Path(name).suffix}")
    return folder.with_name(f"{folder.name}-edited") / name


def plan_sequence(output: Path, facts: VideoFacts, encoding: Encoding) -> Encoding:
    """The encoding of the chunks of a job whose result is a sequence.

    Raises:
        OutputError: the format is not written, or does not hold frames of this size.
        RecipeError: an option is for video files.
    """
    name = format_of(output)
    if name is None:
        raise OutputError(
            f"{output.name}: frames cannot be written as {output.suffix}.",
            path=output,
            hint=f"Use {video_output.FRAME_SUFFIXES}.",
        )
    width, height = facts.upright
    if reason := size_error(width, height, name):
        raise OutputError(f"{output.name}: {reason}.", path=output, hint="Use .png or .tif.")
    for option, value in (
        ("--codec", encoding.codec), ("--crf", encoding.crf), ("--pix-fmt", encoding.pixel_format)
    ):  # fmt: skip
        if value is not None:
            raise RecipeError(
                f"{option} is for video files, and {output.name} is an image sequence.",
                hint=f"Omit {option}; the suffix of -o decides the format of frames.",
            )
    if facts.keeps_hdr:
        raise RecipeError(
            "Image sequences are written in SDR.", hint="Omit --hdr keep, or write a video."
        )
    return msgspec.structs.replace(encoding, codec="ffv1", pixel_format=_pixel_format(name, facts))


def _pixel_format(name: str, facts: VideoFacts) -> str:
    """The format of FFV1 that holds what the source has and the frames can hold."""
    codec = CODECS["ffv1"]
    depth = facts.result_depth
    if depth > 8 and not is_rgb(facts.pix_fmt):
        depth += 2  # Y'CbCr of n bits is exact in R'G'B' of n + 2
    depth = min(depth, FORMATS[name].bits)
    choices = codec.alpha_pix_fmts if facts.has_alpha else codec.pix_fmts
    return next((f for f in choices if format_depth(f) >= depth), choices[-1])


def sequence_notes(output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Notes on what image files do not hold."""
    name = format_of(output) or ""
    notes = []
    if facts.has_alpha and not FORMATS[name].has_alpha:
        notes.append(
            f"{name.upper()} frames have no transparency; transparent pixels are blended with"
            " white. .png, .tif and .exr keep it."
        )
    if name == "exr" and facts.codec != "exr":
        notes.append("EXR frames are linear light with the primaries of BT.709, in half floats.")
    if facts.codec == "exr":
        notes.append("Attributes of EXR frames, such as time code and camera, are not kept.")
    if facts.is_sequence:
        return notes
    notes += _lost_streams(facts, encoding)
    rate = fraction(facts.frame_rate)
    shown = f"{rate}" if rate.denominator == 1 else f"{float(rate):.3f} ({rate})"
    notes.append(f"Image files hold no times; play the sequence at {shown} frames per second.")
    if facts.upright_sar != (1, 1):
        across, down = facts.upright_sar
        notes.append(f"Image files do not say that pixels have the aspect ratio {across}:{down}.")
    if facts.kept_field_order is not None:
        notes.append("Image files do not say that frames are interlaced.")
    return notes


def _lost_streams(facts: VideoFacts, encoding: Encoding) -> list[str]:
    sound = 0 if encoding.audio == "none" else facts.audio_streams
    counts = ((sound, "audio stream"), (facts.subtitle_streams, "subtitle stream"))
    lost = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count]
    lost += ["closed captions"] if facts.has_captions else []
    lost.append("metadata")
    return [f"An image sequence does not hold the source's {_listed(lost)}."]


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
