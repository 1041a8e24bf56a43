"""Read one file of an image sequence.

Formats of :mod:`..images` are read as images are, with their colour profile and orientation.
FFmpeg, which ignores both, reads DPX and EXR.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...errors import SourceError
from ...frame import Alpha, FullImage
from .. import limits
from ..depth import to_8_bits
from ..images.reader import read_still, still_size
from ..video.alpha import frame_alpha, frame_has_alpha
from ..video.color import color_facts, frame_tags, to_rgb
from ..video.deep_color import to_rgb48
from ..video.pyav import open_input
from ..video.streams import decode_packet, limit_pixels
from ..video.types import Stream, VideoFrame
from . import dpx, exr

#: Suffixes that FFmpeg reads.
FILM = (".dpx", ".exr")
_LOG_NOTE = (
    "states a logarithmic (film) scale, and its samples are edited as they are; the model expects"
    " images for display"
)
_LINEAR_NOTE = "linear light is edited as sRGB of 16 bits"
_CLIPPED_NOTE = "light above 1.0 is clipped to 1.0"


@dataclass(frozen=True, slots=True, eq=False)
class StoredFrame:
    """A frame as its file has it.

    Attributes:
        image: upright sRGB pixels, uint8 or uint16, shape ``(height, width, 3)``.
        alpha: opacity, shape ``(height, width)``; None for a file without it.
        codec: name of the format.
        depth: bits per sample: 8, 10, 12 or 16.
        notes: one line for each fact that the edit changes.
    """

    image: FullImage
    alpha: Alpha | None
    codec: str
    depth: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self.image.shape[1], self.image.shape[0]


def read_frame(path: Path, *, max_pixels: int | None = None) -> StoredFrame:
    """Decode one file completely, at its own depth.

    Args:
        max_pixels: larger frames are refused before they are decoded; None is
            ``limits.FRAME_PIXELS``.

    Raises:
        SourceError: it cannot be read, is damaged, too large or of colours that are not edited.
    """
    most = limits.FRAME_PIXELS.value() if max_pixels is None else max_pixels
    if path.suffix.lower() not in FILM:
        still = read_still(path, deep=True, max_pixels=most)
        depth = 16 if still.image.dtype == np.uint16 else 8
        return StoredFrame(still.image, still.alpha, still.format, depth, tuple(still.warnings))
    if path.suffix.lower() == ".exr":
        _check_readable(path)
        exr.check_primaries(path)
    with open_input(path) as container:
        stream = _stream(container.streams.video, path)
        limit_pixels(stream, path, most)
        for packet in container.demux(stream):
            for frame in decode_packet(packet):
                if frame.format.name.startswith(("gbr", "gray")) and _is_float(frame):
                    return _of_light(frame)
                return _of_samples(frame, path, stream.codec_context.name)
    raise SourceError(f"{path}: damaged or truncated.", path=path, hint=_DAMAGED)


def frame_size(path: Path) -> tuple[int, int]:
    """The upright ``(width, height)`` from the header, without decoding.

    Raises:
        SourceError: as :func:`read_frame`, except for damage after the header.
    """
    if path.suffix.lower() not in FILM:
        return still_size(path, max_pixels=limits.FRAME_PIXELS.value())
    with open_input(path) as container:
        stream = _stream(container.streams.video, path)
        limit_pixels(stream, path)
        return stream.width, stream.height


_DAMAGED = "Render or copy the frame again."


def _stream(streams: Any, path: Path) -> Stream:
    if not streams:
        raise SourceError(f"{path}: not an image.", path=path, hint=_DAMAGED)
    return cast(Stream, streams[0])


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read: {error.strerror}.", path=path, hint=_DAMAGED
        ) from error


def _is_float(frame: VideoFrame) -> bool:
    return "f16" in frame.format.name or "f32" in frame.format.name


def _of_samples(frame: VideoFrame, path: Path, codec: str) -> StoredFrame:
    """A frame of integer samples, which count as sRGB.

    The transfer that DPX files state is only reported: FFmpeg and other programs state linear for
    all files that they write.
    """
    tags = frame_tags(frame, codec)
    depth = max(component.bits for component in frame.format.components)
    # FFmpeg takes grey for limited range where it converts to 8 bits.
    is_exact = depth <= 8 and frame.format.is_rgb
    image: FullImage = (to_rgb if is_exact else to_rgb48)(frame, color_facts(frame, path, tags))
    alpha = frame_alpha(frame) if frame_has_alpha(frame) else None
    notes = (_LOG_NOTE,) if codec == "dpx" and dpx.is_film(dpx.read_header(path)) else ()
    return StoredFrame(to_8_bits(image) if depth <= 8 else image, alpha, codec, depth, notes)


def _of_light(frame: VideoFrame) -> StoredFrame:
    planes = _float_planes(frame)
    has_alpha = frame_has_alpha(frame)
    colours = planes[:-1] if has_alpha else planes
    if len(colours) == 1:
        colours *= 3
    else:  # FFmpeg's order is green, blue, red
        colours = [colours[2], colours[0], colours[1]]
    light = np.dstack(colours)
    opacity = np.clip(np.nan_to_num(planes[-1]), 0, 1) if has_alpha else None
    light = exr.without_opacity(light, opacity)
    image = exr.to_srgb(light)
    notes = [_LINEAR_NOTE]
    if float(light.max(initial=0)) > 1:
        notes.append(_CLIPPED_NOTE)
    alpha = None if opacity is None else np.rint(opacity * 65535).astype(np.uint16)
    return StoredFrame(image, alpha, "exr", 16, tuple(notes))


def _float_planes(frame: VideoFrame) -> list[exr.Floats]:
    kind = np.dtype("<f2" if "f16" in frame.format.name else "<f4")
    return [
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].astype(np.float32)
        for plane in frame.planes
    ]
