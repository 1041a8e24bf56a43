"""Fields of interlaced video: their order is found, and results keep them."""

from typing import Any

import av
import numpy as np
import pytest

from ip2p_batch.frame import Frame
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.jobs.video_facts import ColorFacts, VideoFacts
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.deep_color import from_image
from ip2p_batch.media.video.fields import (
    has_field_chroma,
    split_fields,
    weave_frames,
    weave_images,
)
from ip2p_batch.media.video.pixels import upright_image
from ip2p_batch.media.video.segment import SegmentWriter

from .interlaced_clips import combed, make, moment, orders_of

OFF = Decoding(deinterlace="off")


def facts(**changes):
    base: dict[str, Any] = {
        "width": 96, "height": 64, "time_base": (1, 25), "frame_rate": (25, 1), "frames": 4,
        "duration": 0.16, "codec": "h264", "container": "mp4", "pix_fmt": "yuv420p",
        "interlaced": 4, "field_order": "tff",
    }  # fmt: skip
    return VideoFacts(**(base | changes))


def write(path, video, encoding, images):
    with SegmentWriter(path, video, encoding) as writer:
        for number, image in enumerate(images):
            writer.write(Frame(number, number, image))
    return path


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("codec", ["h264", "ffv1", "prores"])
def test_results_of_kept_fields_are_flagged_with_the_order_of_the_source(tmp_path, codec, order):
    images = [combed(number, order) for number in range(4)]
    path = write(tmp_path / "s", facts(field_order=order), Encoding(codec=codec), images)
    assert orders_of(path) == [order] * 4


def test_progressive_and_deinterlaced_results_have_no_flags(tmp_path):
    for video in (facts(deinterlace="auto"), facts(interlaced=0, field_order=None)):
        for codec in ("h264", "ffv1"):
            path = write(tmp_path / "s", video, Encoding(codec=codec), [moment(0)] * 2)
            assert orders_of(path) == [None] * 2


@pytest.mark.parametrize(
    ("rotation", "height", "kept"),
    [(0, 64, "tff"), (180, 64, "bff"), (180, 63, "tff"), (90, 64, None)],
)
def test_a_turn_moves_the_fields(rotation, height, kept):
    assert facts(rotation=rotation, height=height).kept_field_order == kept


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12", "yuv420p10le"])
def test_fields_are_split_and_woven_again(pix_fmt):
    frame: Any = av.VideoFrame(34, 16, pix_fmt)
    noise = np.random.default_rng(0)
    for plane in frame.planes:
        plane.update(noise.integers(0, 255, plane.buffer_size, dtype=np.uint8).tobytes())
    again: Any = weave_frames(*split_fields(frame))
    for plane, other in zip(frame.planes, again.planes, strict=True):
        one, two = (
            np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width] for p in (plane, other)
        )
        assert np.array_equal(one, two)


def test_only_formats_with_chroma_rows_of_one_field_are_split():
    split = [name for name in ("yuv420p", "nv12", "yuv410p", "yuv422p", "yuv444p", "gray", "bgr0")
             if has_field_chroma(name, 64)]  # fmt: skip
    assert split == ["yuv420p", "nv12", "yuv410p"]
    assert not has_field_chroma("yuv420p", 62)


@pytest.mark.parametrize("deep", [False, True])
def test_chroma_of_two_fields_is_not_mixed(tmp_path, deep):
    red, blue = (
        (np.full((32, 96, 3), value, np.uint8)) for value in ((200, 30, 30), (30, 30, 200))
    )
    image = weave_images(red, blue)
    path = write(tmp_path / "s.mp4", facts(), Encoding(crf=4), [image] * 2)
    with av.open(str(path)) as container:
        frame: Any = next(container.decode(video=0))
    again = upright_image(frame, facts(), deep=deep) / (257 if deep else 1)
    assert np.abs(again - image).mean() < 6
    mixed = from_image(image, ColorFacts(), "yuv420p")
    assert np.abs(upright_image(mixed, facts(), deep=False) - image.astype(float)).mean() > 20


def test_the_order_of_most_interlaced_frames_counts(tmp_path):
    orders = [None, "bff", "tff", "bff", None]
    clip = make(tmp_path / "c.mkv", [combed(n, "bff") for n in range(5)], orders)
    found = probe.index_video(clip, decoding=OFF).facts
    assert (found.interlaced, found.field_order, found.deinterlace) == (3, "bff", "off")
    assert any("edited as it is" in note for note in found.notes)
