"""Sources of more than 8 bits a sample, edited as whole jobs, keep their depth."""

import numpy as np
import pytest

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.spec import Encoding
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.deep_color import from_rgb48
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from . import clips


def edit(source, output, settings, *, codec="h264", crf=None, model="identity", **recipe):
    """Run a job in this process; returns its result."""
    request = scheduler.EditRequest(
        source=source,
        output=output,
        recipe=Recipe(
            **{"instruction": "make it night", "model": model, "size": 64, "temporal_filter": 0}
            | recipe
        ),
        encoding=Encoding(codec=codec, crf=crf),
    )
    folder = scheduler.create_job(request, settings)
    editor = IdentityEditor() if model == "identity" else load_editor(model, device="cpu")
    for event in scheduler.follow_job(folder, LocalExecutor(lambda _: editor, WorkerCache(1))):
        assert event.kind != "failed", event
    return folder.result()


def images(path):
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, deep=True) as reader:
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
