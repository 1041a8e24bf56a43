"""The pixel format of results, and what of the source they keep by it."""

from __future__ import annotations

from ...jobs.coding import Encoding
from ...jobs.video_facts import VideoFacts
from .codecs import codec_of
from .pixel_formats import chroma_share, format_depth, has_alpha, is_rgb


def pixel_format(facts: VideoFacts, encoding: Encoding) -> str:
    """FFmpeg's name of the pixel format in which upright frames are encoded.

    It is the encoding's; without one, the codec's first format that has the source's chroma
    resolution and depth, or the nearest that the codec writes by itself.
    """
    if encoding.pixel_format is not None:
        return encoding.pixel_format
    codec = codec_of(encoding)
    width, height = facts.upright
    choices = codec.odd_pix_fmts if width % 2 or height % 2 else codec.pix_fmts
    if facts.has_alpha and codec.alpha_pix_fmts:
        choices = codec.alpha_pix_fmts
    chroma = chroma_share(facts.pix_fmt)
    fine = [name for name in choices if chroma_share(name) >= chroma] or choices
    depth = facts.result_depth
    if depth > 8 and is_rgb(choices[0]) and not is_rgb(facts.pix_fmt):
        depth += 2  # Y'CbCr of n bits is exact in R'G'B' of n + 2, and not in n
    deepest = max(fine, key=format_depth)  # the first of them
    return next((name for name in fine if format_depth(name) >= depth), deepest)


def allowed_formats(facts: VideoFacts, encoding: Encoding) -> tuple[str, ...]:
    """Pixel formats that ``Encoding.pixel_format`` may name for frames of this size."""
    codec = codec_of(encoding)
    width, height = facts.upright
    if codec.halves_odd or not (width % 2 or height % 2):
        return codec.choices
    return tuple(name for name in codec.choices if chroma_share(name) == 1)


def kept_bits(facts: VideoFacts, encoding: Encoding) -> int:
    """Bits per sample that the source has and the result can hold, 8 to 16.

    It is 8 for a source of fewer bits, too.
    """
    return min(max(facts.bit_depth, 8), format_depth(pixel_format(facts, encoding)))


def keeps_captions(facts: VideoFacts, encoding: Encoding) -> bool:
    """Whether the result has the source's closed captions.

    Inverse telecine drops frames, and captions without the bytes of those frames are garbled.
    """
    is_kept = codec_of(encoding).caption_options is not None
    return facts.has_captions and is_kept and facts.deinterlace != "ivtc"


def keeps_fields(encoding: Encoding) -> bool:
    """Whether results of interlaced video can be flagged as interlaced."""
    return codec_of(encoding).fields_option is not None


def keeps_alpha(facts: VideoFacts, encoding: Encoding) -> bool:
    """Whether the source has transparency and the result holds it."""
    return facts.has_alpha and has_alpha(pixel_format(facts, encoding))
