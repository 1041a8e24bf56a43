"""Deflicker: pulsing goes, light that is in the scene stays."""

import numpy as np

from ip2p_batch.frame import Frame
from ip2p_batch.temporal.deflicker import MAX_GAIN, Deflicker, gain, luma
from ip2p_batch.temporal.pipeline import TemporalPipeline


def flat(value):
    return np.full((16, 24, 3), round(value), np.uint8)


def deflickered(sources, edited, radius=2):
    pipeline = TemporalPipeline([Deflicker(radius)])
    given = []
    for n, pair in enumerate(zip(sources, edited, strict=True)):
        given += pipeline.push(*(Frame(n, n, flat(value)) for value in pair))
    given += pipeline.flush()
    frames = [pair.edited for pair in given]
    assert [frame.index for frame in frames] == list(range(len(sources)))
    return [luma(frame.image) for frame in frames]


def test_an_edit_that_pumps_is_deflickered():
    pulsing = [100 + 8 * (-1) ** n for n in range(12)]
    steady = deflickered([90] * 12, pulsing)
    assert np.abs(np.diff(steady)).max() < 0.3 * np.abs(np.diff(pulsing)).max()
    assert abs(np.mean(steady) - np.mean(pulsing)) < 2


def test_a_flash_in_the_scene_stays_a_flash():
    sources = [80, 80, 80, 160, 80, 80, 80]
    edited = [60, 60, 60, 120, 60, 60, 60]
    assert np.allclose(deflickered(sources, edited), edited, atol=1)


def test_a_fade_in_the_scene_stays_a_fade():
    fade = [40 + 6 * n for n in range(12)]
    assert np.allclose(deflickered(fade, fade), fade, atol=3)


def test_a_steady_edit_is_not_changed():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    pipeline = TemporalPipeline([Deflicker(2)])
    given = [f for n in range(5) for f in pipeline.push(Frame(n, n, image), Frame(n, n, image))]
    assert all(np.array_equal(f.edited.image, image) for f in [*given, *pipeline.flush()])


def test_no_frame_is_changed_beyond_the_bound_even_a_black_one():
    assert gain([10, 10], [0, 200]) == MAX_GAIN
    assert gain([10, 10], [200, 0]) == 1 / MAX_GAIN


def test_the_brightness_of_what_may_change_is_smoothed():
    mask = np.zeros((16, 24), np.uint8)
    mask[:, :6] = 255
    pipeline, given = TemporalPipeline([Deflicker(2)]), []
    for n in range(9):
        image = flat(90)
        image[:, :6] = 100 + 8 * (-1) ** n
        own = mask if n != 4 else np.zeros_like(mask)
        given += pipeline.push(Frame(n, n, flat(90), mask=own), Frame(n, n, image))
    levels = [int(pair.edited.image[0, 0, 0]) for pair in given + pipeline.flush()]
    assert levels[4] == 108, "a protected frame is left as it is"
    assert max(levels[:4] + levels[5:]) - min(levels[:4] + levels[5:]) < 8
    assert luma(flat(90)) == luma(flat(90), mask)
