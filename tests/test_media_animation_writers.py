"""Animated images that are written hold the frames, durations and plays that they were given."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ip2p_batch.media.animation.compose import Composer
from ip2p_batch.media.animation.files import read_animation
from ip2p_batch.media.animation.palette import ColorCount
from ip2p_batch.media.animation.timing import Timing, timing
from ip2p_batch.media.animation.writers import ApngWriter, GifWriter, WebpWriter

SIZE = (40, 30)


def scenes(channels=4, kind=np.uint8, *, levels=(0, 255)):
    """Frames of few colours with moving holes; the third repeats the second."""
    rng = np.random.default_rng(2)
    peak = np.iinfo(kind).max
    found = []
    for number in range(5):
        image = np.zeros((SIZE[1], SIZE[0], channels), kind)
        image[..., :3] = (peak // 4, peak // 2, peak)
        image[4:20, 3 * number : 3 * number + 9, :3] = rng.integers(0, peak, 3)
        if channels == 4:
            image[..., 3] = levels[-1] if len(levels) < 3 else rng.choice(levels, image.shape[:2])
            image[8:12, 2 * number : 2 * number + 5, 3] = 0
            image[image[..., 3] == 0] = 0
        found.append(image)
    return [*found[:2], found[1], *found[2:]]


def write(kind, frames, plays=0, **options):
    file = io.BytesIO()
    seconds = tuple(Fraction(n + 3, 100) for n in range(len(frames)))
    given_times = Timing(tuple(range(len(frames))), seconds)
    if kind == "apng":
        writer = ApngWriter(file, SIZE, given_times, plays)
    elif kind == "webp":
        alpha = frames[0].shape[-1] == 4
        writer = WebpWriter(file, SIZE, given_times, plays, has_alpha=alpha, **options)
    else:
        count = ColorCount(255)
        for frame in frames:
            alpha = frame[..., 3] >= 128 if frame.shape[-1] == 4 else np.ones(frame.shape[:2], bool)
            count.feed(frame[alpha][:, :3])
        has_alpha = frames[0].shape[-1] == 4
        palette = count.palette()
        writer = GifWriter(file, SIZE, given_times, plays, palette=palette, has_alpha=has_alpha)
    for frame in frames:
        writer.write(frame)
    writer.close()
    return file.getvalue(), seconds


def read(data):
    found = read_animation(io.BytesIO(data), 1000)
    assert found is not None and not found.is_truncated
    composer = Composer(io.BytesIO(data), found)
    return found, [composer.frame(n) for n in range(len(found.parts))]


@pytest.mark.parametrize("plays", [0, 1, 5])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["gif", "apng", "webp"])
def test_frames_durations_and_plays_are_kept(kind, channels, plays):
    frames = scenes(channels)
    data, seconds = write(kind, frames, plays, **({"quality": None} if kind == "webp" else {}))
    found, shown = read(data)
    assert found.plays == plays and tuple(part.seconds for part in found.parts) == seconds
    for frame, wanted in zip(shown, frames, strict=True):
        assert np.array_equal(frame[..., :channels], wanted)
        assert channels == 4 or (frame[..., 3] == 255).all()
    with Image.open(io.BytesIO(data)) as image:  # another decoder
        assert getattr(image, "n_frames", 1) == len(frames)
        for number, wanted in enumerate(frames):
            image.seek(number)
            other = np.asarray(image.convert("RGBA"))
            assert np.array_equal(other[..., :channels][wanted[..., -1] > 0],
                                  wanted[wanted[..., -1] > 0])  # fmt: skip


def test_only_what_changes_is_stored():
    for kind in ("apng", "webp", "gif"):
        data, _ = write(kind, scenes(3), **({"quality": 90} if kind == "webp" else {}))
        found = read_animation(io.BytesIO(data), 1000)
        areas = [part.width * part.height for part in found.parts]
        assert areas[0] == SIZE[0] * SIZE[1] and areas[2] == 1 and max(areas[1:]) < areas[0] / 2


@pytest.mark.parametrize("channels", [3, 4])
def test_an_apng_of_16_bits_is_exact(channels):
    frames = scenes(channels, np.uint16, levels=(0, 65535))
    found, shown = read(write("apng", frames)[0])
    assert found.depth == 16
    for frame, wanted in zip(shown, frames, strict=True):
        assert np.array_equal(frame[..., :channels], wanted)


def test_a_lossy_webp_is_near_and_keeps_partial_opacity():
    frames = scenes(4, levels=(0, 90, 255))
    _, shown = read(write("webp", frames, quality=92)[0])
    for frame, wanted in zip(shown, frames, strict=True):
        assert np.abs(frame[..., 3].astype(int) - wanted[..., 3]).max() <= 1


def test_many_colours_become_one_palette_that_is_near_and_still():
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    ramp = np.stack([6 * x, 8 * y, 3 * (x + y)], -1).astype(np.uint8)
    frames = [ramp, ramp.copy(), np.roll(ramp, 1, 1)]
    found, shown = read(write("gif", frames)[0])
    assert {part.palette for part in found.parts} == {found.parts[0].palette}
    assert np.array_equal(shown[0], shown[1]), "what stands still does not flicker"
    for frame, wanted in zip(shown, frames, strict=True):
        assert np.abs(frame[..., :3].astype(int) - wanted).mean() < 6


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["gif", "apng", "webp"]),
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
    st.fractions(Fraction(1, 90000), Fraction(1, 24), max_denominator=90000),
)
def test_times_are_rounded_without_drift_and_fast_frames_left_out(kind, steps, base):
    times = np.cumsum([7, *steps[:-1]]).tolist()
    planned = timing(kind, times, steps[-1], base)
    least = {"gif": Fraction(2, 100), "apng": Fraction(1, 100), "webp": Fraction(11, 1000)}[kind]
    assert min(planned.seconds) >= least and planned.numbers[0] == 0
    tick = {"gif": Fraction(1, 100), "apng": Fraction(1, 10**6), "webp": Fraction(1, 1000)}[kind]
    place = Fraction(0)
    for number, seconds in zip(planned.numbers, planned.seconds, strict=True):
        assert abs(place - (times[number] - times[0]) * base) <= tick
        place += seconds
    if all(step * base > Fraction(2, 100) + tick for step in steps):
        assert len(planned.numbers) == len(times)
