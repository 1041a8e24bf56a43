"""Write the frames of an image sequence."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from ...errors import OutputError, SourceError
from ...frame import Alpha, FullImage
from ...jobs.coding import Encoding
from ...jobs.video_facts import ColorFacts
from ..images.reader import Still, read_still
from ..images.writer import write_still
from ..video.deep_color import from_image
from ..video.pyav import MEDIA_ERRORS, describe_error
from ..video.types import VideoFrame
from . import dpx, exr
from .frame import FILM
from .output import format_of


def write_frame(
    path: Path,
    image: FullImage,
    alpha: Alpha | None,
    *,
    bits: int,
    source: Path | None,
    comment: str,
    encoding: Encoding,
) -> tuple[str, list[str]]:
    """Write one frame; the suffix of ``path`` decides its format.

    Args:
        image: upright sRGB pixels, uint8 or uint16.
        alpha: opacity; None without transparency.
        bits: per sample that the source has; DPX has those.
        source: file of the frame, whose metadata is kept; None for a frame of a video file.
        comment: the recipe as JSON text.

    Returns:
        SHA-256 of the file, and one line for each loss.

    Raises:
        OutputError: the encoder refuses the frame.
        OSError: the file cannot be written.
    """
    name = format_of(path)
    if name not in ("dpx", "exr"):
        still = _still(source, str(name))
        still.alpha = alpha
        still.warnings.clear()
        return write_still(path, image, still, comment=comment, encoding=encoding), still.warnings
    try:
        data = (
            _dpx(image, alpha, bits, source, keep=encoding.metadata != "none")
            if name == "dpx"
            else _exr(image, alpha, source)
        )
    except MEDIA_ERRORS as error:
        raise OutputError(
            f"{path}: the {name.upper()} encoder refuses it: {describe_error(error)}.",
            path=path,
            hint="Write .png or .tif frames.",
        ) from error
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest(), []


def _still(source: Path | None, name: str) -> Still:
    """The metadata of a result."""
    if source is not None and source.suffix.lower() not in FILM:
        try:
            return read_still(source)
        except SourceError as error:
            raise OutputError(
                f"{error.message}: its metadata cannot be read.", path=source, hint=error.hint
            ) from error
    return Still(np.zeros((0, 0, 3), np.uint8), None, name)


def _dpx(
    image: FullImage, alpha: Alpha | None, bits: int, source: Path | None, *, keep: bool
) -> bytes:
    if alpha is not None:
        pix_fmt = "rgba" if image.dtype == np.uint8 else "rgba64le"
    elif image.dtype == np.uint8:
        pix_fmt = "rgb24"
    else:
        pix_fmt = "gbrp10le" if bits <= 10 else "gbrp12le" if bits <= 12 else "rgb48le"
    frame = from_image(image, ColorFacts(), pix_fmt, alpha)
    if pix_fmt.endswith("le"):  # most programs write big-endian files
        frame = frame.reformat(format=pix_fmt[:-2] + "be")
    header = dpx.read_header(source) if source and source.suffix.lower() == ".dpx" else b""
    return dpx.finished(_encoded("dpx", frame), header, keep=keep)


def _exr(image: FullImage, alpha: Alpha | None, source: Path | None) -> bytes:
    is_exr = source is not None and source.suffix.lower() == ".exr"
    kind = exr.read_header(source).samples if is_exr and source else "half"
    light = exr.from_srgb(image, alpha)
    planes = [light[..., 1], light[..., 2], light[..., 0]]
    if alpha is not None:
        planes.append(exr.opacity_of(alpha))
    frame: Any = av.VideoFrame(
        image.shape[1], image.shape[0], "gbrapf32le" if alpha is not None else "gbrpf32le"
    )
    for plane, samples in zip(frame.planes, planes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 4), "<f4")
        # FFmpeg truncates to half floats; those that are rounded already stay as they are.
        padded[:, : plane.width] = samples.astype(np.float16) if kind == "half" else samples
        plane.update(padded)
    return _encoded("exr", frame, {"format": kind, "compression": "zip16"})


def _encoded(name: str, frame: VideoFrame, options: dict[str, str] | None = None) -> bytes:
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = frame.format.name
    context.time_base = Fraction(1, 24)
    context.options = options or {}
    context.thread_count = 1
    cast(Any, frame).pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
