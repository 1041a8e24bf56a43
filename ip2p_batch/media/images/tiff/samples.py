"""Decode the samples of a TIFF page of any depth and layout, exactly.

Pillow decodes most TIFF files of 8 bits, and few others: its images have no 16-bit colour, and
odd numbers of samples, floating-point colour and separate planes are refused or mixed up. Its
decoders of compressed bytes are right. So :mod:`.blocks` decodes the page as rows of bytes, and the
bytes are taken apart here by the page's own fields.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from . import directories as tiff
from .blocks import Bytes, decompress, grid, parts_of
from .page import Page

#: Samples as stored, shape ``(height, width, samples)``, of any number type.
Samples = npt.NDArray[np.generic]

SUBSAMPLING = 530
_BYTES, _JPEG_2000, _WEBP = (
    (1, 5, 8, 32773, 32946, 34925, 50000),
    (33003, 33004, 33005, 34712),
    50001,
)
_APERIO_YCC = 33003
_COMPRESSIONS = {
    2: "CCITT", 3: "fax", 4: "fax", 6: "JPEG", 7: "JPEG", 34661: "JBIG", 34676: "LogLuv",
    34677: "LogLuv", 34887: "LERC", 34892: "lossy JPEG", 50002: "JPEG XL", 52546: "JPEG XL",
    32766: "NeXT", 32809: "ThunderScan", 34713: "Nikon",
}  # fmt: skip
_LUMINANCE = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
_COLORS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab",
    9: "Lab", 10: "Lab", 32803: "camera raw", 34892: "camera raw", 32844: "LogLuv",
    32845: "LogLuv",
}  # fmt: skip
_EDITABLE = (0, 1, 2, 3, 5, 8, 9)
_MAX_SAMPLES = 64
_INTEGER, _FLOAT, _UNDEFINED = 1, 3, 4


class Layout(NamedTuple):
    """How a page stores its samples.

    Attributes:
        bits: of a sample.
        samples: of a pixel.
        format: 1 whole numbers, 2 signed, 3 floating-point.
        colors: samples of a pixel that are colour; the others are extra ones.
        alpha: which kind of alpha follows the colours: 0 none, 1 multiplied in, 2 not.
    """

    bits: int
    samples: int
    format: int
    photometric: int
    colors: int
    alpha: int

    @property
    def words(self) -> str:
        """The kind, for a message: ``32-bit float RGB and alpha``."""
        kind = {_FLOAT: " float", 2: " signed"}.get(self.format, "")
        color = _COLORS.get(self.photometric, f"samples (photometric {self.photometric})")
        return f"{self.bits}-bit{kind} {color}{' and alpha' if self.alpha else ''}"


def layout(page: Page) -> Layout:
    """The layout of a page.

    Raises:
        ValueError: the samples of a pixel differ from each other, or there are too many.
    """
    bits = page.values(tiff.BITS_PER_SAMPLE, (1,))
    formats = page.values(tiff.SAMPLE_FORMAT, (_INTEGER,))
    samples = page.value(tiff.SAMPLES_PER_PIXEL, 1)
    photometric = page.value(tiff.PHOTOMETRIC, 0)
    if not 1 <= samples <= _MAX_SAMPLES:
        raise ValueError(f"{samples} samples a pixel")
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise ValueError(f"samples of {', '.join(map(str, bits))} bits")
    number = _INTEGER if formats[0] == _UNDEFINED else formats[0]
    colors = min(_LUMINANCE.get(photometric, samples), samples)
    extra = page.values(tiff.EXTRA_SAMPLES)
    alpha = extra[0] if samples > colors and extra and extra[0] in (1, 2) else 0
    return Layout(bits[0], samples, number, photometric, colors, alpha)


def has_own_decoder(page: Page) -> bool:
    """Whether a page needs these decoders: Pillow cannot, or reduces it to 8 bits."""
    bits = page.values(tiff.BITS_PER_SAMPLE, (1,))
    is_webp = page.value(tiff.COMPRESSION, 1) == _WEBP  # Pillow's libtiff is built without
    return not page.is_decodable or max(bits) > 8 or is_webp


def refusal(page: Page) -> str:
    """Why the pixels of a page that Pillow cannot decode cannot be edited; empty if they can."""
    try:
        kind = layout(page)
    except ValueError as error:
        return str(error)
    compression = page.value(tiff.COMPRESSION, 1)
    if compression not in (*_BYTES, *_JPEG_2000, _WEBP):
        name = _COMPRESSIONS.get(compression, f"compression {compression}")
        return f"{name} of {kind.words}"
    whole = kind.format == _INTEGER and 1 <= kind.bits <= 16
    real = kind.format == _FLOAT and kind.bits in (16, 32, 64)
    known = kind.photometric in _EDITABLE and kind.colors == _LUMINANCE[kind.photometric]
    # 32-bit grey within 16 bits is common in science, and its white is known.
    large = kind.format in (1, 2) and kind.bits == 32 and kind.photometric in (0, 1)
    if not (known and (whole or real or large)) or (real and kind.photometric > 2):
        return kind.words
    if compression not in _BYTES and not (whole and kind.bits in (8, 16)):
        return f"JPEG 2000 or WebP of {kind.words}"
    return ""


def read_samples(page: Page) -> Samples:
    """Decode the colours and, if there is one, the alpha of a page.

    Returns:
        shape ``(height, width, channels)``, not turned by the orientation, as stored: white is
        ``2**bits - 1``, or zero for "white is zero".

    Raises:
        ValueError: damaged or truncated.
        Exception: Pillow's decoders raise errors of any kind on damaged files.
    """
    kind = layout(page)
    wanted = kind.colors + (kind.alpha > 0)
    if page.value(tiff.COMPRESSION, 1) not in _BYTES:
        return _read_images(page)[..., :wanted]
    if page.value(tiff.PLANAR_CONFIGURATION, 1) == 2:
        planes = [_read_plane(page, kind, 1, plane) for plane in range(wanted)]
        return np.concatenate(planes, axis=2)
    return np.ascontiguousarray(_read_plane(page, kind, kind.samples, 0)[..., :wanted])


def _read_plane(page: Page, kind: Layout, samples: int, plane: int) -> Samples:
    """Decode ``samples`` of each pixel, which are stored together."""
    width, height, across, _ = grid(page)
    row = -(-across * samples * kind.bits // 8)
    columns = -(-width // across)
    data = decompress(page, parts_of(page, plane), row, columns)
    blocks = data[:height].reshape(height, columns, row)
    values = _numbers(blocks, page, kind, across, samples)
    return values.reshape(height, columns * across, samples)[:, :width]


def _numbers(blocks: Bytes, page: Page, kind: Layout, across: int, samples: int) -> Samples:
    """Take rows of bytes apart into numbers, and undo the predictor.

    Args:
        blocks: shape ``(height, columns, bytes of a row)``.

    Returns:
        shape ``(height, columns, across, samples)``.
    """
    shape = (*blocks.shape[:2], across, samples)
    predictor = page.value(tiff.PREDICTOR, 1) if page.value(tiff.COMPRESSION, 1) != 1 else 1
    size = kind.bits // 8
    if kind.format == _FLOAT and predictor == 3:
        # Adobe TIFF Technical Note 3: differences of bytes, all highest bytes of a row first.
        summed = np.cumsum(blocks.reshape(*shape[:2], -1, samples), axis=2, dtype=np.uint8)
        ordered = summed.reshape(*shape[:2], size, across * samples).swapaxes(2, 3)
        return np.ascontiguousarray(ordered).view(f">f{size}").reshape(shape)
    if kind.bits in (8, 16, 32, 64):
        code = "f" if kind.format == _FLOAT else "u"
        values = np.ascontiguousarray(blocks).view(f"{page.order}{code}{size}").reshape(shape)
        if predictor == 2:
            unsigned = values.view(f"{page.order}u{size}").astype(f"u{size}")
            summed = np.cumsum(unsigned, axis=2, dtype=unsigned.dtype)
            return summed.view(f"f{size}") if code == "f" else summed
        return values.astype(values.dtype.newbyteorder("="))
    return _unpack(blocks, kind.bits, across * samples).reshape(shape)


def _unpack(blocks: Bytes, bits: int, count: int) -> npt.NDArray[np.uint16]:
    """Samples of 1 to 16 bits, packed without gaps, highest bit first."""
    result = np.empty((*blocks.shape[:2], count), np.uint16)
    for number, row in enumerate(blocks):  # row by row: each bit takes a byte on the way
        digits = np.unpackbits(row, axis=1)[:, : count * bits].reshape(len(row), count, bits)
        weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
        result[number] = digits @ weights
    return result


def _read_images(page: Page) -> Samples:
    """Decode tiles or strips that are complete JPEG 2000 or WebP images."""
    width, height, across, down = grid(page)
    columns = -(-width // across)
    compression = page.value(tiff.COMPRESSION, 1)
    result: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None = None
    for number, part in enumerate(parts_of(page, 0)):
        with Pillow.open(io.BytesIO(part), formats=["JPEG2000", "WEBP"]) as image:
            is_ycc = compression == _APERIO_YCC and image.mode == "RGB"
            colors = Pillow.merge("YCbCr", image.split()).convert("RGB") if is_ycc else image
            tile = np.atleast_3d(np.asarray(colors))
        if tile.dtype not in (np.uint8, np.uint16):
            tile = tile.astype(np.uint16)
        if result is None:
            result = np.zeros((height, width, tile.shape[2]), tile.dtype)
        top, left = number // columns * down, number % columns * across
        target = result[top : top + down, left : left + across]
        if tile.shape[0] < target.shape[0] or tile.shape[1] < target.shape[1]:
            raise ValueError("a tile is smaller than it should be")
        target[:] = tile[: target.shape[0], : target.shape[1]]
    if result is None:
        raise ValueError("it has no pixels")
    return result


def color_map(page: Page) -> Bytes:
    """The colours of a palette, shape ``(colours, 3)``, from 16 bits as TIFF 6.0 stores them."""
    values = page.values(320)
    count = len(values) // 3
    if not count:
        raise ValueError("the palette is missing")
    table = np.array(values[: 3 * count], np.uint32).reshape(3, count).T
    if table.max(initial=0) < 256:  # written by programs that mistook the range
        return table.astype(np.uint8)
    return ((table + 128) // 257).astype(np.uint8)
