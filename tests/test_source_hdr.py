"""HDR videos, edited as whole jobs: SDR results, and HDR results with the edit."""

import av
import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.errors import RecipeError
from ip2p_batch.jobs.coding import Decoding
from ip2p_batch.media.hdr import curves
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.deep_color import to_rgb48
from ip2p_batch.media.video.hdr import _mastering_display
from ip2p_batch.recipe import Recipe

from . import clips
from .test_media_video_hdr import DISPLAY, X265
from .test_source_depth import edit


def samples(path):
    """R'G'B' of 16 bits of every frame, as stored."""
    color = probe.index_video(path).facts.color
    with av.open(str(path)) as container:
        return [to_rgb48(frame, color) for frame in container.decode(video=0)]  # type: ignore[arg-type]


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_becomes_sdr_of_the_brightness_of_its_light(tmp_path, settings, transfer):
    source = clips.make_hdr(tmp_path / "in.mkv", 3, transfer=transfer)
    result = edit(source, tmp_path / "out.mp4", settings, codec=None, crf=2)
    assert any("becomes SDR" in warning for warning in result.warnings)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert tags == (1, 1, 1, 1) and frame.format.name == "yuv420p"
    image = frame.to_ndarray(format="rgb24", src_colorspace=1)
    grey = np.array([clips.hdr_light(x) for x in range(64)])
    expected = 255 * (curves.tone_curve(grey, 1000) / 203) ** (1 / 2.4)
    assert np.abs(image[50].mean(1) - expected).mean() < 2


# The edit is smaller than the source, and larger.
@pytest.mark.parametrize("size", [64, 160])
@pytest.mark.parametrize("transfer", [16, 18])
def test_kept_hdr_without_an_edit_has_the_samples_of_the_source(tmp_path, settings, size, transfer):
    source = clips.make_hdr(tmp_path / "in.mkv", 4, transfer=transfer, size=(128, 96))
    edit(source, tmp_path / "out.mkv", settings, codec="ffv1", size=size, chunk_frames=2,
         decoding=Decoding(hdr="keep"))  # fmt: skip
    facts = probe.index_video(tmp_path / "out.mkv").facts
    assert (facts.color.transfer, facts.color.primaries) == (transfer, 9)
    for before, after in zip(samples(source), samples(tmp_path / "out.mkv"), strict=True):
        assert np.abs(before.astype(int) - after).max() <= 16, "12 bits: 8 from rounding alone"


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_kept_hdr_has_the_metadata_of_its_source(tmp_path, settings, codec):
    source = clips.make_hdr(tmp_path / "in.mp4", 3, codec="libx265", options={"x265-params": X265})
    edit(source, tmp_path / "out.mp4", settings, codec=codec, decoding=Decoding(hdr="keep"))
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_trc, frame.color_primaries, frame.colorspace) == (16, 9, 9)
    display = _mastering_display(frame)  # type: ignore[arg-type]
    assert np.abs(np.subtract(display, DISPLAY)).max() <= 2
    assert probe.index_video(tmp_path / "out.mp4").facts.hdr.light_levels == (700, 400)


def test_an_edit_of_kept_hdr_changes_its_light(tmp_path, settings):
    source = clips.make_hdr(tmp_path / "in.mkv", 1, size=(128, 96))
    edit(source, tmp_path / "out.mkv", settings, codec="ffv1", model="tiny",
         num_inference_steps=2, decoding=Decoding(hdr="keep"))  # fmt: skip
    before, after = (samples(path)[0] for path in (source, tmp_path / "out.mkv"))
    light = [curves.pq_to_light(image / 65535).mean() for image in (before, after)]
    assert light[1] < 0.8 * light[0], "night is darker"
    assert curves.pq_to_light(after.max() / 65535) <= 1010, "not above the source's peak"


def test_tiles_cannot_keep_hdr(tmp_path, settings):
    source = clips.make_hdr(tmp_path / "in.mkv", 1)
    request = scheduler.EditRequest(
        source=source,
        output=tmp_path / "o.mp4",
        recipe=Recipe(instruction="x", model="tiny", detail="tiles", size=64),
        decoding=Decoding(hdr="keep"),
    )
    with pytest.raises(RecipeError, match="cannot keep HDR"):
        scheduler.create_job(request, settings)
