"""Streams next to the edited one: covers, attachments and data, kept or named."""

import io
from fractions import Fraction
from typing import Any

import av
import pytest
from av.stream import Disposition
from PIL import Image

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.output import check_output
from ip2p_batch.media.video.streams import is_cover

from . import clips
from .test_media_video_concat import joined


def image(kind="JPEG"):
    memory = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(memory, kind)
    return memory.getvalue()


def with_cover(path, folder, data, *, keys=False):
    """Write a video with a cover: an attachment in Matroska, else MP4's own."""
    plain = clips.make(folder / "plain.mp4", 20, audio="aac")
    with av.open(str(plain)) as film, av.open(str(path), "w") as target:
        streams: dict[int, Any] = {
            s.index: target.add_stream_from_template(s) for s in film.streams
        }
        if path.suffix == ".mkv":
            target.add_attachment("cover.jpg", "image/jpeg", data)
        else:
            name = "png" if data[1:4] == b"PNG" else "mjpeg"
            cover: Any = target.add_mux_stream(name, width=32, height=32)
            cover.disposition = type(cover.disposition).attached_pic
        for packet in film.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
        if path.suffix != ".mkv":
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts = cover, 0, 0
            target.mux(packet)
    return path


def covers(path):
    """The covers' bytes, and the number of other video streams."""
    with av.open(str(path)) as container:
        found = [s for s in container.streams.video if is_cover(s)]  # type: ignore[arg-type]
        others = len(container.streams.video) - len(found)
        indexes = [s.index for s in found]
    images = []
    for index in indexes:
        with av.open(str(path)) as container:
            packets = container.demux(container.streams[index])
            images += [bytes(packet) for packet in packets if packet.size]
    return images, others


@pytest.mark.parametrize(
    ("source", "kind"), [("s.mkv", "JPEG"), ("s.mp4", "JPEG"), ("s.mp4", "PNG")]
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_cover_stays_a_cover(tmp_path, source, suffix, kind):
    data = image(kind)
    path = with_cover(tmp_path / source, tmp_path, data)
    assert covers(path) == ([data], 1)
    for name in ("first", "second"):  # the result as a source keeps it, too
        folder = tmp_path / name
        folder.mkdir()
        facts = probe.index_video(path).facts
        assert check_output(path, folder / f"o{suffix}", facts, Encoding()) == []
        path, _, _ = joined(path, folder, Encoding(), suffix=suffix)
        assert covers(path) == ([data], 1)
        if suffix == ".mkv":
            with av.open(str(path)) as container:
                tags = next(s.metadata for s in container.streams if s.index == 2)
            assert tags["filename"] == ("cover.png" if kind == "PNG" else "cover.jpg")
            assert tags["mimetype"] == f"image/{kind.lower()}"


@pytest.mark.parametrize("suffix", [".mov", ".ts", ".avi"])
def test_a_cover_never_becomes_a_video_track(tmp_path, suffix):
    path = with_cover(tmp_path / "s.mkv", tmp_path, image())
    facts = probe.index_video(path).facts
    encoding = Encoding(codec="ffv1" if suffix == ".avi" else "h264")
    warnings = check_output(path, tmp_path / f"o{suffix}", facts, encoding)
    assert any("cover image" in warning for warning in warnings)
    output, _, _ = joined(path, tmp_path, encoding, suffix=suffix)
    assert covers(output) == ([], 1)


def test_what_is_left_out_is_named(tmp_path):
    source = tmp_path / "s.mkv"
    plain = clips.make(tmp_path / "plain.mkv", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(film.streams.video[0])
        images = target.add_mux_stream("hdmv_pgs_subtitle")
        images.metadata["language"] = "ger"
        target.add_attachment("Font One.ttf", "font/ttf", b"\0\1\0\0")
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        packet = av.Packet(b"\x80\0\0")
        packet.stream, packet.pts, packet.dts = images, 0, 0
        target.mux(packet)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / "o.mp4", facts, Encoding())
    assert len(warnings) == 2
    assert "ger subtitle stream (pgssub)" in warnings[0] and "left out" in warnings[0]
    assert "attachment Font One.ttf" in warnings[1] and "left out" in warnings[1]
    assert check_output(source, tmp_path / "o.mkv", facts, Encoding()) == []
    (webm,) = [w for w in check_output(source, tmp_path / "o.webm", facts, Encoding(codec="av1"))
               if "attachment" in w]  # fmt: skip
    assert ".webm files cannot hold the source's attachment Font One.ttf" in webm


def with_sound(folder, **metadata):
    """A Matroska file with video, and sound that has these metadata."""
    path = folder / "s.mkv"
    plain = clips.make(folder / "plain.mkv", 20, audio="aac")
    with av.open(str(plain)) as film, av.open(str(path), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in film.streams}
        streams[1].metadata.update(metadata)
        for packet in film.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


@pytest.mark.parametrize(
    ("tag", "suffix", "stored"),
    [("pt-BR", ".mp4", "por"), ("zh-Hans", ".mov", "chi"), ("hr-HR", ".mov", "und"),
     ("en", ".ts", "eng")],
)  # fmt: skip
def test_language_tags_become_the_code_that_the_container_stores(tmp_path, tag, suffix, stored):
    source = with_sound(tmp_path, language=tag)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / f"o{suffix}", facts, Encoding())
    assert [tag in warning for warning in warnings] == ([True] if "-" in tag else [])
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    with av.open(str(output)) as container:
        assert (container.streams.audio[0].language or "und") == stored


@pytest.mark.parametrize(
    ("language", "suffix", "kept"),
    [
        ("deu", ".mov", "ger"), ("swe", ".mov", "sve"), ("hrv", ".mov", None),
        ("deu", ".mp4", "deu"), ("hrv", ".mkv", "hrv"), ("pt-BR", ".mkv", "pt-BR"),
    ],
)  # fmt: skip
def test_languages_have_a_code_that_the_container_stores(tmp_path, language, suffix, kept):
    source = with_sound(tmp_path, language=language, title="Ein Name")
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / f"o{suffix}", facts, Encoding())
    assert [language in warning for warning in warnings] == ([] if kept else [True])
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].language == kept
    # The title comes back from MP4, where it is a track's name.
    folder = tmp_path / "again"
    folder.mkdir()
    again, _, _ = joined(output, folder, Encoding(), suffix=".mkv")
    with av.open(str(again)) as container:
        assert container.streams.audio[0].metadata["title"] == "Ein Name"


def test_a_second_video_stream_is_left_out_with_the_option_that_edits_it(tmp_path):
    source = tmp_path / "s.mkv"
    plain = clips.make(tmp_path / "plain.mkv", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        streams: list[Any] = [
            target.add_stream_from_template(film.streams.video[0]) for _ in range(2)
        ]
        for packet in film.demux(video=0):
            if packet.size:
                for stream in streams:
                    packet.stream = stream
                    target.mux(packet)
    facts = probe.index_video(source).facts
    (warning,) = check_output(source, tmp_path / "o.mkv", facts, Encoding())
    assert "other video stream" in warning and "--stream 1" in warning


def test_chapters_that_the_container_cannot_hold_are_named(tmp_path):
    source = clips.make(tmp_path / "s.mkv", 20, chapters=True)
    facts = probe.index_video(source).facts
    assert check_output(source, tmp_path / "o.mp4", facts, Encoding()) == []
    (warning,) = check_output(source, tmp_path / "o.ts", facts, Encoding())
    assert "chapters" in warning and "2" in warning


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv", ".ts"])
def test_data_streams_are_left_out_and_named(tmp_path, suffix):
    source = tmp_path / "s.ts"
    plain = clips.make(tmp_path / "plain.mp4", 20)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(film.streams.video[0])
        data: Any = target.add_data_stream("klv")
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        for time in range(3):
            sample = av.Packet(b"\x06\x0e\x2b\x34" + bytes(28))
            sample.stream, sample.time_base = data, Fraction(1, 90000)
            sample.pts = sample.dts = time * 9000
            target.mux(sample)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / f"o{suffix}", facts, Encoding())
    assert len(warnings) == 1 and "data stream" in warnings[0] and "left out" in warnings[0]
    output, _, _ = joined(source, tmp_path, Encoding(), suffix=suffix)
    with av.open(str(output)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(("suffix", "is_named"), [(".mov", True), (".mp4", False)])
def test_a_forced_flag_that_mov_cannot_store_is_named(tmp_path, suffix, is_named):
    source = tmp_path / "s.mkv"
    plain = clips.make(tmp_path / "plain.mkv", 20, subtitles=True)
    with av.open(str(plain)) as film, av.open(str(source), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in film.streams}
        streams[1].disposition = Disposition.forced
        for packet in film.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / f"o{suffix}", facts, Encoding())
    assert any("as forced" in warning for warning in warnings) == is_named
