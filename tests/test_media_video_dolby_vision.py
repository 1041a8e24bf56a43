"""Dolby Vision without a base layer for other players is refused; other Dolby Vision is read."""

import struct

import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.media.video import probe

from . import clips

#: Boxes around a configuration record, from the outside in.
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1")


def record(profile, compatibility):
    """A configuration record of 24 bytes: version 1.0, level 1, RPU and base layer present."""
    return bytes([1, 0, profile << 1, 1 << 3 | 0b101, compatibility << 4]) + bytes(19)


def mp4(path, name, profile, compatibility):
    """An HEVC video with a configuration record in its sample description."""
    clips.make(path, 1, codec="libx265", options={"x265-params": "log-level=none"})
    data = bytearray(path.read_bytes().replace(b"hev1", b"hvc1"))
    box = struct.pack(">I4s", 32, name) + record(profile, compatibility)
    starts = [data.find(kind) - 4 for kind in _PARENTS]
    end = starts[-1] + struct.unpack_from(">I", data, starts[-1])[0]
    for start in starts:
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + 32)
    data[end:end] = box
    path.write_bytes(data)
    return path


def matroska(path, name, profile, compatibility):
    """A video followed by the elements with which Matroska stores the record."""
    clips.make(path, 1)
    mapping = b"\x41\xe7\x84" + name + b"\x41\xed\x98" + record(profile, compatibility)
    path.write_bytes(path.read_bytes() + mapping)
    return path


CASES = [(b"dvcC", 5, 0), (b"dvvC", 10, 0), (b"dvwC", 20, 0)]


@pytest.mark.parametrize(("make", "suffix"), [(mp4, ".mp4"), (mp4, ".mov"), (matroska, ".mkv")])
@pytest.mark.parametrize(("name", "profile", "compatibility"), CASES)
def test_dolby_vision_without_a_base_layer_is_refused_by_its_profile(
    tmp_path, make, suffix, name, profile, compatibility
):
    clip = make(tmp_path / f"c{suffix}", name, profile, compatibility)
    with pytest.raises(SourceError, match=rf"c\{suffix}: Dolby Vision profile {profile} "):
        probe.index_video(clip)


@pytest.mark.parametrize("make", [mp4, matroska])
def test_dolby_vision_with_a_base_layer_is_read_by_it_with_a_note(tmp_path, make):
    clip = make(tmp_path / ("c.mp4" if make is mp4 else "c.mkv"), b"dvvC", 8, 2)
    facts = probe.index_video(clip).facts
    assert facts.frames == 1
    assert "Dolby Vision (profile 8)" in facts.notes[0] and "left out" in facts.notes[0]


def test_a_file_that_ends_within_its_headers_is_no_dolby_vision(tmp_path):
    clip = mp4(tmp_path / "c.mp4", b"dvcC", 5, 0)
    data = clip.read_bytes()
    clip.write_bytes(data[: data.find(b"dvcC") + 6])
    with pytest.raises(SourceError) as caught:
        probe.index_video(clip)
    assert "Dolby" not in caught.value.message
