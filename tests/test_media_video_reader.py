"""Read any range of frames, compared with frames decoded from the beginning."""

import os
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.errors import SourceError
from ip2p_batch.frame import Frame
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.color import to_rgb
from ip2p_batch.media.video.decoded_file import DecodedFile
from ip2p_batch.media.video.reader import VideoReader

from . import clips

VFR = [int(t) for t in np.cumsum(np.random.default_rng(0).integers(300, 6000, 80))]
CLIPS: dict[str, dict[str, Any]] = {
    "closed.mp4": {"gop": 12},
    "open.mp4": {"options": {"x264-params": "open-gop=1:keyint=14:bframes=4:b-pyramid=2"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=15"}},
    "vfr.mp4": {"pts": VFR, "time_base": Fraction(1, 90000)},
    "stream.ts": {"options": {"x264-params": "open-gop=1:keyint=14:bframes=3"}},
    "program.mpg": {"codec": "mpeg2video", "gop": 10},
    "old.avi": {"codec": "mpeg4"},
    "vp9.webm": {"codec": "libvpx-vp9"},
}


@pytest.fixture(scope="module", params=CLIPS)
def source(request, tmp_path_factory):
    """Return a video of 80 frames, its index, and its frames decoded from the beginning."""
    os.environ.setdefault("SVT_LOG", "0")
    path = clips.make(tmp_path_factory.mktemp("clips") / request.param, 80, **CLIPS[request.param])
    index = probe.index_video(path)
    with av.open(str(path)) as container:
        linear = [to_rgb(f, index.facts.color) for f in container.decode(video=0)]  # type: ignore[arg-type]
    return path, index, linear


def test_the_whole_video_is_read_in_order(source):
    path, index, linear = source
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        frames = list(reader.frames(0, 80))
    assert [f.index for f in frames] == list(range(80))
    assert [f.pts for f in frames] == index.pts.tolist()
    assert [clips.number(f.image) for f in frames] == list(range(80))
    assert all(np.array_equal(f.image, linear[f.index]) for f in frames)


@settings(max_examples=25)
@given(data=st.data())
def test_any_sequence_of_ranges_equals_a_linear_decode(source, data):
    path, index, linear = source
    ranges = data.draw(
        st.lists(st.tuples(st.integers(0, 79), st.integers(1, 9)), min_size=1, max_size=4)
    )
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        for start, length in ranges:
            stop = min(80, start + length)
            frames = list(reader.frames(start, stop))
            assert [f.index for f in frames] == list(range(start, stop))
            assert all(np.array_equal(f.image, linear[f.index]) for f in frames)
        assert reader.warnings == []


def seeks_of(monkeypatch, path, index, ranges):
    """How many seeks the reads of these ranges make, in one reader."""
    seeks = []
    seek = DecodedFile.seek
    monkeypatch.setattr(
        DecodedFile, "seek", lambda self, target: seeks.append(target) or seek(self, target)
    )
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        for start, stop in ranges:
            numbers = [clips.number(f.image) for f in reader.frames(start, stop)]
            assert numbers == list(range(start, stop))
    return len(seeks)


def test_a_later_or_overlapping_read_continues_without_a_seek(tmp_path, monkeypatch):
    path = clips.make(tmp_path / "long.mp4", 60, gop=250)
    index = probe.index_video(path)
    later, overlapping, earlier = [(0, 10), (20, 30)], [(0, 10), (6, 16)], [(20, 30), (0, 10)]
    assert seeks_of(monkeypatch, path, index, later) == 1
    assert seeks_of(monkeypatch, path, index, overlapping) == 1
    assert seeks_of(monkeypatch, path, index, earlier) == 2


def test_a_read_behind_the_next_keyframe_seeks(tmp_path, monkeypatch):
    path = clips.make(tmp_path / "short.mp4", 60, gop=12)
    index = probe.index_video(path)
    assert seeks_of(monkeypatch, path, index, [(0, 5), (40, 45)]) == 2


@settings(max_examples=15)
@given(numbers=st.sets(st.integers(0, 79), max_size=6).map(sorted))
def test_single_frames_equal_a_linear_decode(source, numbers):
    path, index, linear = source
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        frames = list(reader.frames_at(numbers))
        assert [f.index for f in frames] == numbers
        assert all(np.array_equal(f.image, linear[f.index]) for f in frames)
        assert reader.warnings == []


def test_single_frames_near_each_other_are_read_in_one_pass(tmp_path, monkeypatch):
    clip = clips.make(tmp_path / "c.mp4", 80, gop=80)
    index = probe.index_video(clip, scenes=False)
    seeks = []
    seek = DecodedFile.seek
    monkeypatch.setattr(
        DecodedFile, "seek", lambda self, target: seeks.append(target) or seek(self, target)
    )
    with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
        assert [f.index for f in reader.frames_at([2, 10, 15, 78])] == [2, 10, 15, 78]
    assert len(seeks) == 2


def test_frames_are_upright(tmp_path):
    for rotation in (90, 180, -90):
        clip = clips.make(tmp_path / f"{rotation}.mp4", 3, rotation=rotation)
        index = probe.index_video(clip)
        with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
            shown = reader.frame(2).image
        # The display matrix turns counterclockwise, and so does rot90.
        expected = np.rot90(clips.picture(2), rotation // 90)
        assert shown.shape == expected.shape
        assert np.abs(shown.astype(int) - expected).mean() < 8


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    parts = [clips.make(tmp_path / f"{width}.ts", 10, size=(width, 64)) for width in (64, 128)]
    clip = tmp_path / "both.ts"
    with av.open(str(clip), "w") as target:
        stream = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as source:
                if stream is None:
                    stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts += number * 36000
                        packet.dts += number * 36000
                        packet.stream = stream
                        target.mux(packet)
    index = probe.index_video(clip)
    assert any("size changes" in note for note in index.facts.notes)
    with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
        frames = list(reader.frames(0, 20))
    assert {f.image.shape for f in frames} == {(64, 64, 3)}
    assert [clips.number(f.image) for f in frames] == [*range(10), *range(10)]


def test_a_frame_that_does_not_decode_is_replaced_by_a_neighbour(tmp_path):
    clip = clips.make(tmp_path / "c.mp4", 20)
    index = probe.index_video(clip, scenes=False)
    table = np.sort(np.append(index.pts, [index.pts[7] + 5, index.pts[-1] + 999]))
    with VideoReader(clip, index.facts, table) as reader:
        frames = list(reader.frames(6, 11))
        assert [clips.number(f.image) for f in frames] == [6, 7, 7, 8, 9]
        assert clips.number(reader.frame(8).image) == 7
        assert clips.number(reader.frame(21).image) == 19
        # With and without frames between them.
        assert [clips.number(f.image) for f in reader.frames_at([0, 6, 8, 21])] == [0, 6, 7, 19]
        assert [clips.number(f.image) for f in reader.frames_at([0, 7, 8])] == [0, 7, 7]
        assert reader.warnings[0] == "Frame 8 does not decode; a neighbour replaces it."


def test_a_single_frame_does_not_depend_on_the_other_frames_of_the_read(tmp_path):
    """This includes damaged packets: a frame is always replaced by the same neighbour."""
    whole = clips.make(tmp_path / "whole.avi", 40, codec="mjpeg", pix_fmt="yuvj420p")
    index = probe.index_video(whole, scenes=False)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        for packet in packets[13:25]:
            data[packet.pos + 8 : packet.pos + packet.size] = bytes(packet.size - 8)
    clip = tmp_path / "damaged.avi"
    clip.write_bytes(data)
    with VideoReader(clip, index.facts, index.pts, index.ids) as reader:
        alone = {n: clips.number(reader.frame(n).image) for n in range(40)}
        assert alone[12] == 12 and alone[24] != 24
        for numbers in ([12, 24], [0, 12, 24, 39], [13, 15, 30], [5, 14], [20, 24, 26]):
            numbers_read = {f.index: clips.number(f.image) for f in reader.frames_at(numbers)}
            assert numbers_read == {n: alone[n] for n in numbers}


def test_a_file_that_ends_before_the_frame_is_a_source_error(tmp_path):
    whole = clips.make(tmp_path / "whole.mkv", 60, gop=6)
    index = probe.index_video(whole)
    short = tmp_path / "short.mkv"
    short.write_bytes(whole.read_bytes()[:900])
    with (
        pytest.raises(SourceError, match=r"short\.mkv"),
        VideoReader(short, index.facts, index.pts, index.ids) as reader,
    ):
        reader.frame(50)


# -- depth --------------------------------------------------------------------------------


def read_deep(path, *, deep=True):
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids, deep=deep) as reader:
        return list(reader.frames(0, len(index.pts)))


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_a_deep_source_is_read_in_16_bits_on_request(tmp_path, pix_fmt):
    bits = int(pix_fmt[-4:-2])
    path = clips.make_deep(tmp_path / "c.mkv", 3, pix_fmt=pix_fmt)
    for frame in read_deep(path):
        luma = clips.ramp(frame.index, bits=bits).astype(float)
        exact = (luma / (1 << (bits - 8)) - 16) / 219 * 65535
        assert frame.image.dtype == np.uint16
        assert np.abs(frame.image - exact[..., None]).max() <= 0.6
    shallow = read_deep(path, deep=False)[0]
    assert isinstance(shallow, Frame) and shallow.image.dtype == np.uint8


def test_deep_rgb_is_read_exactly(tmp_path):
    def luma(number, width, height, bits):
        return np.arange(number, number + width * height, dtype=np.uint16).reshape(height, width)

    path = clips.make_deep(tmp_path / "c.mkv", 2, pix_fmt="gbrp16le", luma=luma)
    for frame in read_deep(path):
        assert np.array_equal(frame.image, np.dstack([luma(frame.index, 64, 64, 16)] * 3))


def test_a_source_of_8_bits_is_read_in_8_bits(tmp_path):
    path = clips.make(tmp_path / "c.mp4", 3)
    before, after = read_deep(path, deep=False), read_deep(path)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(before, after, strict=True))
    assert {frame.image.dtype for frame in after} == {np.dtype(np.uint8)}
    assert all(isinstance(frame, Frame) for frame in after)


def test_a_rotated_deep_source_is_read_upright(tmp_path):
    path = clips.make_deep(
        tmp_path / "c.mov", 1, codec="libx265", size=(96, 64), rotation=90,
        options={"x265-params": "log-level=none:lossless=1:bframes=0"},
    )  # fmt: skip
    (frame,) = read_deep(path)
    luma = np.rot90(clips.ramp(0, 96, 64)).astype(float)
    assert frame.image.shape == (96, 64, 3)
    assert np.abs(frame.image[..., 0] - (luma / 4 - 16) / 219 * 65535).max() <= 0.6
