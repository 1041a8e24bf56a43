"""The opacity channel of video frames."""

import av
import msgspec
import numpy as np
import pytest
from PIL import Image

from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.jobs.video_facts import ColorFacts
from ip2p_batch.media.depth import to_8_bits
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.alpha import frame_alpha, is_transparent
from ip2p_batch.media.video.codecs import CODECS
from ip2p_batch.media.video.deep_color import from_image, to_rgb48
from ip2p_batch.media.video.output import alpha_notes, resolved_encoding
from ip2p_batch.media.video.pixel_formats import format_depth
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.media.video.result_format import keeps_alpha

from . import clips

FORMATS = [name for codec in CODECS.values() for name in codec.alpha_pix_fmts]


@pytest.mark.parametrize("pix_fmt", sorted({*FORMATS, "yuva420p10le", "yuva422p12le", "gbrap"}))
@pytest.mark.parametrize("size", [(64, 48), (33, 31)])
def test_opacity_survives_the_way_into_a_frame_and_back(pix_fmt, size):
    rgba = clips.cutout(3, *size)
    image, alpha = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3]
    color = ColorFacts(matrix=1, primaries=1, transfer=1)
    frame = from_image(image, color, pix_fmt, alpha)
    back = frame_alpha(frame)
    assert back.dtype == (np.uint8 if format_depth(pix_fmt) == 8 else np.uint16)
    assert np.array_equal(to_8_bits(back), alpha)
    if "444" in pix_fmt or "yuv" not in pix_fmt:
        assert np.abs(to_8_bits(to_rgb48(frame, color)).astype(int) - image).max() <= 2
    opaque = from_image(image, color, pix_fmt)
    assert is_transparent(frame) and not is_transparent(opaque)


@pytest.mark.parametrize("pix_fmt", ["yuva444p10le", "gbrap12le", "gbrap16le"])
def test_deep_opacity_is_bit_identical(pix_fmt):
    depth = format_depth(pix_fmt)
    values = np.arange(0, 1 << depth, max(1, (1 << depth) // 4096))
    alpha = np.rint(values * 65535 / ((1 << depth) - 1)).astype(np.uint16)[None]
    image = np.zeros((1, len(values), 3), np.uint16)
    assert np.array_equal(frame_alpha(from_image(image, ColorFacts(), pix_fmt, alpha)), alpha)


def test_opacity_is_scaled_with_the_frame():
    frame = from_image(np.zeros((32, 64, 3), np.uint8), ColorFacts(), "bgra")
    assert (frame_alpha(frame, (20, 10)) == 255).all()
    assert frame_alpha(frame, (20, 10)).shape == (10, 20)


SOURCES = [
    ("a.mov", "prores_ks", "yuva444p10le"),
    ("a.mov", "qtrle", "argb"),
    ("a.mov", "png", "rgba"),
    ("a.mkv", "ffv1", "bgra"),
    ("a.mkv", "ffv1", "yuva420p"),
    ("a.webm", "libvpx-vp9", "yuva420p"),
    ("a.mkv", "libvpx", "yuva420p"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), SOURCES)
def test_the_reader_gives_opacity_and_colours_without_the_hidden_ones(
    tmp_path, name, codec, pix_fmt
):
    options = {"crf": "4", "auto-alt-ref": "0", "b": "4M"} if "vpx" in codec else {}
    path = clips.make_rgba(tmp_path / name, 5, codec=codec, pix_fmt=pix_fmt, options=options)
    index = probe.index_video(path)
    assert index.facts.has_alpha
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        frames = [*reader.frames(0, 5), reader.frame(1)]
    for frame in frames:
        wanted = clips.cutout(frame.index)[..., 3].astype(int)
        assert frame.alpha is not None
        error = np.abs(to_8_bits(frame.alpha) - wanted)
        assert error.max() <= (40 if "vpx" in codec else 1) and error.mean() < 2
        assert frame.image[wanted == 0].mean() > 20, "hidden pixels are black in the file"


@pytest.mark.parametrize(("turn", "edge"), [(0, 0), (90, 1)])
def test_opacity_is_turned_with_the_frame(tmp_path, turn, edge):
    def top(number, width, height):
        image = np.full((height, width, 4), 255, np.uint8)
        image[: height // 2, :, 3] = 0
        return image

    path = clips.make_rgba(tmp_path / "a.mkv", 1, image=top)
    index = probe.index_video(path)
    facts = msgspec.structs.replace(index.facts, rotation=turn)
    with VideoReader(path, facts, index.pts, index.ids) as reader:
        alpha = reader.frame(0).alpha
    assert alpha is not None
    hidden = alpha[:32] if edge == 0 else alpha[:, 32:]
    assert not hidden.any() and int(alpha.astype(int).sum()) == 255 * 64 * 32


def test_an_opaque_gif_is_not_transparent(tmp_path):
    def opaque(number, width, height):
        image = clips.cutout(number, width, height)
        image[..., 3] = 255
        return image

    for name, image in (("opaque.gif", opaque), ("cut.gif", clips.cutout)):
        path = tmp_path / name
        first, *others = (Image.fromarray(image(n, 64, 64)) for n in range(3))
        first.save(path, save_all=True, append_images=others, duration=100)
        for scenes in (True, False):
            facts = probe.index_video(path, scenes=scenes).facts
            assert facts.has_alpha == (name == "cut.gif")
            notes = alpha_notes(tmp_path / "o.mp4", facts, Encoding())
            assert bool(notes) == facts.has_alpha


def test_inverse_telecine_names_that_it_drops_transparency(tmp_path):
    path = clips.make_rgba(tmp_path / "a.mkv", 6)
    facts = probe.index_video(path, decoding=Decoding(deinterlace="ivtc")).facts
    assert not facts.has_alpha and "transparency" in facts.notes[0]


def test_a_transparent_source_gets_a_codec_that_keeps_it_or_a_warning_that_names_one(tmp_path):
    facts = probe.index_video(clips.make_rgba(tmp_path / "a.mkv", 2)).facts
    for suffix, codec in ((".mov", "prores"), (".webm", "vp9"), (".mkv", "ffv1")):
        output = tmp_path / f"o{suffix}"
        chosen = resolved_encoding(output, facts, Encoding())
        assert chosen.codec == codec and keeps_alpha(facts, chosen)
        assert codec in alpha_notes(output, facts, Encoding())[0]
        assert alpha_notes(output, facts, Encoding(codec=codec)) == []
    mp4 = alpha_notes(tmp_path / "o.mp4", facts, Encoding())[0]
    assert "not kept" in mp4 and "o.mov" in mp4
    assert "--codec prores" in alpha_notes(tmp_path / "o.mov", facts, Encoding(codec="h264"))[0]
    flat = Encoding(codec="ffv1", pixel_format="bgr0")
    assert "--pix-fmt bgra" in alpha_notes(tmp_path / "o.mkv", facts, flat)[0]


def test_frames_without_an_opacity_channel_are_opaque():
    frame = av.VideoFrame(16, 16, "yuv420p10le")
    assert (frame_alpha(frame) == 65535).all()  # type: ignore[arg-type]
