"""Segments: frames, colour tags, and identical codec headers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import OutputError
from ip2p_batch.frame import Frame
from ip2p_batch.jobs.spec import ColorFacts, Encoding, VideoFacts
from ip2p_batch.media.video.segment import CODECS, SegmentWriter, pixel_format, segment_suffix
from ip2p_batch.media.video.timestamps import decoding_times

from . import clips

FACTS = VideoFacts(
    width=64, height=64, time_base=(1, 12800), frame_rate=(25, 1), frames=20, duration=0.8,
    codec="h264", container="mov", pix_fmt="yuv420p", sar=(4, 3),
    color=ColorFacts(matrix=1, primaries=1, transfer=1, tagged=True),
)  # fmt: skip


def write(path, facts, encoding, numbers):
    with SegmentWriter(path, facts, encoding) as writer:
        for n in numbers:
            writer.write(Frame(n, n * 512, clips.picture(n, *facts.upright)))
    return path


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 17])
def test_every_frame_of_a_segment_of_any_length_decodes(tmp_path, codec, count):
    encoding = Encoding(codec=codec)
    path = write(tmp_path / f"s{segment_suffix(encoding)}", FACTS, encoding, range(40, 40 + count))
    frames = clips.frames_of(path)
    assert [clips.number(image) for _, image in frames] == list(range(40, 40 + count))


@pytest.mark.parametrize("codec", CODECS)
def test_segments_are_reproducible_and_share_one_codec_header(tmp_path, codec):
    import av

    encoding = Encoding(codec=codec)
    suffix = segment_suffix(encoding)
    first = write(tmp_path / f"a{suffix}", FACTS, encoding, range(12))
    again = write(tmp_path / f"b{suffix}", FACTS, encoding, range(12))
    other = write(tmp_path / f"c{suffix}", FACTS, encoding, range(30, 33))
    headers = []
    for path in (first, other):
        with av.open(str(path)) as container:
            headers.append(container.streams.video[0].codec_context.extradata)
    assert clips.payloads(first, "video") == clips.payloads(again, "video")
    assert headers[0] == headers[1]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("full_range", [False, True])
def test_colour_tags_match_the_conversion(tmp_path, codec, full_range):
    import av
    import msgspec

    color = ColorFacts(matrix=6, full_range=full_range, primaries=6, transfer=6, tagged=True)
    facts = msgspec.structs.replace(FACTS, color=color)
    path = write(tmp_path / "s.mp4", facts, Encoding(codec=codec), range(3))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 2 if full_range else 1)
        assert (frame.color_primaries, frame.color_trc) == (6, 6)
        assert float(container.streams.video[0].sample_aspect_ratio) == pytest.approx(4 / 3)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(65, 64), (64, 65), (67, 69)])
def test_odd_sizes_keep_every_pixel(tmp_path, codec, size):
    import msgspec

    facts = msgspec.structs.replace(FACTS, width=size[0], height=size[1])
    encoding = Encoding(codec=codec, crf=None if codec == "ffv1" else 8)
    path = write(tmp_path / f"s{segment_suffix(encoding)}", facts, encoding, range(2))
    _, image = clips.frames_of(path)[1]
    assert image.shape == (size[1], size[0], 3)
    assert pixel_format(facts, Encoding()) == "yuv444p"


def test_ffv1_keeps_pixels_bit_identical(tmp_path):
    path = write(tmp_path / "s.mkv", FACTS, Encoding(codec="ffv1"), range(3))
    for n, (_, image) in enumerate(clips.frames_of(path)):
        assert np.array_equal(image, clips.picture(n))


def test_quality_follows_crf(tmp_path):
    sizes = [
        write(tmp_path / f"{crf}.mp4", FACTS, Encoding(crf=crf), range(8)).stat().st_size
        for crf in (5, 25, 45)
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_a_size_that_the_encoder_rejects_is_an_output_error(tmp_path, codec):
    import msgspec

    facts = msgspec.structs.replace(FACTS, width=70, height=35)
    with pytest.raises(OutputError, match=f"{codec}.*64") as caught:
        write(tmp_path / "s.mp4", facts, Encoding(codec=codec), range(2))
    assert "--codec" in caught.value.hint


@given(st.permutations(range(9)), st.lists(st.integers(1, 500), min_size=9, max_size=9))
def test_decoding_times_rise_and_never_exceed_presentation_times(order, steps):
    times = np.cumsum(steps)
    shown = times[list(order)]
    decoding = decoding_times(shown)
    assert (np.diff(decoding) > 0).all() and (decoding <= shown).all()
    assert (decoding == shown).any()
