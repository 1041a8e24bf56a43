"""Files that end too early are found by the sizes that their containers store."""

import pytest

from ip2p_batch.media.video.truncation import is_truncated

from . import clips

FORMATS = {"c.mp4": "mov", "c.mov": "mov", "c.mkv": "matroska", "c.avi": "avi", "c.flv": "flv"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_not_truncated_and_half_of_it_is(tmp_path, name):
    whole = clips.make(tmp_path / name, 20, audio=None if name == "c.avi" else "aac")
    assert is_truncated(whole, FORMATS[name]) is False
    data = whole.read_bytes()
    half = tmp_path / f"half{whole.suffix}"
    half.write_bytes(data[: len(data) // 2])
    assert is_truncated(half, FORMATS[name]) is True


def test_other_formats_do_not_say(tmp_path):
    clip = clips.make(tmp_path / "c.ts", 20)
    assert is_truncated(clip, "mpegts") is None


@pytest.mark.parametrize("data", [b"", b"\0" * 3, b"\0" * 40, b"\xff" * 40, b"RIFF", b"\x1a\x45"])
@pytest.mark.parametrize("container", sorted(set(FORMATS.values())))
def test_any_bytes_are_answered(tmp_path, data, container):
    path = tmp_path / "c"
    path.write_bytes(data)
    assert is_truncated(path, container) in (True, False, None)
