"""Classify sources, index videos, and convert ranges in seconds to frames."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.media.source import classify_source
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.timestamps import frame_range

from . import clips


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "video"), ("a.MOV", "video"), ("a.gif", "still"), ("a.jpg", "still"),
        ("a.PNG", "still"), ("a.heic", "still"), ("a.csv", "manifest"), ("a.jsonl", "manifest"),
        ("a.tsv", "manifest"),
    ],
)  # fmt: skip
def test_a_source_is_classified_by_its_suffix(tmp_path, name, kind):
    (tmp_path / name).write_bytes(b"x")
    assert classify_source(tmp_path / name) == kind
    assert classify_source(tmp_path) == "folder"


def test_a_missing_or_empty_source_is_refused(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match=r"empty\.mp4: the file is empty"):
        classify_source(tmp_path / "empty.mp4")
    with pytest.raises(SourceError, match=r"gone\.mp4: no such file"):
        classify_source(tmp_path / "gone.mp4")
    with pytest.raises(SourceError, match="NUL character"):
        classify_source(tmp_path / "nul\0.mp4")


@pytest.mark.parametrize("scenes", [True, False])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("c.mp4", {"audio": "aac", "subtitles": True, "chapters": True}),
        ("c.mkv", {}),
        ("c.webm", {"codec": "libvpx-vp9"}),
        ("c.avi", {"codec": "mpeg4"}),
        ("c.ts", {}),
        ("c.mpg", {"codec": "mpeg2video"}),
        ("c.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
        ("c.gif", {"codec": "gif", "pix_fmt": "rgb8", "matrix": None}),
    ],
)
def test_every_frame_is_counted_in_every_container(tmp_path, name, options, scenes):
    clip = clips.make(tmp_path / name, 20, **options)
    index = probe.index_video(clip, scenes=scenes)
    base = Fraction(*index.facts.time_base)
    assert len(index.pts) == index.facts.frames == 20
    assert index.facts.missing == 0 and index.cuts == ()
    assert index.facts.frame_rate == (25, 1)
    assert index.facts.duration == pytest.approx(0.8, abs=0.001)
    steps = np.diff(index.pts) * float(base)
    assert np.allclose(steps, 0.04, atol=0.0011)


def test_sizes_are_those_of_upright_frames(tmp_path):
    clip = clips.make(tmp_path / "c.mp4", 2, rotation=90, sar=Fraction(4, 3))
    facts = probe.index_video(clip).facts
    assert (facts.width, facts.height, facts.rotation, facts.sar) == (64, 64, 270, (4, 3))
    assert facts.upright == (64, 64) and facts.upright_sar == (3, 4)


def test_variable_frame_rates_keep_every_time(tmp_path):
    times = [0, 1000, 1500, 9000, 9001, 30000]
    clip = clips.make(tmp_path / "c.mp4", 6, pts=times, time_base=Fraction(1, 90000))
    index = probe.index_video(clip)
    assert index.pts.tolist() == times and index.facts.time_base == (1, 90000)


def test_only_a_video_with_a_pixel_that_is_not_opaque_is_transparent(tmp_path):
    opaque = clips.make(tmp_path / "c.mkv", 2, codec="prores_ks", pix_fmt="yuva444p10le")
    assert not probe.index_video(opaque).facts.has_alpha
    facts = probe.index_video(clips.make_rgba(tmp_path / "t.mkv", 3)).facts
    assert facts.has_alpha and not facts.notes


def cut_short(path: Path, share: float) -> Path:
    data = path.read_bytes()
    target = path.with_stem("short")
    target.write_bytes(data[: int(len(data) * share)])
    return target


def noisy(index, width, height):
    return np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_a_truncated_video_is_indexed_as_far_as_it_decodes(tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", 60, image=noisy)
    index = probe.index_video(cut_short(whole, 0.5))
    facts = index.facts
    assert 20 < facts.frames < 40
    assert facts.frames + facts.missing == pytest.approx(60, abs=2)
    assert any("truncated" in note for note in facts.notes)


def test_a_late_first_time_does_not_count_as_missing_frames(tmp_path):
    late = [90_000 + n * 40 for n in range(10)]
    clip = clips.make(tmp_path / "late.mkv", 10, pts=late, time_base=Fraction(1, 1000))
    facts = probe.index_video(clip).facts
    assert facts.missing == 0 and facts.notes == ()


def test_damage_in_the_middle_loses_only_the_damaged_frames(tmp_path):
    clip = clips.make(tmp_path / "c.ts", 60, image=noisy, gop=6)
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    clip.write_bytes(data)
    facts = probe.index_video(clip).facts
    assert 45 <= facts.frames <= 60 and facts.notes


def test_an_mp4_without_its_index_is_refused(tmp_path):
    clip = cut_short(clips.make(tmp_path / "c.mp4", 30), 0.5)
    with pytest.raises(SourceError, match=r"short\.mp4: not a readable video, or truncated"):
        probe.index_video(clip)


def test_files_that_are_not_videos_are_refused_with_a_reason(tmp_path):
    from . import pictures

    text = tmp_path / "notes.mp4"
    text.write_text("not a video at all\n" * 50)
    photo = tmp_path / "photo.mp4"
    shutil.copy(pictures.save(tmp_path / "photo.jpg"), photo)
    sound = clips.make(tmp_path / "c.mkv", 5, audio="aac")
    import av

    with av.open(str(sound)) as source, av.open(str(tmp_path / "s.m4a"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    for path, words in [
        (text, "not a readable video"),
        (photo, "is an image"),
        (tmp_path / "s.m4a", "no video stream"),
    ]:
        with pytest.raises(SourceError, match=words) as caught:
            probe.index_video(path)
        assert path.name in caught.value.message and caught.value.hint


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.mkv", "list.sdp", "list.mpd"])
@pytest.mark.parametrize("target", ["{secret}", "{relative}", "http://127.0.0.1:9/x.mp4"])
def test_playlists_are_not_read_as_videos(tmp_path, name, target):
    secret = clips.make(tmp_path / "film.ts", 5)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.ts").symlink_to(secret)
    target = target.format(secret=secret, relative="film.ts")
    path = tmp_path / "in" / name
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{target}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 0 RTP/AVP 96\na=control:{target}\n",
        f"<?xml version='1.0'?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>",
    ):
        path.write_text(text)
        with pytest.raises(
            SourceError,
            match=r"not a readable video|format is not supported|not a video|a playlist",
        ) as error:
            probe.index_video(path)
        assert error.value.hint


def test_a_file_name_that_looks_like_a_url_is_a_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips.make(tmp_path / "concat:a.mp4", 5)
    assert probe.index_video(Path("concat:a.mp4")).facts.frames == 5


def test_an_unknown_codec_is_refused(tmp_path):
    clip = clips.make(tmp_path / "c.avi", 5, codec="mpeg4")
    data = clip.read_bytes()
    clip.write_bytes(data.replace(b"FMP4", b"QQ9Z").replace(b"fmp4", b"QQ9Z"))
    with pytest.raises(SourceError, match="codec is not supported"):
        probe.index_video(clip)


def test_progress_ends_at_the_number_of_frames(tmp_path):
    calls = []
    probe.index_video(clips.make(tmp_path / "c.mp4", 60), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("finding scene cuts", 60, 60)
    assert len(calls) >= 3 and all(done <= total for _, done, total in calls)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return probe.index_video(clips.make(tmp_path_factory.mktemp("v") / "c.mp4", 50))


class TestTimeRange:
    @pytest.mark.parametrize(
        ("start", "end", "frames"),
        [
            (None, None, (0, 50)), (0.0, 0.04, (0, 1)), (1.0, None, (25, 50)),
            (0.04, 0.12, (1, 3)), (0.05, 0.12, (2, 3)), (None, 99.0, (0, 50)),
        ],
    )  # fmt: skip
    def test_seconds_are_converted_to_frame_numbers(self, index, start, end, frames):
        assert frame_range(index.facts, index.pts, start, end) == frames

    @pytest.mark.parametrize(("start", "end"), [(2.0, None), (1.0, 1.0), (1.0, 0.5), (None, 0.0)])
    def test_a_range_without_frames_is_refused(self, index, start, end):
        with pytest.raises(RecipeError, match=r"No frame lies between.*1\.96 s"):
            frame_range(index.facts, index.pts, start, end)

    def test_seconds_count_from_the_first_frame_whatever_its_time(self, tmp_path):
        index = probe.index_video(clips.make(tmp_path / "c.ts", 50))
        assert index.pts[0] > 0
        assert frame_range(index.facts, index.pts, 1.0, 1.2) == (25, 30)
