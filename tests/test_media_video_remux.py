"""Commands in hints: they fit the format of the file, and their numbers are those of the video."""

from fractions import Fraction

import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.remux import copy_command, retime_command

from . import clips


@pytest.mark.parametrize("container", ["avi", "mpeg", "h264", "matroska,webm"])
def test_mkvmerge_copies_what_it_reads(container):
    assert copy_command(container) == "mkvmerge -o NEW.mkv FILE"


@pytest.mark.parametrize("container", ["asf", "m4v", "gif"])
def test_other_formats_are_encoded_again(container):
    assert copy_command(container).startswith("ffmpeg -i FILE -c:v libx264")


def test_new_times_have_the_rate_of_the_video():
    assert "setpts=N*1001/30000/TB" in retime_command(Fraction(30000, 1001))


@pytest.mark.parametrize(
    ("head", "hint"),
    [
        ("#EXTM3U\n#EXT-X-VERSION:3\n", "ffmpeg -i FILE -map 0:v:0 -map '0:a:0?' -c copy"),
        ("#EXTM3U\n#EXTINF:1,a\na.mp4\n", "one by one"),
        ("ffconcat version 1.0\nfile a.mp4\n", "ffmpeg -f concat -safe 0 -i FILE"),
        ("[playlist]\nFile1=a.mp4\n", "one by one"),
    ],
)
def test_each_kind_of_playlist_has_its_own_hint(tmp_path, head, hint):
    path = tmp_path / "list.m3u8"
    path.write_text(head)
    with pytest.raises(SourceError, match="playlist") as caught:
        probe.index_video(path)
    assert hint in str(caught.value.hint)


def test_times_that_repeat_are_spread_so_that_every_frame_is_edited(tmp_path):
    times = [0, 40, 80, 80, 80, 120, 160]
    path = clips.make(
        tmp_path / "c.mkv", 7, pts=times, time_base=Fraction(1, 1000), options={"bf": "0"}
    )
    for scenes in (True, False):
        index = probe.index_video(path, scenes=scenes)
        assert index.pts.tolist() == [0, 40, 80, 93, 107, 120, 160] and not index.facts.notes
