"""The shape of pixels, as the headers of results state it."""

from fractions import Fraction

import av
import pytest

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.display_size import add_display_size, display_size
from ip2p_batch.media.video.output import check_output

from . import clips
from .test_media_video_concat import joined


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("h264", ".mkv"), ("h264", ".mp4"), ("h264", ".ts"), ("av1", ".webm"), ("av1", ".mp4"),
     ("vp9", ".webm"), ("ffv1", ".mkv"), ("prores", ".mov"), ("prores", ".mkv"),
     ("prores", ".mxf"), ("qtrle", ".mov")],
)  # fmt: skip
def test_pixels_that_are_not_square_stay_so(tmp_path, codec, suffix):
    source = clips.make(tmp_path / "s.mkv", 20, size=(128, 96), sar=Fraction(32, 27))
    encoding = Encoding(codec=codec)
    facts = probe.index_video(source).facts
    assert not [w for w in check_output(source, tmp_path / f"o{suffix}", facts, encoding)
                if "square" in w]  # fmt: skip
    output, _, _ = joined(source, tmp_path, encoding, suffix=suffix)
    assert probe.index_video(output).facts.sar == (32, 27)
    with av.open(str(output)) as container:  # its index is still right
        container.seek(400_000)
        assert next(container.decode(video=0)).pts is not None


def test_a_container_that_cannot_state_the_shape_is_named(tmp_path):
    source = clips.make(tmp_path / "s.mkv", 20, size=(128, 96), sar=Fraction(32, 27))
    facts = probe.index_video(source).facts
    warnings = check_output(source, tmp_path / "o.avi", facts, Encoding(codec="ffv1"))
    assert any("not square (32:27)" in warning for warning in warnings)


def test_display_sizes_have_the_exact_ratio_and_fit_their_field():
    width, height = display_size((128, 96), Fraction(32, 27))
    assert Fraction(width, height) == Fraction(128, 96) * Fraction(32, 27)
    width, height = display_size((4096, 2160), Fraction(9999, 10007))
    assert max(width, height) < 1 << 16


def test_data_without_room_are_left_as_they_are():
    data = bytearray(b"\x1a\x45\xdf\xa3\x80")
    assert not add_display_size(data, (16, 9)) and len(data) == 5
