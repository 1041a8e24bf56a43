"""Frames of files without right presentation times: each once, in order, at the stream's rate."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.frame_timing import filled_times
from ip2p_batch.media.video.index import VideoIndex
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.media.video.scan import NO_TIME

from . import clips
from .test_media_video_concat import joined

FRAMES = 40
BFRAMES = {"bf": "3", "b-pyramid": "normal", "x264-params": "scenecut=0:b-adapt=0"}
OPEN = {"bf": "3", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}
#: File name, codec, encoder options, FFmpeg's container, and what identifies a frame.
FILES = {
    "b1.avi": ("libx264", {"bf": "1", "x264-params": "b-adapt=0"}, None, "dts"),
    "b3.avi": ("libx264", BFRAMES, None, "dts"),
    "b0.avi": ("libx264", {"bf": "0"}, None, "dts"),
    "open.avi": ("libx264", OPEN, None, "dts"),
    "asp.avi": ("mpeg4", {"bf": "2"}, None, "dts"),
    "mpeg2.avi": ("mpeg2video", {"bf": "2"}, None, "dts"),
    "motion.avi": ("mjpeg", {}, None, "dts"),
    "b3.wmv": ("libx264", BFRAMES, "asf", "order"),
    "b3.mxf": ("libx264", BFRAMES, "mxf", "dts"),
    "c.vob": ("mpeg2video", {"bf": "2"}, "vob", "order"),
    "h264.vob": ("libx264", BFRAMES, "vob", "order"),
    "c.h264": ("libx264", BFRAMES, "h264", "order"),
    "open.h264": ("libx264", OPEN, "h264", "order"),
    "c.hevc": ("libx265", {"x265-params": "log-level=none:bframes=3"}, "hevc", "order"),
    "c.m2v": ("mpeg2video", {"bf": "2"}, "mpeg2video", "order"),
    "c.m4v": ("mpeg4", {"bf": "2"}, "m4v", "order"),
    "c.mjpeg": ("mjpeg", {}, "mjpeg", "order"),
    "c.mkv": ("libx264", BFRAMES, None, "pts"),
    "c.ts": ("libx264", BFRAMES, None, "pts"),
    "c.flv": ("libx264", BFRAMES, None, "pts"),
}


def write(path: Path, rate: Fraction = Fraction(25), frames: int = FRAMES) -> Path:
    codec, options, container, _ = FILES[path.name]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return clips.make(
        path, frames, rate=rate, codec=codec, options=options, container=container,
        size=(128, 96), gop=10, pix_fmt=pix_fmt,
    )  # fmt: skip


def numbers(path: Path, index: VideoIndex, order) -> list[int]:
    found = []
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        for start, stop in order:
            found += [clips.number(frame.image) for frame in reader.frames(start, stop)]
        assert reader.warnings == []
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_read_once_in_order_from_anywhere(tmp_path, name):
    path = write(tmp_path / name)
    index = probe.index_video(path)
    assert index.facts.frame_key == FILES[name][3]
    assert index.facts.frames == FRAMES and index.facts.missing == 0
    assert index.facts.notes == () and index.facts.frame_rate == (25, 1)
    steps = np.diff(index.pts) * float(Fraction(*index.facts.time_base))
    assert np.allclose(steps, 0.04, atol=0.0011)
    assert index.facts.duration == pytest.approx(FRAMES / 25, abs=0.002)
    assert numbers(path, index, [(0, FRAMES)]) == list(range(FRAMES))
    backwards = [(n, n + 3) for n in range(FRAMES - 3, 0, -9)]
    expected = [number for start, stop in backwards for number in range(start, stop)]
    assert numbers(path, index, backwards) == expected


@pytest.mark.parametrize("name", FILES)
def test_without_scene_cuts_the_same_frames_are_found(tmp_path, name):
    path = write(tmp_path / name)
    index, full = probe.index_video(path, scenes=False), probe.index_video(path)
    assert np.array_equal(index.pts, full.pts) and index.facts.frames == FRAMES
    assert numbers(path, index, [(11, 24)]) == list(range(11, 24))


@pytest.mark.parametrize("name", ["c.h264", "c.hevc", "c.m2v", "c.m4v"])
def test_an_elementary_stream_has_its_own_rate(tmp_path, name):
    path = write(tmp_path / name, Fraction(30000, 1001), 20)
    index = probe.index_video(path)
    assert index.facts.frame_rate == (30000, 1001)
    base = Fraction(*index.facts.time_base)
    assert [pts * base for pts in index.pts.tolist()] == [
        Fraction(1001 * n, 30000) for n in range(20)
    ]


@pytest.mark.parametrize("name", ["b3.avi", "c.h264", "h264.vob", "b3.wmv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_joined_frames_are_in_order(tmp_path, name, suffix):
    path = write(tmp_path / name)
    output, _, _ = joined(path, tmp_path, Encoding(), edges=(0, 7, 25, FRAMES), suffix=suffix)
    shown = [clips.number(image) for image in clips.images_of(output)]
    assert shown == list(range(FRAMES))


def packed(path: Path, frames: int) -> Path:
    """Write MPEG-4 with B-frames in a packed bitstream, as DivX does.

    The packet of a P-frame contains the B-frame that follows it, and an empty packet (``vop_coded``
    0) takes the place of the B-frame.
    """
    plain = clips.make(
        path.with_name("plain.avi"), frames, codec="mpeg4", options={"bf": "1", "b_strategy": "0"}
    )
    with av.open(str(plain)) as film, av.open(str(path), "w") as target:
        source = film.streams.video[0]
        stream = target.add_stream_from_template(source)
        header = bytes(source.codec_context.extradata or b"")
        data = [bytes(p) for p in film.demux(source) if p.size]
        result: list[bytes] = []
        shown = 0
        for number, payload in enumerate(data):
            start = payload.index(b"\0\0\1\xb6")
            kind = payload[start + 4] >> 6  # 0 I, 1 P, 2 B
            if kind == 2:
                result[-1] += payload[start:]
                # 01 P, 0 no further second, marker, 5 bits of time, marker, 0 not coded, padding
                bits = f"0101{shown % 25:05b}10" + "01111"
                result.append(b"\0\0\1\xb6" + int(bits, 2).to_bytes(2, "big"))
            else:
                following = data[number + 1] if number + 1 < len(data) else b""
                has_b = following[following.find(b"\0\0\1\xb6") + 4 :][:1] >= b"\x80"
                shown = number + 1 if has_b else number
                result.append(payload)
        name = b"\0\0\1\xb2DivX503b1393p"
        result[0] = header + name + result[0][result[0].index(b"\0\0\1\xb6") :]
        for number, payload in enumerate(result):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            target.mux(packet)
    return path


def test_a_packed_bitstream_shows_every_frame(tmp_path):
    path = packed(tmp_path / "c.avi", 20)
    index = probe.index_video(path)
    found = numbers(path, index, [(0, index.facts.frames)])
    assert found == list(range(20)) and index.facts.missing == 0
    assert index.facts.notes == ()


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"bf": "2", "x264-params": "b-adapt=0:b-pyramid=0"}), ("mpeg4", {"bf": "2"}),
     ("mpeg4", {})],
)  # fmt: skip
def test_frames_that_avi_leaves_out_keep_the_others_in_time(tmp_path, codec, options):
    stamps = [n if n < 12 else n + 5 for n in range(20)]
    path = clips.make(tmp_path / "c.avi", 20, pts=stamps, codec=codec, options=options)
    index = probe.index_video(path)
    assert numbers(path, index, [(0, 20)]) == list(range(20))
    assert index.pts.tolist() == stamps and index.facts.missing == 0


def test_presentation_times_that_repeat_those_of_decoding_are_not_used(tmp_path):
    # Some programs write MP4 without the table of composition offsets.
    plain = clips.make(tmp_path / "plain.mp4", 30, options=BFRAMES)
    path = tmp_path / "c.mp4"
    with av.open(str(plain)) as film, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(film.streams.video[0])
        packets = [packet for packet in film.demux(video=0) if packet.size]
        first = packets[0].dts
        for packet in packets:
            packet.stream = stream
            packet.pts = packet.dts = packet.dts - first
            target.mux(packet)
    for scenes in (True, False):
        index = probe.index_video(path, scenes=scenes)
        assert index.facts.frame_key == "dts"
        assert numbers(path, index, [(0, 30)]) == list(range(30))


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5000)), min_size=1, max_size=40),
    st.fractions(1, 100, max_denominator=1001),
)
def test_completed_times_rise_and_keep_those_that_rose(times, step):
    known = np.array([NO_TIME if time is None else time for time in times], dtype=np.int64)
    filled = filled_times(known, step)
    assert len(filled) == len(times) and np.all(np.diff(filled) >= 1)
    first = next((n for n, time in enumerate(times) if time is not None), None)
    if first is not None:
        assert filled[first] == times[first]


def test_times_that_rise_are_kept_exactly():
    times = np.array([2**60, 2**60 + 1, 2**60 + 90000], dtype=np.int64)
    assert filled_times(times, Fraction(3600)).tolist() == times.tolist()
