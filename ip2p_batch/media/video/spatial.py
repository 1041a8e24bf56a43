"""Spherical projection (360 degree video) and stereoscopic layout of a video stream.

PyAV has no access to the side data of a stream, but a stream that is copied from a template keeps
it. So the template of such a video is an MP4 file in memory with the boxes of Google's "Spherical
Video V2" (https://github.com/google/spatial-media/blob/master/docs/spherical-video-v2-rfc.md).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import av
from av.sidedata.sidedata import Type

from ...jobs.video_facts import SpatialFacts
from ..bmff import file_boxes
from .pyav import MEDIA_ERRORS, open_input
from .stream_copy import add_stream
from .types import InputContainer, OutputContainer, Stream, VideoFrame

#: FFmpeg's AVSphericalProjection.
_EQUIRECTANGULAR, _CUBEMAP, _TILE = 0, 1, 2
_PROJECTIONS = {
    0: "equirectangular", 1: "cubemap", 2: "equirectangular", 3: "half equirectangular",
    4: "rectilinear", 5: "fisheye",
}  # fmt: skip
#: FFmpeg's AVStereo3DType -> mode of the box ``st3d``.
_STEREO_MODES = {1: 2, 2: 1}
_STEREO_NAMES = {1: "side by side", 2: "top and bottom"}
#: The box that holds others, by its name, and the bytes of its own before them.
_PARENTS = ((b"moov", 0), (b"trak", 0), (b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 8))


#: Bytes of a video sample entry before the boxes in it.
_ENTRY_HEAD = 86


def spatial_facts(frame: VideoFrame) -> SpatialFacts | None:
    """The projection and stereo layout of a decoded frame; None for a flat one.

    Reads FFmpeg's AVSphericalMapping and AVStereo3D (libavutil/spherical.h, stereo3d.h).
    """
    sphere, stereo = frame.side_data.get(Type.SPHERICAL), frame.side_data.get(Type.STEREO3D)
    kind, flags = struct.unpack_from("=ii", bytes(stereo)) if stereo is not None else (0, 0)
    if sphere is None:
        return SpatialFacts(stereo=kind, stereo_flags=flags) if kind else None
    values = struct.unpack_from("=iiii5I", bytes(sphere))
    return SpatialFacts(
        projection=values[0],
        pose=values[1:4],
        bounds=values[4:8],
        padding=values[8],
        stereo=kind,
        stereo_flags=flags,
    )


def describe_spatial(facts: SpatialFacts) -> str:
    """Name a projection and layout: ``360 degree (spherical, equirectangular)``."""
    parts = []
    if facts.projection is not None:
        name = _PROJECTIONS.get(facts.projection, "unknown")
        parts.append(f"360 degree (spherical, {name})")
    if facts.stereo:
        parts.append(f"stereo 3D ({_STEREO_NAMES.get(facts.stereo, 'other layout')})")
    return " and ".join(parts)


@contextmanager
def spatial_template(segment: Path, facts: SpatialFacts | None) -> Iterator[Stream | None]:
    """A template for streams with the codec of ``segment`` and the properties of ``facts``.

    Yields:
        None if there is nothing to add, or MP4 cannot hold the codec or the properties.
    """
    boxes = _boxes(facts) if facts is not None else b""
    memory = _one_packet(segment) if boxes else None
    patched = _with_boxes(memory, boxes) if memory is not None else None
    if patched is None:
        yield None
        return
    with av.open(io.BytesIO(patched)) as file:
        yield cast(InputContainer, file).streams.video[0]


def _boxes(facts: SpatialFacts) -> bytes:
    """The boxes ``st3d`` and ``sv3d`` of a sample entry; empty if they cannot express ``facts``."""
    mode = _STEREO_MODES.get(facts.stereo)
    stereo = b"" if mode is None else _box(b"st3d", bytes(4) + bytes([mode]))
    if facts.projection is None:
        return stereo
    if facts.projection in (_EQUIRECTANGULAR, _TILE):
        left, top, right, bottom = facts.bounds
        shape = _box(b"equi", bytes(4) + struct.pack(">4I", top, bottom, left, right))
    elif facts.projection == _CUBEMAP:
        shape = _box(b"cbmp", bytes(4) + struct.pack(">2I", 0, facts.padding))
    else:
        return stereo
    head = _box(b"svhd", bytes(4) + b"\0")
    pose = _box(b"prhd", bytes(4) + struct.pack(">3i", *facts.pose))
    return stereo + _box(b"sv3d", head + _box(b"proj", pose + shape))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _one_packet(segment: Path) -> bytes | None:
    """An MP4 file with the first packet of a segment; None if MP4 cannot hold its codec."""
    memory = io.BytesIO()
    try:
        with open_input(segment) as source, av.open(memory, "w", format="mp4") as file:
            template = source.streams.video[0]
            target = cast(OutputContainer, file)
            stream = add_stream(target, template)
            packet = next(p for p in source.demux(template) if p.size)
            packet.stream = stream
            target.mux(packet)
    except MEDIA_ERRORS:
        return None
    return memory.getvalue()


def hide_apple_box(file: BinaryIO) -> None:
    """Turn Apple's box ``vexu`` of a finished MP4 file into free space, if Google's are there.

    FFmpeg 8 writes both. Its own ``vexu`` has no layout of the views and no pose of the sphere, and
    readers take it instead of Google's boxes.
    """
    movie = next((box for box in file_boxes(file) if box.kind == b"moov"), None)
    if movie is None:
        return
    file.seek(movie.start)
    data = bytearray(file.read(movie.stop - movie.start))
    entry = _sample_entry(data)
    if entry is None:
        return
    start, stop = entry[-1] + _ENTRY_HEAD, entry[-1] + _size(data, entry[-1])
    apple = _find(data, start, stop, b"vexu")
    if apple is not None and any(_find(data, start, stop, name) for name in (b"st3d", b"sv3d")):
        file.seek(movie.start + apple + 4)
        file.write(b"free")


def _with_boxes(file: bytes, boxes: bytes) -> bytes | None:
    """Append boxes to the first sample entry of an MP4 file.

    The description is at the file's end, so no offset of a sample changes.
    """
    data = bytearray(file)
    boxes_around = _sample_entry(data)
    if boxes_around is None:
        return None
    end = boxes_around[-1] + _size(data, boxes_around[-1])
    for position in boxes_around:
        struct.pack_into(">I", data, position, _size(data, position) + len(boxes))
    data[end:end] = boxes
    return bytes(data)


def _sample_entry(data: bytearray) -> list[int] | None:
    """Positions of the first track's sample entry, last, and of the boxes around it."""
    start, stop, positions = 0, len(data), []
    for name, own in _PARENTS:
        found = _find(data, start, stop, name)
        if found is None:
            return None
        positions.append(found)
        start, stop = found + 8 + own, found + _size(data, found)
    return [*positions, start]


def _find(data: bytearray, start: int, stop: int, name: bytes) -> int | None:
    """Position of the first box ``name`` among the boxes in ``[start, stop)``."""
    while start + 8 <= stop and (size := _size(data, start)) >= 8:
        if data[start + 4 : start + 8] == name:
            return start
        start += size
    return None


def _size(data: bytearray, position: int) -> int:
    return int(struct.unpack_from(">I", data, position)[0])
