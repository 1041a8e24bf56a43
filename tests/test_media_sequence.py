"""Frames of image sequences: formats, depths, opacity, linear light; and what planning refuses."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image as Pil

from ip2p_batch.errors import OutputError, OutsideRoots, RecipeError, SourceError
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.jobs.video_facts import VideoFacts
from ip2p_batch.media.frames import index_frames, open_frames
from ip2p_batch.media.sequence import exr
from ip2p_batch.media.sequence.frame import frame_size, read_frame
from ip2p_batch.media.sequence.output import plan_sequence, sequence_notes
from ip2p_batch.media.sequence.writer import write_frame
from ip2p_batch.media.source import classify_source
from ip2p_batch.storage.roots import Roots

from .clips import make, number, picture
from .sequences import deep_picture, opacity, write_sequence


def write(path, image, alpha=None, *, bits=8, source=None):
    return write_frame(
        path, image, alpha, bits=bits, source=source, comment="{}", encoding=Encoding()
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".dpx", ".bmp", ".exr"])
def test_8_bits_return_as_written(tmp_path, suffix):
    image = picture(3, 66, 48)
    write(tmp_path / f"f{suffix}", image)
    frame = read_frame(tmp_path / f"f{suffix}")
    depth = 16 if suffix == ".exr" else 8
    expected = image.astype(np.int32) * (257 if suffix == ".exr" else 1)
    # Half floats have 11 bits.
    assert np.abs(frame.image.astype(np.int32) - expected).max() <= (16 if depth == 16 else 0)
    assert (frame.depth, frame.size, frame.alpha) == (depth, (66, 48), None)
    assert frame_size(tmp_path / f"f{suffix}") == (66, 48)


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 16), (".tif", 16), (".dpx", 10), (".dpx", 12), (".dpx", 16)]
)
def test_deep_samples_return_as_written(tmp_path, suffix, bits):
    steps = (1 << bits) - 1
    image = np.rint(np.rint(deep_picture(2) / 65535 * steps) / steps * 65535).astype(np.uint16)
    write(tmp_path / f"f{suffix}", image, bits=bits)
    frame = read_frame(tmp_path / f"f{suffix}")
    assert frame.depth == bits
    assert np.abs(frame.image.astype(int) - image.astype(int)).max() <= (16 - bits > 0)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".dpx", ".exr"])
def test_opacity_returns_as_written(tmp_path, suffix, deep):
    image, alpha = (deep_picture if deep else picture)(1), opacity()
    if deep:
        alpha = alpha.astype(np.uint16) * 257
    write(tmp_path / f"f{suffix}", image, alpha, bits=16 if deep else 8)
    frame = read_frame(tmp_path / f"f{suffix}")
    peak = np.iinfo(frame.alpha.dtype).max
    assert np.abs(frame.alpha / peak - alpha / np.iinfo(alpha.dtype).max).max() < 3e-4


def test_exr_stores_linear_light_multiplied_by_opacity(tmp_path):
    image = np.full((8, 8, 3), 188, np.uint8)  # sRGB 188 is 0.5029 of the light
    alpha = np.full((8, 8), 51, np.uint8)
    write(tmp_path / "f.exr", image, alpha)
    with av.open(str(tmp_path / "f.exr")) as container:
        frame = next(container.decode(video=0))
    kind = "<f2" if "f16" in frame.format.name else "<f4"
    green = np.frombuffer(bytes(frame.planes[0]), kind)[:8]
    assert green == pytest.approx(0.5029 * 0.2, abs=1e-4)
    assert (read_frame(tmp_path / "f.exr").image[0, 0] // 257).tolist() == [188] * 3


def test_a_half_float_frame_returns_bit_for_bit(tmp_path):
    write(tmp_path / "a.exr", deep_picture(1), bits=16)
    first = read_frame(tmp_path / "a.exr")
    write(tmp_path / "b.exr", first.image, bits=16, source=tmp_path / "a.exr")
    assert np.array_equal(read_frame(tmp_path / "b.exr").image, first.image)
    assert exr.read_header(tmp_path / "b.exr").samples == "half"


def test_light_above_1_is_clipped_with_a_note():
    light = np.array([[[0.0, 1.0, 7.5]]], np.float32)
    assert exr.to_srgb(light).tolist() == [[[0, 65535, 65535]]]
    assert exr.without_opacity(light, np.zeros((1, 1), np.float32)).tolist() == [[[0, 0, 0]]]


def test_other_primaries_than_those_of_bt709_are_refused(tmp_path):
    write(tmp_path / "f.exr", picture(0))
    data = (tmp_path / "f.exr").read_bytes()
    aces = struct.pack("<8f", 0.7347, 0.2653, 0, 1, 0.0001, -0.077, 0.32168, 0.33767)
    entry = b"chromaticities\0chromaticities\0" + struct.pack("<L", 32) + aces
    (tmp_path / "f.exr").write_bytes(data[:8] + entry + data[8:])
    with pytest.raises(SourceError, match=r"primaries are not those of BT\.709"):
        read_frame(tmp_path / "f.exr")


def test_dpx_keeps_its_time_code_and_transfer(tmp_path):
    write(tmp_path / "a.dpx", picture(0))
    data = bytearray((tmp_path / "a.dpx").read_bytes())
    data[801] = 3  # logarithmic
    assert data[:4] == b"SDPX"
    (offset,) = struct.unpack_from(">L", data, 4)
    industry = bytearray(b"\xff" * 384)
    industry[256:260] = b"\x01\x02\x03\x04"  # SMPTE time code of the television header
    data[offset:offset] = industry
    for at in (4, 808):
        struct.pack_into(">L", data, at, offset + 384)
    struct.pack_into(">L", data, 28, 384)
    (tmp_path / "a.dpx").write_bytes(data)
    frame = read_frame(tmp_path / "a.dpx")
    assert any("logarithmic" in note for note in frame.notes)
    write(tmp_path / "b.dpx", frame.image, source=tmp_path / "a.dpx")
    copy = (tmp_path / "b.dpx").read_bytes()
    assert (copy[801], copy[1664:2048]) == (3, bytes(industry))
    assert np.array_equal(read_frame(tmp_path / "b.dpx").image, frame.image)


def test_a_frame_that_is_a_link_is_checked_against_the_allowed_folders(tmp_path):
    path = write_sequence(tmp_path / "in" / "f_%d.png", 2)
    (tmp_path / "in" / "f_2.png").rename(tmp_path / "secret.png")
    (tmp_path / "in" / "f_2.png").symlink_to(tmp_path / "secret.png")
    index = index_frames(path)
    roots = Roots([tmp_path / "in"])
    with open_frames(path, index.facts, index.pts, allow=roots.allow) as reader:
        assert number(reader.frame(0).image) == 0
        with pytest.raises(OutsideRoots):
            reader.frame(1)


def test_orientation_and_metadata_of_jpeg_frames_are_kept(tmp_path):
    exif = Pil.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"  # a quarter turn
    Pil.fromarray(picture(5, 64, 32)).save(tmp_path / "a_1.jpg", exif=exif)
    frame = read_frame(tmp_path / "a_1.jpg")
    assert frame.size == (32, 64)
    write(tmp_path / "b.jpg", frame.image, source=tmp_path / "a_1.jpg")
    with Pil.open(tmp_path / "b.jpg") as result:
        assert (result.size, result.getexif()[0x010F]) == ((32, 64), "Maker")


def test_frames_are_indexed_with_their_rate_numbers_and_cuts(tmp_path):
    path = write_sequence(tmp_path / "f_%03d.png", 8, first=1001)
    for n in range(1005, 1009):
        dark = 255 - picture(n)[:, ::-1]
        Pil.fromarray(dark // 4).save(tmp_path / f"f_{n}.png")
    index = index_frames(path, decoding=Decoding(fps="23.976"))
    facts = index.facts
    assert (facts.frame_rate, facts.time_base) == ((24000, 1001), (1001, 24000))
    assert (facts.frames, facts.first_number, facts.codec, facts.bit_depth) == (8, 1001, "png", 8)
    assert index.pts.tolist() == list(range(8)) and index.cuts == (4,)
    assert facts.duration == pytest.approx(float(8 / Fraction(24000, 1001)))
    assert facts.notes == ()
    with open_frames(path, facts, index.pts) as reader:
        assert [number(frame.image) for frame in reader.frames(0, 4)] == [0, 1, 2, 3]
        assert [frame.index for frame in reader.frames_at([1, 3])] == [1, 3]


def test_without_a_rate_a_note_names_the_default(tmp_path):
    facts = index_frames(write_sequence(tmp_path / "%d.png", 2), scenes=False).facts
    assert facts.frame_rate == (24, 1)
    assert any("24 frames per second; --fps" in note for note in facts.notes)


@pytest.mark.parametrize("fps", ["0", "x", "-1", "1/0", "2000", "nan"])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    path = write_sequence(tmp_path / "%d.png", 2)
    with pytest.raises(RecipeError, match="is not a frame rate"):
        index_frames(path, decoding=Decoding(fps=fps))


def test_options_of_the_other_kind_of_source_are_refused(tmp_path):
    path = write_sequence(tmp_path / "%d.png", 2)
    with pytest.raises(RecipeError, match="--deinterlace"):
        index_frames(path, decoding=Decoding(deinterlace="off"))
    clip = make(tmp_path / "clip.mp4", 3)
    with pytest.raises(RecipeError, match="--fps is for image sequences"):
        index_frames(clip, decoding=Decoding(fps=24))


def test_a_missing_frame_is_named(tmp_path):
    path = write_sequence(tmp_path / "f_%02d.png", 6)
    (tmp_path / "f_03.png").unlink()
    with pytest.raises(SourceError, match=r"f_03\.png is missing\."):
        classify_source(path)
    (tmp_path / "f_05.png").unlink()
    with pytest.raises(SourceError, match=r"f_03\.png is missing, the first of 2"):
        classify_source(path)


def test_a_pattern_without_files_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no file has such a name; the first could be f_1\.png"):
        classify_source(tmp_path / "f_%d.png")
    with pytest.raises(SourceError, match="No such file or directory"):
        classify_source(tmp_path / "missing" / "f_%d.png")


@pytest.mark.parametrize("scenes", [True, False])
def test_a_frame_of_another_size_is_named(tmp_path, scenes):
    path = write_sequence(tmp_path / "f_%d.png", 3)
    Pil.new("RGB", (64, 32)).save(tmp_path / "f_3.png")
    with pytest.raises(SourceError, match=r"f_3\.png: the frame has 64x32 pixels"):
        index_frames(path, scenes=scenes)


@pytest.mark.parametrize("suffix", [".png", ".dpx", ".exr"])
def test_a_damaged_frame_is_named(tmp_path, suffix):
    path = write_sequence(tmp_path / f"f_%d{suffix}", 3)
    file = tmp_path / f"f_2{suffix}"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(SourceError, match=rf"f_2\{suffix}"):
        index_frames(path)


def test_opaque_alpha_counts_as_none(tmp_path):
    opaque = np.full((64, 64), 255, np.uint8)
    path = write_sequence(tmp_path / "f_%d.png", 2, alpha=opaque)
    assert not index_frames(path, scenes=False).facts.has_alpha
    write(tmp_path / "f_3.png", picture(2), opacity())
    facts = index_frames(path, scenes=False).facts
    assert (facts.has_alpha, facts.pix_fmt) == (True, "rgba")


def facts_of(**values):
    return VideoFacts(
        width=64, height=64, time_base=(1, 24), frame_rate=(24, 1), frames=2, duration=1.0,
        codec="h264", container="mov", **({"pix_fmt": "yuv420p"} | values),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("o_%d.png", facts_of(), "bgr0"),
        ("o_%d.png", facts_of(pix_fmt="yuv420p10le", bit_depth=10), "gbrp12le"),
        ("o_%d.jpg", facts_of(pix_fmt="rgb48le", bit_depth=16), "bgr0"),
        ("o_%d.dpx", facts_of(pix_fmt="gbrp10le", bit_depth=10), "gbrp10le"),
        ("o_%d.exr", facts_of(pix_fmt="rgba64le", bit_depth=16, has_alpha=True), "gbrap16le"),
    ],
)
def test_chunks_have_the_depth_that_frames_can_hold(tmp_path, name, facts, expected):
    encoding = plan_sequence(tmp_path / name, facts, Encoding())
    assert (encoding.codec, encoding.pixel_format) == ("ffv1", expected)


def test_what_a_sequence_does_not_hold_is_named(tmp_path):
    facts = facts_of(audio_streams=2, subtitle_streams=1, has_alpha=True, sar=(4, 3))
    notes = " ".join(sequence_notes(tmp_path / "o_%d.jpg", facts, Encoding()))
    for words in ("2 audio streams, 1 subtitle stream", "blended with white", "4:3", "24 frames"):
        assert words in notes


@pytest.mark.parametrize(
    ("name", "encoding", "error", "words"),
    [
        ("o_%d.heic", Encoding(), OutputError, "cannot be written as .heic"),
        ("o_%d.png", Encoding(codec="h264"), RecipeError, "--codec is for video files"),
        ("o_%d.png", Encoding(crf=20), RecipeError, "--crf is for video files"),
        ("o_%d.png", Encoding(pixel_format="yuv420p"), RecipeError, "--pix-fmt is for"),
    ],
)
def test_options_of_video_files_are_refused(tmp_path, name, encoding, error, words):
    with pytest.raises(error, match=words):
        plan_sequence(tmp_path / name, facts_of(), encoding)
