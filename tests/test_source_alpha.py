"""Transparent sources, edited as whole jobs, stay so, and what is invisible never shows."""

import av
import numpy as np
import pytest
from PIL import Image

from ip2p_batch.media.depth import to_8_bits
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.reader import VideoReader

from . import clips
from .test_source_depth import edit


def read(path):
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return index.facts, list(reader.frames(0, len(index.pts)))


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("detail", ["source", "edit"])
def test_a_transparent_video_keeps_its_opacity_bit_for_bit(tmp_path, settings, size, detail):
    source = clips.make_rgba(tmp_path / "in.mkv", 5, size=(128, 96))
    edit(source, tmp_path / "out.mkv", settings, codec=None, size=size, detail=detail,
         chunk_frames=2)  # fmt: skip
    facts, frames = read(tmp_path / "out.mkv")
    assert (facts.codec, facts.pix_fmt) == ("ffv1", "bgra")
    for frame in frames:
        wanted = clips.cutout(frame.index, 128, 96)
        assert np.array_equal(frame.alpha, wanted[..., 3])
        visible = wanted[..., 3] > 0
        error = np.abs(frame.image.astype(int) - wanted[..., :3])[visible]
        if detail == "source":
            assert error.max() <= 1, "an identity edit changes nothing"


def test_a_transparent_video_becomes_prores_4444_in_mov(tmp_path, settings):
    source = clips.make_rgba(tmp_path / "in.mov", 3, codec="qtrle", pix_fmt="argb")
    result = edit(source, tmp_path / "out.mov", settings, codec=None)
    assert any("transparent" in warning and "prores" in warning for warning in result.warnings)
    facts, frames = read(tmp_path / "out.mov")
    assert facts.codec == "prores" and facts.pix_fmt.startswith("yuva444p")
    for frame in frames:
        assert np.array_equal(to_8_bits(frame.alpha), clips.cutout(frame.index)[..., 3])


def test_vp9_keeps_its_transparency(tmp_path, settings):
    source = clips.make_rgba(
        tmp_path / "in.webm", 4, codec="libvpx-vp9", pix_fmt="yuva420p", options={"crf": "4"}
    )
    edit(source, tmp_path / "out.webm", settings, codec=None, crf=4, chunk_frames=2)
    facts, frames = read(tmp_path / "out.webm")
    assert facts.codec == "vp9" and facts.has_alpha and len(frames) == 4
    for frame in frames:
        error = np.abs(frame.alpha.astype(int) - clips.cutout(frame.index)[..., 3])
        assert error.mean() < 3
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.video[0].metadata["alpha_mode"] == "1"


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("size", [64, 128])
def test_colours_under_opacity_0_change_nothing_that_is_visible(tmp_path, settings, kind, size):
    results = []
    for hidden in (0, 255):
        image = clips.cutout(0, 128, 96, hidden)
        suffix = ".png" if kind == "image" else ".mkv"
        source, output = tmp_path / f"in{hidden}{suffix}", tmp_path / f"out{hidden}{suffix}"
        if kind == "image":
            Image.fromarray(image).save(source)
        else:
            clips.make_rgba(
                source,
                1,
                size=(128, 96),
                image=lambda n, w, h, h0=hidden: clips.cutout(n, w, h, h0),
            )
        codec = None if kind == "video" else "h264"
        edit(source, output, settings, codec=codec, model="tiny", size=size, num_inference_steps=1)
        if kind == "image":
            results.append(np.asarray(Image.open(output)))
        else:
            results.append(np.dstack([read(output)[1][0].image, read(output)[1][0].alpha]))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0][..., 3], image[..., 3])
