"""The temporal filter removes flicker and keeps edit and motion, without ghosts."""

import cv2
import numpy as np
import pytest

from ip2p_batch.evaluation import psnr, warp_error
from ip2p_batch.frame import Frame
from ip2p_batch.temporal.filter import TemporalFilter
from ip2p_batch.temporal.flow import measured_flow
from ip2p_batch.temporal.pipeline import TemporalPipeline
from ip2p_batch.threads import CpuPool


def texture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    return np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)


def panned(count, shift=2):
    wide = texture(96, 160 + shift * count)
    return [wide[:, n * shift : n * shift + 160].copy() for n in range(count)]


def filtered(sources, edited, radius=2, cpu_pool=None):
    pipeline = TemporalPipeline([TemporalFilter(radius, cpu_pool)])
    given = []
    for n, (source, image) in enumerate(zip(sources, edited, strict=True)):
        given += pipeline.push(Frame(n, 10 * n, source), Frame(n, 10 * n, image))
    given += pipeline.flush()
    frames = [pair.edited for pair in given]
    assert [frame.index for frame in frames] == list(range(len(sources)))
    assert [frame.pts for frame in frames] == [10 * n for n in range(len(sources))]
    return [frame.image for frame in frames]


def noisy(image, seed):
    rng = np.random.default_rng(seed)
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("radius", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_every_frame_comes_back_once_and_in_order(radius, count):
    sources = panned(count)
    filtered(sources, sources, radius)


def test_threads_change_nothing():
    sources = panned(7)
    edited = [noisy(255 - source, n) for n, source in enumerate(sources)]
    alone, helped = (filtered(sources, edited, cpu_pool=CpuPool(n)) for n in (1, 3))
    assert all(np.array_equal(a, b) for a, b in zip(alone, helped, strict=True))


def test_flicker_goes_and_the_edit_stays_in_a_moving_image():
    sources = panned(8)
    wanted = [255 - source for source in sources]
    edited = [noisy(image, n) for n, image in enumerate(wanted)]
    steady = filtered(sources, edited)
    motion = measured_flow(sources[3], sources[4])
    assert warp_error(steady[3], steady[4], motion) < 0.3 * warp_error(edited[3], edited[4], motion)
    for n in range(2, 6):
        assert psnr(steady[n], wanted[n]) > psnr(edited[n], wanted[n]) + 4


def test_a_steady_edit_hardly_changes():
    sources = panned(6)
    wanted = [255 - source for source in sources]
    for steady, image in zip(filtered(sources, wanted), wanted, strict=True):
        assert psnr(steady, image) > 35


def test_a_square_that_jumps_leaves_no_ghost():
    """Its true motion is known, and larger than any flow finds: 24 pixels a frame."""
    ground = texture(128, 192) // 3
    sources, edited, places = [], [], []
    for n in range(6):
        source, image = ground.copy(), ground // 2 + 20
        left = 10 + 24 * n
        source[50:74, left : left + 24] = (230, 220, 40)
        image[50:74, left : left + 24] = (20, 30, 240)
        sources.append(source)
        edited.append(image)
        places.append(left)
    for n, steady in enumerate(filtered(sources, edited)):
        gap = np.abs(steady.astype(int) - edited[n]).max(-1)
        for left in places:
            assert np.median(gap[52:72, left + 2 : left + 22]) <= 3
            assert gap[52:72, left + 2 : left + 22].mean() < 6


def test_the_result_does_not_depend_on_the_first_frame_of_a_run():
    """Chunks begin a radius early: then their frames are those of one long run."""
    sources = panned(12)
    edited = [noisy(255 - source, n) for n, source in enumerate(sources)]
    whole = filtered(sources, edited)
    part = filtered(sources[2:10], edited[2:10])
    for n in range(4, 8):
        assert np.array_equal(whole[n], part[n - 2])


def test_a_neighbour_lends_nothing_to_what_it_could_not_change_itself():
    source = texture(64, 96)
    edited = 255 - source
    white, black = np.full((64, 96), 255, np.uint8), np.zeros((64, 96), np.uint8)
    half = white.copy()
    half[:, 48:] = 0
    masks, given = [black, half, white, white], []
    images = [source, np.where(half[..., None] > 0, edited, source), edited, edited]
    pipeline = TemporalPipeline([TemporalFilter(2)])
    for n, (mask, image) in enumerate(zip(masks, images, strict=True)):
        given += pipeline.push(Frame(n, n, source, mask=mask), Frame(n, n, image))
    results = [pair.edited.image for pair in given + pipeline.flush()]
    assert np.array_equal(results[0], source), "a protected frame is left as it is"
    assert np.array_equal(results[1][:, :44], edited[:, :44])
    assert np.abs(results[2].astype(int) - edited).max() <= 1
