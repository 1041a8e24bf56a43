"""Animated images, edited as whole jobs."""

import hashlib

import pytest
from PIL import Image

from ip2p_batch.media.video import probe

from . import animations
from .test_source_depth import edit


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_an_animation_keeps_its_frames_durations_plays_and_format(tmp_path, settings, kind):
    source = tmp_path / f"in.{kind}"
    name = "apng" if kind == "png" else kind
    write = getattr(animations, f"{name}_file")
    source.write_bytes(write(animations.SIZE, animations.pieces(name)[-5:], 3))
    digests = set()
    for number, chunk_frames in enumerate((2, 3)):
        target = tmp_path / f"out{number}.{kind}"
        edit(source, target, settings, codec=None, size=64, chunk_frames=chunk_frames)
        digests.add(hashlib.sha256(target.read_bytes()).digest())
    before, after = probe.index_video(source).facts, probe.index_video(target).facts
    assert (after.frames, after.duration, after.plays) == (5, before.duration, before.plays)
    assert after.has_alpha and after.codec == before.codec
    assert len(digests) == 1, "bytes do not depend on the chunks"
    with Image.open(target) as image:
        assert getattr(image, "n_frames", 1) == 5
