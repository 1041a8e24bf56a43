"""Closed captions in the frames of a video: found, and kept on the right frames."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type

from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.media.video import captions, probe
from ip2p_batch.media.video.output import caption_notes, check_output

from . import clips
from .test_media_video_concat import joined


def caption(number):
    """Two caption triples of frame ``number``, as CEA-708 numbers them."""
    return bytes([0xFC, 0x20 + number, 0x41, 0xFC, 0x43, 0x60 + number])


def sei(number):
    """NAL unit with the captions of frame ``number`` (ATSC A/53, ITU-T T.35)."""
    data = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | 2]) + b"\xff" + caption(number) + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes([len(data)]) + data + b"\x80"


def captioned(path, frames=20, first=0, size=(64, 64)):
    """Write H.264 with B-frames and with captions in the frames from ``first`` on."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25, options={"crf": "4"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 25)
        video.codec_context.max_b_frames = 2
        packets = []
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(clips.picture(number, *size), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        for packet in packets + video.encode(None):
            number = packet.pts
            data = (sei(number) if number >= first else b"") + bytes(packet)
            copy = av.Packet(data)
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream, copy.is_keyframe = video, packet.is_keyframe
            target.mux(copy)
    return path


def captions_in(path):
    with av.open(str(path)) as container:
        frames: list[Any] = list(container.decode(video=0))
        found = [frame.side_data.get(Type.A53_CC) for frame in frames]
    return [None if data is None else bytes(data) for data in found]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_captions_stay_on_their_frames(tmp_path, codec, suffix):
    source = captioned(tmp_path / "s.mp4")
    assert captions_in(source) == [caption(number) for number in range(20)]
    for edges in ((0, 3, 4, 11, 20), (5, 6, 15)):
        output, index, expected = joined(
            source, tmp_path, Encoding(codec=codec), edges, suffix=suffix
        )
        assert captions_in(output) == [caption(number) for number in range(edges[0], edges[-1])]
        assert index.facts.has_captions
        images = clips.images_of(output)
        assert all(np.array_equal(a, b) for a, b in zip(images, expected, strict=True))


def test_captions_do_not_change_pixels(tmp_path):
    """Sides that are no multiple of 16 have rows of another length in memory."""
    for size in ((64, 64), (70, 54)):
        plain = clips.make(tmp_path / "plain.mp4", 6, size=size, options={"bf": "0"})
        with_captions = captioned(tmp_path / "captions.mp4", 6, size=size)
        frames: list[Any] = list(av.open(str(with_captions)).decode(video=0))
        for frame in frames:
            carrier = captions.captions_of(frame)
            assert carrier is not None
            other: Any = next(av.open(str(plain)).decode(video=0)).reformat(format="yuv444p")
            result: Any = captions.with_captions(other, carrier)
            assert np.array_equal(result.to_ndarray(), other.to_ndarray())
            assert bytes(result.side_data[Type.A53_CC]) == caption(frame.pts * 25 // 12800)


@pytest.mark.parametrize("scenes", [True, False])
def test_captions_that_begin_late_are_found(tmp_path, scenes):
    source = captioned(tmp_path / "s.mp4", first=13)
    assert probe.index_video(source, scenes=scenes).facts.has_captions
    source = captioned(tmp_path / "none.mp4", first=99)
    assert not probe.index_video(source, scenes=scenes).facts.has_captions


def test_captions_that_cannot_be_kept_are_named(tmp_path):
    source = captioned(tmp_path / "s.mp4")
    facts = probe.index_video(source).facts
    assert caption_notes(facts, Encoding(codec="h264")) == []
    for codec in ("av1", "ffv1", "vp9"):
        assert "captions" in caption_notes(facts, Encoding(codec=codec))[0]
    output, _, _ = joined(source, tmp_path, Encoding(codec="ffv1"), suffix=".mkv")
    assert captions_in(output) == [None] * 20
    telecine = Decoding(deinterlace="ivtc")
    facts = probe.index_video(source, decoding=telecine).facts
    assert (facts.deinterlace == "ivtc") == bool(caption_notes(facts, Encoding(codec="h264")))
    assert check_output(source, tmp_path / "o.mp4", facts, Encoding()) == []
