"""Into the editor's size and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.jobs.spec import Item
from ip2p_batch.jobs.video_facts import VideoFacts
from ip2p_batch.media.resize import Resize

from .pictures import scene

SIDES = st.integers(1, 400)


def test_a_wide_image_gets_the_requested_longest_side():
    resize = Resize.for_size(1920, 1080, 512)
    assert resize.content == (512, 288) and (resize.width, resize.height) == (512, 288)


def test_a_small_image_is_scaled_up():
    assert Resize.for_size(100, 50, 512).content == (512, 256)


def test_odd_sides_are_padded_to_a_multiple_and_not_squeezed():
    resize = Resize.for_size(640, 272, 512)
    assert resize.content == (512, 218) and (resize.width, resize.height) == (512, 224)


def test_pixels_that_are_not_square_become_square():
    resize = Resize.for_size(720, 576, 512, (64, 45))  # widescreen PAL: shown as 1024 x 576
    assert resize.content == (512, 288)
    narrow = Resize.for_size(720, 576, 512, (1, 2))  # shown as 360 x 576
    assert narrow.content == (320, 512)


@pytest.mark.parametrize("sar", [(0, 1), (1, 0), (-1, 2)])
def test_an_unknown_pixel_aspect_counts_as_square(sar):
    assert Resize.for_size(64, 32, 64, sar) == Resize.for_size(64, 32, 64)


def test_a_very_long_image_is_not_scaled_to_a_line():
    resize = Resize.for_size(10_000, 20, 512)
    assert resize.content == (512, 8)
    image = scene(10_000, 20)
    assert resize.restore(resize.apply(image)).shape == image.shape


def test_pixels_are_unchanged_if_the_sizes_match():
    image = scene(61, 43)
    resize = Resize.for_size(61, 43, 61)
    resized = resize.apply(image)
    assert resized.shape == (48, 64, 3)
    assert np.array_equal(resized[:43, :61], image)
    assert np.array_equal(resize.restore(resized), image)


def test_an_image_of_one_colour_keeps_it_exactly():
    image = np.full((90, 160, 3), (30, 200, 40), np.uint8)
    resize = Resize.for_size(160, 90, 100)
    assert (resize.apply(image) == (30, 200, 40)).all()
    assert (resize.restore(resize.apply(image)) == (30, 200, 40)).all()


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 512, 3), np.uint8)
    stripes[:, ::2] = 255  # the finest there is: only its mean can survive
    resized = Resize.for_size(512, 64, 128).apply(stripes)
    assert abs(float(resized[:, 8:-8].mean()) - 127.5) < 3 and resized[:, 8:-8].std() < 8


def test_a_round_trip_keeps_the_image_in_place():
    image = scene(320, 180)
    resize = Resize.for_size(320, 180, 200)
    back = resize.restore(resize.apply(image))
    assert np.abs(back.astype(float) - image).mean() < 1.5


def test_padding_mirrors_the_border():
    image = scene(60, 60)
    resized = Resize.for_size(60, 60, 60).apply(image)
    assert np.array_equal(resized[:60, 60:64], image[:, 59:55:-1])
    assert np.array_equal(resized[60:64, :60], image[59:55:-1])


def test_samples_of_16_bits_are_rounded_before_scaling():
    deep = np.random.default_rng(0).integers(0, 65536, (90, 160, 3)).astype(np.uint16)
    rounded = np.rint(deep * (255 / 65535)).astype(np.uint8)
    for size in (160, 100, 200):
        resize = Resize.for_size(160, 90, size)
        assert np.array_equal(resize.apply(deep), resize.apply(rounded))


def test_an_image_of_another_size_is_refused():
    resize = Resize.for_size(64, 32, 64)
    with pytest.raises(ValueError, match="expected uint8 or uint16 pixels"):
        resize.apply(scene(32, 64))
    with pytest.raises(ValueError, match="expected uint8 or uint16 pixels"):
        resize.apply(np.zeros((32, 64, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        resize.restore(np.zeros((32, 64, 3), np.float32))
    with pytest.raises(ValueError, match="cannot resize"):
        Resize.for_size(0, 5, 64)


@given(SIDES, SIDES, st.integers(1, 300), st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(max_examples=60)
def test_any_size_becomes_a_multiple_of_eight_and_is_restored_exactly(width, height, size, sar):
    resize = Resize.for_size(width, height, size, sar)
    image = scene(width, height)
    resized = resize.apply(image)
    assert resized.shape == (resize.height, resize.width, 3) and resized.flags.c_contiguous
    assert resize.width % 8 == 0 == resize.height % 8
    assert max(resize.padding) < 8
    assert max(resize.content) == max(size, min(8, width), min(8, height))
    back = resize.restore(resized)
    assert back.shape == image.shape and back.dtype == np.uint8 and back.flags.c_contiguous
    assert np.array_equal(resize.apply(image), resized)


@given(SIDES, SIDES, st.sampled_from([8, 16, 64]))
@settings(max_examples=60)
def test_an_image_of_the_requested_size_is_restored_bit_identical(width, height, multiple):
    image = scene(width, height)
    resize = Resize.for_size(width, height, max(width, height), multiple=multiple)
    assert resize.width % multiple == 0 == resize.height % multiple
    assert np.array_equal(resize.restore(resize.apply(image)), image)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(8, 2048))
def test_the_aspect_ratio_is_kept_to_half_a_pixel(width, height, size):
    resize = Resize.for_size(width, height, size)
    assert max(resize.content) == size
    exact = [side * size / max(width, height) for side in (width, height)]
    for got, wanted in zip(resize.content, exact, strict=True):
        assert abs(got - wanted) <= 0.5 or got <= 8


def test_a_rotated_video_is_resized_upright():
    facts = VideoFacts(
        width=720, height=576, rotation=90, sar=(64, 45), time_base=(1, 25), frame_rate=(25, 1),
        frames=1, duration=0.04, codec="h264", container="mp4", pix_fmt="yuv420p",
    )  # fmt: skip
    assert Resize.of_video(facts, 512) == Resize.for_size(576, 720, 512, (45, 64))


def test_an_image_is_resized_by_its_upright_size():
    item = Item(source="/a.png", output="/b.png", width=100, height=50)
    assert Resize.of_item(item, 512) == Resize.for_size(100, 50, 512)
