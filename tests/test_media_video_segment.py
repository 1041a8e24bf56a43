"""Segments: frames, colour tags, and identical codec headers."""

import av
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import OutputError
from ip2p_batch.frame import Frame, FullFrame
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.jobs.video_facts import ColorFacts, VideoFacts
from ip2p_batch.media.depth import to_8_bits, to_16_bits
from ip2p_batch.media.video.codecs import CODECS, segment_suffix
from ip2p_batch.media.video.deep_color import from_rgb48, to_rgb48
from ip2p_batch.media.video.pixel_formats import format_depth, has_alpha
from ip2p_batch.media.video.result_format import allowed_formats, kept_bits, pixel_format
from ip2p_batch.media.video.segment import SegmentWriter
from ip2p_batch.media.video.timestamps import decoding_times

from . import clips

#: Codecs that every machine can encode.
CPU_CODECS = [name for name, codec in CODECS.items() if not codec.needs_gpu]


def facts_for(codec, facts, size=None):
    """Facts of frames that the codec accepts, of ``size`` unless it is too small."""
    width, height = size or (facts.width, facts.height)
    if codec == "dnxhr":
        width, height = width % 2 + 256, height % 2 + 128
    return msgspec.structs.replace(facts, width=width, height=height)


FACTS = VideoFacts(
    width=64, height=64, time_base=(1, 12800), frame_rate=(25, 1), frames=20, duration=0.8,
    codec="h264", container="mov", pix_fmt="yuv420p", sar=(4, 3),
    color=ColorFacts(matrix=1, primaries=1, transfer=1, tagged=True),
)  # fmt: skip


DEEP = msgspec.structs.replace(FACTS, pix_fmt="yuv420p10le", bit_depth=10)


def write(path, facts, encoding, numbers):
    with SegmentWriter(path, facts, encoding) as writer:
        for n in numbers:
            writer.write(Frame(n, n * 512, clips.picture(n, *facts.upright)))
    return path


@pytest.mark.parametrize("codec", CPU_CODECS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 17])
def test_every_frame_of_a_segment_of_any_length_decodes(tmp_path, codec, count):
    encoding = Encoding(codec=codec)
    facts = facts_for(codec, FACTS)
    path = write(tmp_path / f"s{segment_suffix(encoding)}", facts, encoding, range(40, 40 + count))
    frames = clips.frames_of(path)
    assert [clips.number(image) for _, image in frames] == list(range(40, 40 + count))


@pytest.mark.parametrize("codec", CPU_CODECS)
def test_segments_are_reproducible_and_share_one_codec_header(tmp_path, codec):
    encoding = Encoding(codec=codec)
    suffix = segment_suffix(encoding)
    facts = facts_for(codec, FACTS)
    first = write(tmp_path / f"a{suffix}", facts, encoding, range(12))
    again = write(tmp_path / f"b{suffix}", facts, encoding, range(12))
    other = write(tmp_path / f"c{suffix}", facts, encoding, range(30, 33))
    headers = []
    for path in (first, other):
        with av.open(str(path)) as container:
            headers.append(container.streams.video[0].codec_context.extradata)
    assert clips.payloads(first, "video") == clips.payloads(again, "video")
    assert headers[0] == headers[1]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("full_range", [False, True])
def test_colour_tags_match_the_conversion(tmp_path, codec, full_range):
    color = ColorFacts(matrix=6, full_range=full_range, primaries=6, transfer=6, tagged=True)
    facts = msgspec.structs.replace(FACTS, color=color)
    path = write(tmp_path / "s.mp4", facts, Encoding(codec=codec), range(3))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 2 if full_range else 1)
        assert (frame.color_primaries, frame.color_trc) == (6, 6)
        assert float(container.streams.video[0].sample_aspect_ratio) == pytest.approx(4 / 3)


@pytest.mark.parametrize("matrix", [1, 6, 7])
@pytest.mark.parametrize("full_range", [False, True])
def test_prores_is_written_in_limited_range_and_in_a_matrix_that_it_can_name(
    tmp_path, matrix, full_range
):
    color = ColorFacts(matrix=matrix, full_range=full_range, primaries=1, transfer=1)
    facts = msgspec.structs.replace(FACTS, color=color)
    path = write(tmp_path / "s.mov", facts, Encoding(codec="prores"), range(3))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    written = 1 if matrix == 7 else matrix
    assert (frame.colorspace, frame.color_range, frame.color_primaries) == (written, 1, 1)
    image = to_rgb48(frame, ColorFacts(matrix=written))  # type: ignore[arg-type]
    assert np.abs(to_8_bits(image).astype(int) - clips.picture(0)).mean() < 2


@pytest.mark.parametrize("codec", CPU_CODECS)
@pytest.mark.parametrize("size", [(65, 64), (64, 65), (67, 69)])
def test_odd_sizes_keep_every_pixel(tmp_path, codec, size):
    facts = facts_for(codec, FACTS, size)
    encoding = Encoding(codec=codec, crf=None if CODECS[codec].crf is None else 8)
    path = write(tmp_path / f"s{segment_suffix(encoding)}", facts, encoding, range(2))
    _, image = clips.frames_of(path)[1]
    assert image.shape == (*facts.upright[::-1], 3)
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
    facts = msgspec.structs.replace(FACTS, width=70, height=35)
    with pytest.raises(OutputError, match=f"{codec}.*64x64") as caught:
        write(tmp_path / "s.mp4", facts, Encoding(codec=codec), range(2))
    assert "--codec" in caught.value.hint


# -- depth --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pix_fmt", "bits", "codec", "even", "odd", "kept"),
    [
        ("yuv420p", 8, "h264", "yuv420p", "yuv444p", 8),
        ("yuv420p", 8, "hevc", "yuv420p", "yuv444p", 8),
        ("yuv420p", 8, "av1", "yuv420p", "yuv420p", 8),
        ("yuv420p", 8, "ffv1", "bgr0", "bgr0", 8),
        ("rgb24", 8, "ffv1", "bgr0", "bgr0", 8),
        ("yuv420p10le", 10, "h264", "yuv420p10le", "yuv444p10le", 10),
        ("yuv422p12le", 12, "hevc", "yuv420p10le", "yuv444p10le", 10),
        ("gray16le", 16, "av1", "yuv420p10le", "yuv420p10le", 10),
        ("gbrp10le", 10, "ffv1", "gbrp10le", "gbrp10le", 10),
        ("yuv420p10le", 10, "ffv1", "gbrp12le", "gbrp12le", 10),
        ("yuv444p12le", 12, "ffv1", "gbrp14le", "gbrp14le", 12),
        ("yuv444p16le", 16, "ffv1", "gbrp16le", "gbrp16le", 16),
        ("gbrpf32le", 32, "ffv1", "gbrp16le", "gbrp16le", 16),
        ("yuv422p", 8, "h264", "yuv420p", "yuv444p", 8),
        ("yuv420p10le", 10, "vp9", "yuv420p", "yuv420p", 8),
        ("yuv420p", 8, "prores", "yuv422p10le", "yuv444p10le", 8),
        ("yuv422p12le", 12, "prores", "yuv422p10le", "yuv444p10le", 10),
        ("yuv444p", 8, "prores", "yuv444p10le", "yuv444p10le", 8),
        ("yuv420p", 8, "dnxhr", "yuv422p", "yuv422p", 8),
        ("yuv422p10le", 10, "dnxhr", "yuv422p10le", "yuv422p10le", 10),
        ("gbrp", 8, "dnxhr", "yuv444p10le", "yuv444p10le", 8),
        ("yuv420p10le", 10, "hevc_nvenc", "yuv420p10le", "yuv444p", 10),
    ],
)
def test_the_pixel_format_has_the_depth_of_the_source(pix_fmt, bits, codec, even, odd, kept):
    facts = msgspec.structs.replace(FACTS, pix_fmt=pix_fmt, bit_depth=bits)
    encoding = Encoding(codec=codec)
    assert pixel_format(facts, encoding) == even
    assert pixel_format(msgspec.structs.replace(facts, width=65), encoding) == odd
    assert kept_bits(facts, encoding) == kept


def gradient(n, width=64, height=64):
    """A smooth image whose neighbouring values differ by less than a step of 8 bits."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = 20_000 + 100 * n + 60 * x + 40 * y
    return np.dstack([ramp, ramp + 300, ramp + 600]).astype(np.uint16)


def write_deep(path, facts, encoding, count=5, image=gradient):
    with SegmentWriter(path, facts, encoding) as writer:
        for n in range(count):
            writer.write(FullFrame(n, n * 512, image(n, *facts.upright)))
    return path


def deep_images(path, facts):
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [to_rgb48(frame, facts.color) for frame in frames]  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", [c for c in CPU_CODECS if c not in ("vp9", "qtrle")])
@pytest.mark.parametrize("size", [(64, 64), (65, 67)])
def test_values_that_8_bits_cannot_hold_are_written(tmp_path, codec, size):
    facts = facts_for(codec, DEEP, size)
    crf = None if CODECS[codec].crf is None else {"av1": 1}.get(codec, 4)
    encoding = Encoding(codec=codec, crf=crf)
    path = write_deep(tmp_path / f"s{segment_suffix(encoding)}", facts, encoding)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        written = pixel_format(facts, encoding)
        # The decoder of ProRes 4444 gives two bits more than the encoder takes.
        assert stream.pix_fmt in (written, written.replace("444p10", "444p12"))
        if codec != "ffv1":
            frame = next(container.decode(video=0))
            assert (frame.colorspace, frame.color_range) == (1, 1)
            assert (frame.color_primaries, frame.color_trc) == (1, 1)
    images = deep_images(path, facts)
    assert len(images) == 5
    for n, image in enumerate(images):
        error = np.abs(image.astype(int) - gradient(n, *facts.upright))
        assert error.max() <= (8 if codec == "ffv1" else 700)
        assert error.mean() < (5 if codec == "ffv1" else 80), "8 bits: 64 from rounding alone"


@pytest.mark.parametrize("codec", CPU_CODECS)
def test_every_pixel_format_of_a_codec_can_be_chosen(tmp_path, codec):
    facts = facts_for(codec, DEEP)
    for name in allowed_formats(facts, Encoding(codec=codec)):
        if has_alpha(name):
            continue
        encoding = Encoding(codec=codec, pixel_format=name)
        path = write_deep(tmp_path / f"{name}{segment_suffix(encoding)}", facts, encoding, 1)
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        same = ("444p12", "444p10") if codec == "prores" else ("", "")
        assert frame.format.name.replace(*same) == name
        image = to_rgb48(frame, facts.color)  # type: ignore[arg-type]
        error = np.abs(image.astype(int) - gradient(0, *facts.upright))
        assert error.mean() < (400 if format_depth(name) == 8 else 300), name


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 1), (3, 3), (4, 4)])
@pytest.mark.parametrize("pixel_format", ["bgr0", "yuv420p", "gbrp16le"])
def test_ffv1_holds_frames_of_a_few_pixels(tmp_path, size, pixel_format):
    facts = msgspec.structs.replace(FACTS, width=size[0], height=size[1])
    encoding = Encoding(codec="ffv1", pixel_format=pixel_format)
    path = tmp_path / "a.mkv"
    with SegmentWriter(path, facts, encoding) as writer:
        writer.write(Frame(0, 0, np.full((size[1], size[0], 3), 90, np.uint8)))
    with av.open(str(path)) as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == size
    assert abs(frame.to_ndarray(format="rgb24").astype(int) - 90).max() <= 2


@pytest.mark.parametrize(("codec", "size"), [("h264", (65, 64)), ("prores", (65, 64))])
def test_halved_chroma_of_an_odd_side_is_no_choice_where_the_encoder_refuses_it(codec, size):
    facts = msgspec.structs.replace(FACTS, width=size[0], height=size[1])
    names = allowed_formats(facts, Encoding(codec=codec))
    assert names and all("444" in name for name in names)


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.min_size[0]])
def test_frames_that_are_too_small_are_refused_with_a_codec_for_the_same_container(tmp_path, codec):
    facts = msgspec.structs.replace(FACTS, width=62, height=62)
    if CODECS[codec].min_size <= (62, 62):
        return
    with pytest.raises(OutputError, match="needs frames of at least") as caught:
        write(tmp_path / "s.mkv", facts, Encoding(codec=codec), range(1))
    named = caught.value.hint.removeprefix("Use --codec ").split(" ")[0].rstrip(".")
    assert set(CODECS[codec].containers) & set(CODECS[named].containers)
    assert CODECS[named].min_size <= (62, 62)


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.needs_gpu])
def test_an_encoder_of_a_gpu_says_what_it_needs_where_there_is_none(tmp_path, codec):
    facts = msgspec.structs.replace(FACTS, width=256, height=128)
    try:
        write(tmp_path / "s.mp4", facts, Encoding(codec=codec), range(1))
    except OutputError as error:
        assert codec in error.message and "NVIDIA GPU" in error.hint
    else:
        pytest.skip("this machine has such an encoder")


def test_ffv1_keeps_deep_rgb_bit_identical(tmp_path):
    facts = msgspec.structs.replace(FACTS, pix_fmt="gbrp16le", bit_depth=16)
    path = write_deep(tmp_path / "s.mkv", facts, Encoding(codec="ffv1"))
    assert all(
        np.array_equal(image, gradient(n)) for n, image in enumerate(deep_images(path, facts))
    )


@pytest.mark.parametrize("bits", [10, 12])
def test_ffv1_gives_back_the_samples_of_deep_yuv(tmp_path, bits):
    facts = msgspec.structs.replace(FACTS, pix_fmt=f"yuv444p{bits}le", bit_depth=bits)
    source = from_rgb48(gradient(0), facts.color, facts.pix_fmt)
    rgb = to_rgb48(source, facts.color)
    path = write_deep(tmp_path / "s.mkv", facts, Encoding(codec="ffv1"), 1, lambda *_: rgb)
    again = from_rgb48(deep_images(path, facts)[0], facts.color, facts.pix_fmt)
    assert [bytes(p) for p in again.planes] == [bytes(p) for p in source.planes]


@pytest.mark.parametrize("codec", CPU_CODECS)
def test_deep_segments_are_reproducible_and_share_one_codec_header(tmp_path, codec):
    encoding, facts = Encoding(codec=codec), facts_for(codec, DEEP)
    first, again = (write_deep(tmp_path / name, facts, encoding, 12) for name in ("a", "b"))
    other = write_deep(tmp_path / "c", facts, encoding, 3)
    shallow = write(tmp_path / "d", facts, encoding, range(4))
    headers = []
    for path in (first, other, shallow):
        with av.open(str(path)) as container:
            headers.append(container.streams.video[0].codec_context.extradata)
    assert clips.payloads(first, "video") == clips.payloads(again, "video")
    assert headers[0] == headers[1] == headers[2]


def test_frames_are_converted_to_the_depth_of_the_segment(tmp_path):
    encoding = Encoding(codec="ffv1")
    rounded = write_deep(tmp_path / "rounded.mkv", FACTS, encoding)
    for n, image in enumerate(clips.images_of(rounded)):
        assert np.array_equal(image, to_8_bits(gradient(n)))
    extended = write(tmp_path / "extended.mkv", DEEP, encoding, range(3))
    for n, image in enumerate(deep_images(extended, DEEP)):
        assert np.array_equal(to_8_bits(image), clips.picture(n))
        assert np.abs(image.astype(int) - to_16_bits(clips.picture(n))).max() <= 8


@given(st.permutations(range(9)), st.lists(st.integers(1, 500), min_size=9, max_size=9))
def test_decoding_times_rise_and_never_exceed_presentation_times(order, steps):
    times = np.cumsum(steps)
    shown = times[list(order)]
    decoding = decoding_times(shown)
    assert (np.diff(decoding) > 0).all() and (decoding <= shown).all()
    assert (decoding == shown).any()
