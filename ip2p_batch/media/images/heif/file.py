"""Decode HEIC and AVIF images with the video decoders, in their own depth (ISO/IEC 23008-12).

An HEIC image is one frame of HEVC, or a grid of frames, and AVIF the same with AV1. Pillow reads no
HEIC, and AVIF with 8 bits only.
"""

from __future__ import annotations

import struct
from typing import IO, NamedTuple, cast

import av
import cv2
import numpy as np

from ....jobs.video_facts import ColorFacts
from ...alpha import divided_by_alpha
from ...depth import Samples16
from ...video.color import SWSCALE_MATRICES
from ...video.deep_color import to_rgb48
from ...video.types import VideoFrame
from ..unsupported import UnsupportedSamplesError
from .boxes import ALPHA_TYPES, Heif, Item, read_boxes
from .geometry import aperture, stated_size, transformed
from .planes import depth_of, grey_of, planes_of, to_16_bits, without_j

_DECODERS = {b"hvc1": ("hevc", b"hvcC"), b"av01": ("libdav1d", b"av1C")}
_KINDS = {
    b"jpeg": "JPEG", b"avc1": "H.264", b"vvc1": "VVC", b"unci": "uncompressed", b"iovl": "overlay",
    b"j2k1": "JPEG 2000", b"lhv1": "layered HEVC", b"hvc2": "HEVC in several parts",
}  # fmt: skip
_IDENTITY, _UNSPECIFIED, _BT601, _LIMITED = 0, 2, 6, 1
_MAX_DEPTH = 4
_MAX_DATA = 1 << 30
_SIDE_LIMIT = 65536
#: A frame may have so many pixels more than twice those that the file states.
_SLACK_PIXELS = 1 << 14


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        rgb: shape ``(height, width, 3)``, in the file's colour space.
        alpha: shape ``(height, width)``; None without.
    """

    rgb: Samples16
    alpha: Samples16 | None


class HeifFile:
    """An image file of this kind that stays open.

    Attributes:
        boxes: its description.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Read the description.

        Raises:
            ValueError: it is damaged.
        """
        self._file = file
        self.boxes: Heif = read_boxes(file)

    def size(self) -> tuple[int, int]:
        """Upright ``(width, height)``.

        Raises:
            ValueError: the file does not state it.
        """
        main = self.boxes.main
        width, height = stated_size(main)
        for kind, data in main.properties:
            if kind == b"clap":
                _, _, width, height = aperture(data, width, height)
            elif kind == b"irot" and data and data[0] & 1:
                width, height = height, width
        return width, height

    def kind_error(self) -> str:
        """Why the main image cannot be decoded, by its kind; empty if it can."""
        item = self.boxes.main
        for number in self._inner(item)[:1] if item.kind in (b"grid", b"iden") else ():
            item = self.boxes.items.get(number, Item())
        if item.kind in _DECODERS:
            return ""
        name = _KINDS.get(item.kind, item.kind.decode("ascii", "replace") or "missing")
        return f"HEIF of the kind {name}"

    def metadata(self) -> tuple[bytes, bytes]:
        """Exif (from the byte order on) and XMP; empty if there is none."""
        exif = xmp = b""
        for item in self.boxes.items.values():
            if self.boxes.primary not in item.references.get(b"cdsc", ()):
                continue
            if item.kind == b"Exif" and not exif:
                data = self._data(item)
                (skip,) = struct.unpack_from(">L", data.ljust(4, b"\0"))
                exif = data[4 + skip :]
            elif item.kind == b"mime" and not xmp:
                data = self._data(item)
                xmp = data if b"xmpmeta" in data[:4096] else b""
        return exif, xmp

    def decode(self, *, upright: bool) -> Decoded:
        """Decode the main image and its alpha.

        Args:
            upright: apply the file's rotation and mirror.

        Raises:
            UnsupportedSamplesError: an intact image of a kind without a decoder.
            ValueError: damaged or truncated.
            av.FFmpegError: the decoder refuses the data.
        """
        main = self.boxes.main
        frame = self._frame(main)
        width, height = stated_size(main)
        if frame.width < width or frame.height < height:
            raise ValueError("it is smaller than it states")
        rgb = self._to_rgb(frame)[:height, :width]
        alpha = self._alpha(rgb.shape[:2])
        if alpha is not None and self._is_multiplied():
            rgb = cast(Samples16, divided_by_alpha(rgb, alpha))
        rgb = transformed(rgb, main, turn=upright)
        if alpha is not None:
            alpha = transformed(alpha, main, turn=upright)
        return Decoded(rgb, alpha)

    def _inner(self, item: Item) -> tuple[int, ...]:
        return item.references.get(b"dimg", ())

    def _data(self, item: Item) -> bytes:
        if sum(length for _, length in item.extents) > _MAX_DATA:
            raise ValueError("damaged description")
        parts = []
        for place, length in item.extents:
            if item.inside:
                parts.append(self.boxes.idat[place : place + length])
            else:
                self._file.seek(place)
                parts.append(self._file.read(length if length else -1))
            if len(parts[-1]) < length:
                raise ValueError("the file is truncated")
        return b"".join(parts)

    def _frame(self, item: Item, depth: int = 0) -> VideoFrame:
        if depth > _MAX_DEPTH:
            raise ValueError("damaged description")
        if item.kind == b"iden":
            return self._frame(self._item(self._inner(item)[0]), depth + 1)
        if item.kind == b"grid":
            return self._grid(item, depth)
        if item.kind not in _DECODERS:
            raise UnsupportedSamplesError(f"of a kind that cannot be edited: {self.kind_error()}")
        name, configuration = _DECODERS[item.kind]
        context = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
        context.thread_count = 1
        width, height = stated_size(item)
        context.options = {
            "err_detect": "explode",  # else damage is painted over in silence
            "max_pixels": str(_SLACK_PIXELS + 2 * width * height),
        }
        context.extradata = item.first(configuration)
        try:
            frames = [*context.decode(av.Packet(self._data(item))), *context.decode(None)]
        except MemoryError:  # FFmpeg's answer to more than max_pixels, too
            raise ValueError("its frame is larger than stated, or than the memory") from None
        if not frames or frames[0].is_corrupt:
            raise ValueError("its pixels are damaged")
        return without_j(cast(VideoFrame, frames[0]))

    def _item(self, number: int) -> Item:
        if number not in self.boxes.items:
            raise ValueError("a part of the image is missing")
        return self.boxes.items[number]

    def _grid(self, item: Item, depth: int) -> VideoFrame:
        """Join the tiles of a grid (23008-12, 6.6.2.3), as samples of luma and chroma."""
        data = self._data(item)
        down, across = data[2] + 1, data[3] + 1
        width, height = struct.unpack_from(">LL" if data[1] & 1 else ">HH", data, 4)
        numbers = self._inner(item)
        if len(numbers) < down * across or not (
            0 < width < _SIDE_LIMIT and 0 < height < _SIDE_LIMIT
        ):
            raise ValueError("a part of the image is missing")
        tiles = (self._frame(self._item(number), depth + 1) for number in numbers)
        first = next(tiles)
        if first.width * across < width or first.height * down < height:
            raise ValueError("the tiles do not cover the image")
        name = first.format.name
        whole = cast(VideoFrame, av.VideoFrame(width, height, name))
        whole.colorspace, whole.color_range = first.colorspace, first.color_range
        targets = planes_of(whole)
        for place in range(down * across):
            tile = first if place == 0 else next(tiles)
            if (tile.width, tile.height, tile.format.name) != (first.width, first.height, name):
                raise ValueError("tiles of different sizes")
            row, column = divmod(place, across)
            for target, source in zip(targets, planes_of(tile), strict=True):
                top, left = row * source.shape[0], column * source.shape[1]
                part = target[top : top + source.shape[0], left : left + source.shape[1]]
                part[:] = source[: part.shape[0], : part.shape[1]]
        return whole

    def _color(self, frame: VideoFrame) -> ColorFacts:
        """Matrix and range: by the file, else by the frame, else as MIAF has it."""
        codes = self.boxes.cicp()
        if codes is not None:
            matrix, full = codes[2], codes[3]
        else:
            matrix = int(frame.colorspace)
            full = int(frame.color_range) != _LIMITED
        if matrix in (_UNSPECIFIED, _IDENTITY):
            matrix = _BT601
        if matrix not in SWSCALE_MATRICES:
            raise UnsupportedSamplesError(
                f"of a kind that cannot be edited: colour matrix of code {matrix} (H.273)"
            )
        return ColorFacts(matrix=matrix, full_range=full)

    def _to_rgb(self, frame: VideoFrame) -> Samples16:
        codes = self.boxes.cicp()
        planes = planes_of(frame)
        if codes is not None and codes[2] == _IDENTITY and len(planes) >= 3:
            green, blue, red = (to_16_bits(plane, depth_of(frame)) for plane in planes[:3])
            return np.dstack([red, green, blue])
        color = self._color(frame)
        if len(planes) == 1:
            return np.dstack([grey_of(planes[0], depth_of(frame), color.full_range)] * 3)
        return to_rgb48(frame, color)

    def _alpha(self, shape: tuple[int, ...]) -> Samples16 | None:
        item = self._alpha_item()
        if item is None:
            return None
        frame = self._frame(item)
        is_full = int(frame.color_range) != _LIMITED or "gray" in frame.format.name
        alpha = grey_of(planes_of(frame)[0], depth_of(frame), is_full)
        if alpha.shape != shape:
            alpha = np.asarray(cv2.resize(alpha, shape[::-1]), np.uint16)
        return alpha

    def _alpha_item(self) -> Item | None:
        for item in self.boxes.items.values():
            is_aux = self.boxes.primary in item.references.get(b"auxl", ())
            if is_aux and (item.first(b"auxC") or b"")[4:].split(b"\0")[0].lower() in ALPHA_TYPES:
                return item
        return None

    def _is_multiplied(self) -> bool:
        return b"prem" in self.boxes.main.references
