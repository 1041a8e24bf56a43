"""High dynamic range of videos: its metadata, and the conversions between HDR and SDR frames."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
from av.sidedata.sidedata import Type

from ...errors import OutputError, RecipeError
from ...frame import FullImage
from ...jobs.coding import Encoding, HdrChoice
from ...jobs.video_facts import ColorFacts, HdrFacts, VideoFacts
from ..depth import Samples16, to_8_bits, to_16_bits
from ..hdr.curves import HLG, PQ
from ..hdr.tone import DEFAULT_PEAK, ToneMap, tone_map
from .codecs import codec_name, codec_of
from .pixel_formats import format_depth
from .result_format import pixel_format
from .types import VideoFrame

#: Names of dynamic ranges by H.273 code of the transfer characteristics.
NAMES = {PQ: "HDR10 (PQ)", HLG: "HDR (HLG)"}
_BT2020 = 9
#: AVMasteringDisplayMetadata: x and y of red, green, blue and white, lowest and highest light, as
#: fractions, and whether each group is there.
_MASTERING, _LIGHT = struct.Struct("=22i"), struct.Struct("=2I")
_SDR = ColorFacts(matrix=1, primaries=1, transfer=1, tagged=True)


def hdr_facts(frame: VideoFrame, color: ColorFacts, choice: HdrChoice) -> HdrFacts | None:
    """How an HDR video is read; None for SDR.

    The peak of the tone curve is the maximum light level of the content, else the mastering
    display's, else 1000 cd/m2.

    Args:
        frame: the first one, which has the metadata of the file.
        choice: of :class:`Decoding`.
    """
    if color.transfer not in NAMES:
        return None
    display = _mastering_display(frame)
    content, average = _light_levels(frame)
    return HdrFacts(
        choice=choice,
        peak=content or (display[8] / 10_000 if display else 0) or DEFAULT_PEAK,
        mastering_display=display,
        light_levels=(content, average),
        dynamic=frame.side_data.get(Type.DYNAMIC_HDR_PLUS) is not None,
    )


def _mastering_display(frame: VideoFrame) -> tuple[int, ...]:
    data = frame.side_data.get(Type.MASTERING_DISPLAY_METADATA)
    if data is None or len(bytes(data)) < _MASTERING.size:
        return ()
    *numbers, has_primaries, has_light = _MASTERING.unpack(bytes(data)[: _MASTERING.size])
    if not (has_primaries and has_light) or not all(numbers[1::2]):
        return ()
    values = [n / d for n, d in zip(numbers[::2], numbers[1::2], strict=True)]
    red, green, blue, white = values[0:2], values[2:4], values[4:6], values[6:8]
    low, high = values[8:10]
    points = [round(50_000 * value) for value in (*green, *blue, *red, *white)]
    return (*points, round(10_000 * high), round(10_000 * low))


def _light_levels(frame: VideoFrame) -> tuple[int, int]:
    data = frame.side_data.get(Type.CONTENT_LIGHT_LEVEL)
    if data is None or len(bytes(data)) < _LIGHT.size:
        return (0, 0)
    content, average = _LIGHT.unpack(bytes(data)[: _LIGHT.size])
    return content, average


def mapping(facts: VideoFacts) -> ToneMap:
    """The conversions between a video's HDR samples and SDR."""
    assert facts.hdr is not None
    return tone_map(facts.color.transfer, facts.color.primaries, facts.hdr.peak)


def from_hdr(image: Samples16, facts: VideoFacts, *, deep: bool) -> FullImage:
    """HDR samples as the reader gives them: SDR, or toned samples where HDR is kept.

    Args:
        deep: return SDR as uint16 instead of uint8.
    """
    toned = mapping(facts).tone(np.ascontiguousarray(image))
    if facts.keeps_hdr:
        return toned
    sdr = mapping(facts).to_sdr(toned)
    return sdr if deep else to_8_bits(sdr)


def to_hdr(image: FullImage, facts: VideoFacts) -> Samples16:
    """Toned samples as HDR ones; see :mod:`ip2p_batch.media.hdr.tone`."""
    return mapping(facts).expand(np.ascontiguousarray(to_16_bits(image)))


def shown(image: FullImage, facts: VideoFacts) -> FullImage:
    """The reader's samples as the model sees them: SDR."""
    return mapping(facts).to_sdr(cast(Samples16, image)) if facts.keeps_hdr else image


def output_color(facts: VideoFacts, encoding: Encoding) -> ColorFacts:
    """The colour description in which results are written."""
    is_tone_mapped = facts.hdr is not None and not facts.keeps_hdr
    color, codec = (_SDR if is_tone_mapped else facts.color), codec_of(encoding)
    if not codec.matrices:
        return color
    matrix = color.matrix if color.matrix in codec.matrices else codec.matrices[0]
    return msgspec.structs.replace(color, matrix=matrix, full_range=False)


def encoder_options(facts: VideoFacts, encoder: str) -> dict[str, str]:
    """Parameters by which an encoder writes the metadata of an HDR result.

    Returns:
        at most one option, to be joined with ``:`` to others of its name.
    """
    if facts.hdr is None or not facts.keeps_hdr:
        return {}
    display, (content, average) = facts.hdr.mastering_display, facts.hdr.light_levels
    has_light = bool(content or average)
    if encoder in ("libx265", "libx264"):
        parts = []
        if display:
            name = "master-display" if encoder == "libx265" else "mastering-display"
            parts.append(f"{name}=" + "G({},{})B({},{})R({},{})WP({},{})L({},{})".format(*display))
        if has_light:
            name = "max-cll" if encoder == "libx265" else "cll"
            parts.append(f"{name}={content},{average}")
        return {f"{encoder[3:]}-params": ":".join(parts)} if parts else {}
    if encoder == "libsvtav1":
        parts = []
        if display:
            values = [n / 50_000 for n in display[:8]] + [n / 10_000 for n in display[8:]]
            text = "G({:.5f},{:.5f})B({:.5f},{:.5f})R({:.5f},{:.5f})WP({:.5f},{:.5f})"
            parts.append("mastering-display=" + (text + "L({:.4f},{:.4f})").format(*values))
        if has_light:
            parts.append(f"content-light={content},{average}")
        return {"svtav1-params": ":".join(parts)} if parts else {}
    return {}


def check_hdr(output: Path, facts: VideoFacts, encoding: Encoding) -> list[str]:
    """Check that the result can be HDR where it is to be; notes on what becomes of HDR.

    Raises:
        RecipeError: the codec writes 8 bits.
        OutputError: the container does not name the transfer characteristics.
    """
    if facts.hdr is None:
        return []
    name = NAMES[facts.color.transfer]
    if not facts.keeps_hdr:
        return [
            f"{name} becomes SDR (BT.709) by the tone curve of BT.2390, with a peak of "
            f"{facts.hdr.peak:g} cd/m2; --hdr keep keeps it."
        ]
    pix_fmt = pixel_format(facts, encoding)
    if format_depth(pix_fmt) < 10:
        raise RecipeError(
            f"{codec_name(encoding)} in {pix_fmt} has 8 bits a sample; HDR needs 10.",
            hint="Use --codec hevc, av1, prores or ffv1, or --hdr tonemap.",
        )
    if output.suffix.lower() == ".avi":
        raise OutputError(
            f"{output.name}: .avi files do not say that a video is HDR.",
            path=output,
            hint=f"Name the output {output.stem}.mkv, or use --hdr tonemap.",
        )
    notes = []
    has_metadata = facts.hdr.mastering_display or any(facts.hdr.light_levels)
    if has_metadata and not encoder_options(facts, codec_of(encoding).encoder):
        notes.append(
            f"{codec_name(encoding)} results do not have the source's mastering display and light "
            "levels; --codec hevc and av1 keep them."
        )
    if facts.hdr.dynamic:
        notes.append("Dynamic metadata (HDR10+) is left out; it describes the unedited frames.")
    return notes
