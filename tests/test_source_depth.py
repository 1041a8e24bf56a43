"""Sources of more than 8 bits a sample, edited as whole jobs, keep their depth."""

import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.execution import image_input
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.deep_color import from_rgb48
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from . import clips, pictures


def edit(
    source,
    output,
    settings,
    *,
    codec="h264",
    crf=None,
    format=None,
    model="identity",
    decoding=Decoding(),  # noqa: B008
    **recipe,
):
    """Run a job in this process; returns its result."""
    request = scheduler.EditRequest(
        source=source,
        output=output,
        recipe=Recipe(
            **{"instruction": "make it night", "model": model, "size": 64, "temporal_filter": 0}
            | recipe
        ),
        encoding=Encoding(codec=codec, crf=crf, format=format),
        decoding=decoding,
    )
    folder = scheduler.create_job(request, settings)
    editor = IdentityEditor() if model == "identity" else load_editor(model, device="cpu")
    for event in scheduler.follow_job(folder, LocalExecutor(lambda _: editor, WorkerCache(1))):
        assert event.kind != "failed", event
    return folder.result()


def images(path):
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids, deep=True) as reader:
        return index.facts, [frame.image for frame in reader.frames(0, len(index.pts))]


# The edit is smaller than the source, as large, and larger.
@pytest.mark.parametrize("size", [64, 96, 160])
@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p12le", "gbrp10le"])
def test_ffv1_gives_back_the_samples_of_a_deep_video(tmp_path, settings, size, pix_fmt):
    source = clips.make_deep(tmp_path / "in.mkv", 5, pix_fmt=pix_fmt, size=(96, 64))
    output = tmp_path / "out.mkv"
    edit(source, output, settings, codec="ffv1", size=size, chunk_frames=3)
    facts, results = images(output)
    bits = int(pix_fmt[-4:-2])
    assert facts.bit_depth == bits + (0 if pix_fmt == "gbrp10le" else 2)
    for result, samples in zip(results, clips.first_planes(source), strict=True):
        again = from_rgb48(result, probe.index_video(source).facts.color, pix_fmt)
        plane = np.frombuffer(bytes(again.planes[0]), np.uint16).reshape(64, -1)[:, :96]
        assert np.array_equal(plane, samples)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_10_bit_video_stays_a_10_bit_video(tmp_path, settings, codec):
    source = clips.make_deep(tmp_path / "in.mkv", 6)
    output = tmp_path / "out.mp4"
    result = edit(source, output, settings, codec=codec, crf=1)
    assert "the result has 10 bits" in result.warnings[0]
    facts, _ = images(output)
    assert (facts.pix_fmt, facts.color.matrix) == ("yuv420p10le", 1)
    for plane, samples in zip(clips.first_planes(output), clips.first_planes(source), strict=True):
        error = plane.astype(int) - samples
        assert np.abs(error).max() <= 3 and np.abs(error).mean() < 0.7, "1 from rounding to 8 bits"


def test_an_enlarged_edit_has_8_bits(tmp_path, settings):
    source = clips.make_deep(tmp_path / "in.mkv", 3)
    output = tmp_path / "out.mkv"
    result = edit(source, output, settings, codec="ffv1", detail="edit")
    assert result.warnings == (
        "10-bit video is edited in 8 bits; --detail source keeps its depth.",
    )
    for image in images(output)[1]:
        assert len(np.unique(image[..., 0])) < 64, "of 200 values"


@pytest.mark.slow
def test_a_real_edit_of_a_deep_video_has_more_levels_than_8_bits(tmp_path, settings):
    source = clips.make_deep(tmp_path / "in.mkv", 4, size=(256, 192))
    output = tmp_path / "out.mkv"
    edit(source, output, settings, codec="ffv1", model="tiny", size=128, num_inference_steps=4)
    _, (first, *_) = images(output)
    _, (before, *_) = images(source)
    assert first.mean() < 0.9 * before.mean(), "it is darker"
    assert len(np.unique(first)) > 4 * len(np.unique(first // 257))


# -- images -------------------------------------------------------------------------------


def gradient(height=120, width=160):
    """RGB of 16 bits with values that 8 bits cannot hold."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([4000 + 330 * x, 5000 + 400 * y, 9000 + 100 * (x + y)]).astype(np.uint16)


def write_source(path, samples, alpha=None):
    both = samples if alpha is None else np.dstack([samples, alpha])
    extra = None if alpha is None else 2
    png = path.suffix == ".png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        pictures.png(both, 2 if alpha is None else 6) if png else pictures.tiff(both, extra=extra)
    )


# The edit is smaller than the source, as large, and larger.
@pytest.mark.parametrize("size", [64, 160, 256])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_an_image_without_an_edit_has_the_sources_16_bits(tmp_path, settings, size, suffix):
    samples = gradient()
    alpha = np.broadcast_to(np.arange(160, dtype=np.uint16) * 400, (120, 160))
    write_source(tmp_path / f"in/opaque{suffix}", samples)
    write_source(tmp_path / f"in/clear{suffix}", samples, alpha)
    result = edit(tmp_path / "in", tmp_path / "out", settings, size=size)
    assert result.warnings == ()
    for name in ("opaque", "clear"):
        still = read_still(tmp_path / f"out/{name}{suffix}", deep=True)
        visible = alpha > (0 if name == "clear" else -1)
        if size == 256:  # enlarged, edited and reduced again
            assert np.abs(still.image.astype(int) - samples)[visible].max() <= 257
        else:
            assert np.array_equal(still.image[visible], samples[visible])
        assert name == "opaque" or np.array_equal(still.alpha, alpha)


def test_a_large_image_is_read_again_in_16_bits(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(image_input, "_MAX_KEPT_PIXELS", 1000)
    write_source(tmp_path / "in/a.png", gradient())
    edit(tmp_path / "in", tmp_path / "out", settings)
    assert np.array_equal(read_still(tmp_path / "out/a.png", deep=True).image, gradient())


@pytest.mark.parametrize("options", [{"format": "jpeg"}, {"detail": "edit"}])
def test_a_result_of_8_bits_has_a_warning(tmp_path, settings, options):
    write_source(tmp_path / "in/a.png", gradient())
    result = edit(tmp_path / "in", tmp_path / "out", settings, **options)
    assert [w.rpartition(": ")[2] for w in result.warnings] == ["16-bit samples reduced to 8 bits"]
    (output,) = (tmp_path / "out").iterdir()
    assert read_still(output, deep=True).image.dtype == np.uint8


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_real_edit_of_a_16_bit_image_has_more_levels_than_8_bits(
    tmp_path, settings, size, suffix
):
    samples = gradient(192, 256)
    write_source(tmp_path / f"in/a{suffix}", samples)
    edit(tmp_path / "in", tmp_path / "out", settings, model="tiny", size=size,
         num_inference_steps=4)  # fmt: skip
    result = read_still(tmp_path / f"out/a{suffix}", deep=True).image
    assert result.dtype == np.uint16 and result.mean() < 0.9 * samples.mean(), "it is darker"
    assert all(len(np.unique(result[..., channel])) > 2000 for channel in range(3))
