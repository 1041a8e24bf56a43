"""Tags and time codes of videos: kept in every container that can hold them, else named."""

from fractions import Fraction

import av
import pytest

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.output import check_output

from . import clips
from .test_media_video_concat import joined

APPLE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.location.ISO6709": "+48.2082+016.3738+170.0/",
    "com.apple.quicktime.creationdate": "2021-05-06T09:08:09+0200",
}
PLAIN = {
    "title": "Ein Titel",
    "artist": "A. Person",
    "comment": "two words",
    "creation_time": "2021-05-06T07:08:09.000000Z",
    "location": "+48.2082+016.3738+170.0/",
}


def tagged(path, tags, *, timecode="", rate=Fraction(25), frames=20):
    """Write a video with tags, as QuickTime keys where they are no ordinary ones."""
    keys = {"movflags": "+use_metadata_tags"} if any("." in name for name in tags) else {}
    with av.open(str(path), "w", options=keys if path.suffix in (".mov", ".mp4") else {}) as target:
        video = target.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        video.codec_context.time_base = 1 / rate
        target.metadata.update(tags)
        if timecode:
            video.metadata["timecode"] = timecode
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(clips.picture(number), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def tags_of(path):
    with av.open(str(path)) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
        for stream in container.streams:
            tags.update(
                {n.lower(): v for n, v in stream.metadata.items() if n.lower() == "timecode"}
            )
        return tags


def warnings_for(source, output, encoding=None):
    encoding = encoding or Encoding()
    return check_output(source, output, probe.index_video(source).facts, encoding)


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_quicktime_keys_are_kept(tmp_path, suffix):
    source = tagged(tmp_path / "s.mov", APPLE | PLAIN)
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    found = tags_of(output)
    for name, value in APPLE.items():
        assert found[name.lower()] == value
    assert found["title"] == "Ein Titel" and found["comment"] == "two words"
    assert found["creation_time"].startswith("2021-05-06T07:08:09")
    assert found["location"].startswith("+48.2082+016.3738+170.0")
    if suffix != ".mkv":
        assert found["com.apple.quicktime.title"] == "Ein Titel"
    assert warnings_for(source, output) == []
    # The result as a source gives the same tags.
    again, _, _ = joined(output, tmp_path, Encoding(), suffix=suffix)
    assert {n: v for n, v in tags_of(again).items() if n != "encoder"} == {
        n: v for n, v in found.items() if n != "encoder"
    }


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_ordinary_tags_are_written_where_all_players_look(tmp_path, suffix):
    source = tagged(tmp_path / "s.mp4", PLAIN)
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    found = tags_of(output)
    assert {name: found[name] for name in ("title", "artist", "comment")} == {
        name: PLAIN[name] for name in ("title", "artist", "comment")
    }
    data = output.read_bytes()
    assert b"\xa9nam" in data and b"mdta" not in data


def test_tags_that_the_container_cannot_hold_are_named(tmp_path):
    source = tagged(tmp_path / "s.mkv", PLAIN | {"CATALOG_NUMBER": "17"})
    assert warnings_for(source, tmp_path / "o.mkv") == []
    (warning,) = warnings_for(source, tmp_path / "o.mp4")
    assert warning.endswith("CATALOG_NUMBER")
    (warning,) = warnings_for(source, tmp_path / "o.ts")
    assert "title" in warning and "CATALOG_NUMBER" in warning


def test_identifiers_of_an_mxf_file_are_not_tags_of_its_content(tmp_path):
    source = clips.make(tmp_path / "s.mxf", 20, codec="mpeg2video")
    with av.open(str(source)) as container:
        assert {"product_name", "generation_uid"} <= set(container.metadata)
    assert warnings_for(source, tmp_path / "o.mp4") == []


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("rate", "code", "later"),
    [
        (Fraction(25), "01:02:03:04", "01:02:03:09"),
        (Fraction(30000, 1001), "00:00:59;28", "00:01:00;05"),
        (Fraction(30000, 1001), "00:00:59:28", "00:01:00:03"),
        (Fraction(24000, 1001), "10:00:00:23", "10:00:01:04"),
    ],
)
def test_a_time_code_is_kept_and_advanced(tmp_path, suffix, rate, code, later):
    source = tagged(tmp_path / "s.mov", {}, timecode=code, rate=rate)
    assert warnings_for(source, tmp_path / f"o{suffix}") == []
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    assert tags_of(output)["timecode"] == code
    assert len(clips.frames_of(output)) == 20
    output, _, _ = joined(source, tmp_path, Encoding(), edges=(5, 15), suffix=suffix)
    assert tags_of(output)["timecode"] == later


def test_a_time_code_of_matroska_becomes_a_track_of_mov(tmp_path):
    source = tagged(tmp_path / "s.mkv", {"timecode": "01:02:03:04"})
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=".mov")
    assert tags_of(output)["timecode"] == "01:02:03:04"
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams] == ["video", "data"]


def test_a_time_code_that_is_left_out_is_named_with_its_value(tmp_path):
    source = tagged(tmp_path / "s.mov", {}, timecode="01:02:03:04")
    (warning,) = warnings_for(source, tmp_path / "o.ts")
    assert "timecode 01:02:03:04" in warning
