"""Write small HEIC files: frames of HEVC in the boxes of ISO/IEC 23008-12."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from ip2p_batch.jobs.video_facts import ColorFacts
from ip2p_batch.media.video.deep_color import from_image

#: Matrix and range of the files, as phones write them.
COLOR = ColorFacts(matrix=6, full_range=True)


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">L4s", 8 + len(data), kind) + data


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">L", version << 24 | flags), *parts)


def encode(image: np.ndarray, pix_fmt: str = "yuv444p") -> tuple[bytes, bytes]:
    """Encode an image as one frame of HEVC; returns its data and the content of hvcC.

    Args:
        image: at least 64 pixels a side: x265 needs one block size for all encoders of a process.
    """
    height, width = image.shape[:2]
    assert min(width, height) >= 64
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pix_fmt
    encoder.time_base = Fraction(1)
    encoder.color_range, encoder.colorspace = 2, COLOR.matrix  # full range
    encoder.options = {"x265-params": "lossless=1:log-level=none:pools=1:frame-threads=1"}
    if image.ndim == 2:
        frame = av.VideoFrame.from_ndarray(image, format="gray")
    else:
        frame = from_image(image, COLOR, pix_fmt)
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    units = [
        unit.rstrip(b"\0")
        for unit in b"".join(map(bytes, packets)).split(b"\0\0\1")
        if unit.strip(b"\0")
    ]
    kinds = [unit[0] >> 1 & 63 for unit in units]
    # ISO/IEC 14496-15, 8.3.3.1; decoders take profile and format from the parameter sets.
    depth = 2 if "10" in pix_fmt else 0
    configuration = bytes([1, *bytes(12), 0xF0, 0, 0xFC, 0xFD, 0xF8 | depth, 0xF8 | depth, 0, 0])
    configuration += bytes([0x0F, 3])
    for kind in (32, 33, 34):  # the sets of video, sequence and picture
        unit = units[kinds.index(kind)]
        configuration += struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit
    pixels = [unit for kind, unit in zip(kinds, units, strict=True) if kind < 32]
    return b"".join(struct.pack(">L", len(unit)) + unit for unit in pixels), configuration


def heic(
    images: Sequence[np.ndarray],
    *,
    pix_fmt: str = "yuv444p",
    grid: tuple[int, int, int, int] | None = None,
    properties: Sequence[bytes] = (),
    cicp: tuple[int, int, int, int] | None = (1, 13, 6, 1),
    alpha: np.ndarray | None = None,
    alpha_type: bytes = b"urn:mpeg:hevc:2015:auxid:1",
    exif: bytes = b"",
) -> bytes:
    """Return an HEIC file.

    Args:
        images: the image, or the tiles of ``grid``.
        grid: rows, columns, width and height.
        properties: more boxes of properties of the main image, in their order.
        cicp: primaries, transfer, matrix, full range; None for no colr box.
    """
    items: list[tuple[bytes, bytes, list[bytes]]] = []  # type, data, properties
    references: list[tuple[bytes, int, Sequence[int]]] = []
    for image in images:
        data, configuration = encode(image, pix_fmt)
        items.append((b"hvc1", data, [box(b"hvcC", configuration), _size(image)]))
    colr = (
        []
        if cicp is None
        else [box(b"colr", b"nclx", struct.pack(">HHHB", *cicp[:3], cicp[3] << 7))]
    )
    if grid is not None:
        rows, columns, width, height = grid
        data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
        size = full_box(b"ispe", struct.pack(">LL", width, height))
        items.append((b"grid", data, [size]))
        references.append((b"dimg", len(items), range(1, len(images) + 1)))
    primary = len(items)
    items[-1][2].extend([*colr, *properties])
    if alpha is not None:
        data, configuration = encode(alpha, "gray")
        urn = full_box(b"auxC", alpha_type + b"\0")
        items.append((b"hvc1", data, [box(b"hvcC", configuration), _size(alpha), urn]))
        references.append((b"auxl", len(items), [primary]))
    if exif:
        items.append((b"Exif", struct.pack(">L", 0) + exif, []))
        references.append((b"cdsc", len(items), [primary]))
    return _file(items, references, primary)


def _size(image: np.ndarray) -> bytes:
    return full_box(b"ispe", struct.pack(">LL", image.shape[1], image.shape[0]))


def _file(items: list, references: list, primary: int) -> bytes:
    entries = [
        full_box(b"infe", struct.pack(">HH4s", number, 0, kind), b"\0", version=2)
        for number, (kind, _, _) in enumerate(items, 1)
    ]
    boxes: list[bytes] = []
    associations = b""
    for number, (_, _, own) in enumerate(items, 1):
        associations += struct.pack(">HB", number, len(own))
        for data in own:
            boxes.append(data)
            associations += bytes([0x80 | len(boxes)])
    links = [
        box(kind, struct.pack(f">HH{len(list(to))}H", source, len(list(to)), *to))
        for kind, source, to in references
    ]

    def meta(start: int) -> bytes:
        places = b""
        for number, (_, data, _) in enumerate(items, 1):
            places += struct.pack(">HHHLL", number, 0, 1, start, len(data))
            start += len(data)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack(">H", primary)),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
            full_box(b"iinf", struct.pack(">H", len(items)), *entries),
            full_box(b"iref", *links) if links else b"",
            box(
                b"iprp",
                box(b"ipco", *boxes),
                full_box(b"ipma", struct.pack(">L", len(items)), associations),
            ),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(data for _, data, _ in items))
