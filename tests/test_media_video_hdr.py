"""HDR videos: their metadata, and what results are written as."""

import av
import msgspec
import numpy as np
import pytest

from ip2p_batch.errors import OutputError, RecipeError
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.jobs.video_facts import ColorFacts, HdrFacts, VideoFacts
from ip2p_batch.media.video import hdr, probe
from ip2p_batch.media.video.output import resolved_encoding
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.media.video.result_format import pixel_format

from . import clips

DISPLAY = (13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10_000_000, 50)
X265 = (
    "log-level=none:bframes=0:rc-lookahead=0:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
    "L(10000000,50):max-cll=700,400"
)


def facts_of(path, choice="tonemap"):
    return probe.index_video(path, decoding=Decoding(hdr=choice)).facts


def test_the_metadata_of_hdr10_is_read(tmp_path):
    clip = clips.make_hdr(tmp_path / "a.mp4", 2, codec="libx265", options={"x265-params": X265})
    facts = facts_of(clip, "keep")
    color = ColorFacts(matrix=9, primaries=9, transfer=16, tagged=True)
    assert facts.color == color and facts.bit_depth == 10
    assert facts.hdr == HdrFacts(
        choice="keep", peak=700, mastering_display=DISPLAY, light_levels=(700, 400)
    )


def test_the_peak_is_the_displays_without_light_levels_and_1000_without_both(tmp_path):
    display = X265.split(":max-cll")[0]
    for options, peak in (
        ({"x265-params": display}, 1000),
        ({"x265-params": "log-level=none"}, 1000),
    ):
        clip = clips.make_hdr(tmp_path / "a.mp4", 2, codec="libx265", options=options)
        assert facts_of(clip).hdr.peak == peak
    bright = display.replace("L(10000000", "L(40000000")
    clip = clips.make_hdr(tmp_path / "a.mp4", 2, codec="libx265", options={"x265-params": bright})
    assert facts_of(clip).hdr.peak == 4000


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "gbrp12le"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "HDR10 (PQ)"), (18, "HDR (HLG)")])
def test_hdr_becomes_sdr_unless_it_is_kept_and_a_note_says_how(tmp_path, transfer, name, pix_fmt):
    clip = clips.make_hdr(tmp_path / "a.mkv", 2, transfer=transfer, pix_fmt=pix_fmt)
    facts = facts_of(clip)
    output = tmp_path / "o.mp4"
    encoding = resolved_encoding(output, facts, Encoding())
    assert (encoding.codec, encoding.pixel_format) == ("h264", "yuv420p")
    color = hdr.output_color(facts, encoding)
    assert (color.matrix, color.primaries, color.transfer, color.full_range) == (1, 1, 1, False)
    note = hdr.check_hdr(output, facts, encoding)[0]
    assert name in note and "BT.2390" in note and "--hdr keep" in note

    kept = facts_of(clip, "keep")
    encoding = resolved_encoding(output, kept, Encoding())
    assert (encoding.codec, encoding.pixel_format) == ("hevc", "yuv420p10le")
    color = hdr.output_color(kept, encoding)
    assert (color.matrix, color.primaries, color.transfer) == (9, 9, transfer)
    assert hdr.check_hdr(output, kept, encoding) == []


def test_frames_are_read_as_sdr_in_8_or_16_bits_or_toned(tmp_path):
    clip = clips.make_hdr(tmp_path / "a.mkv", 1)
    index = probe.index_video(clip)
    images = {}
    for choice in ("tonemap", "keep"):
        facts = facts_of(clip, choice)
        for deep in (False, True):
            with VideoReader(clip, facts, index.pts, deep=deep) as reader:
                images[choice, deep] = reader.frame(0).image
    assert images["tonemap", False].dtype == np.uint8
    assert np.abs(images["tonemap", True] / 257 - images["tonemap", False]).max() <= 0.51
    toned = images["keep", True]
    assert np.array_equal(toned, images["keep", False])
    kept = facts_of(clip, "keep")
    assert np.array_equal(hdr.shown(toned, kept), images["tonemap", True])
    sdr = images["tonemap", False]
    assert hdr.shown(sdr, facts_of(clip)) is sdr


HDR = VideoFacts(
    width=64, height=64, time_base=(1, 25), frame_rate=(25, 1), frames=1, duration=1, codec="hevc",
    container="mov", pix_fmt="yuv420p10le", bit_depth=10,
    color=ColorFacts(matrix=9, primaries=9, transfer=16),
    hdr=HdrFacts(choice="keep", peak=1000, mastering_display=DISPLAY, light_levels=(700, 400)),
)  # fmt: skip


def test_kept_hdr_needs_10_bits_and_a_container_that_names_it(tmp_path):
    for encoding in (Encoding(codec="vp9"), Encoding(codec="h264", pixel_format="yuv420p")):
        with pytest.raises(RecipeError, match="8 bits") as caught:
            hdr.check_hdr(tmp_path / "o.mkv", HDR, encoding)
        assert "--codec hevc" in caught.value.hint
    with pytest.raises(OutputError, match="avi"):
        hdr.check_hdr(tmp_path / "o.avi", HDR, Encoding(codec="ffv1"))


def test_metadata_that_a_codec_does_not_hold_is_named(tmp_path):
    for codec in ("prores", "ffv1", "dnxhr"):
        assert "mastering" in hdr.check_hdr(tmp_path / "o.mov", HDR, Encoding(codec=codec))[0]
    facts = msgspec.structs.replace(HDR, hdr=msgspec.structs.replace(HDR.hdr, dynamic=True))
    assert "HDR10+" in hdr.check_hdr(tmp_path / "o.mp4", facts, Encoding(codec="hevc"))[0]


@pytest.mark.parametrize("codec", ["hevc", "av1", "prores", "ffv1", "h264", "dnxhr"])
def test_the_default_format_of_kept_hdr_has_10_bits_or_more(codec):
    assert "10" in pixel_format(HDR, Encoding(codec=codec)) or codec == "ffv1"
    eight = msgspec.structs.replace(HDR, bit_depth=8, pix_fmt="yuv420p")
    assert hdr.check_hdr(clips.DEMO.with_name("o.mov"), eight, Encoding(codec=codec)) is not None


def test_a_frame_without_metadata_has_none():
    frame = av.VideoFrame(16, 16, "yuv420p10le")
    facts = hdr.hdr_facts(frame, ColorFacts(transfer=18), "keep")  # type: ignore[arg-type]
    assert facts == HdrFacts(choice="keep", peak=1000)
    assert hdr.hdr_facts(frame, ColorFacts(), "keep") is None  # type: ignore[arg-type]
