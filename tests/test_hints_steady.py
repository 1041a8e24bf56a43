"""Steady hints: less flicker, and equal whichever frames are computed together."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.frame import Frame
from ip2p_batch.hints.make import make_hint
from ip2p_batch.hints.steady import HintFilter, window_of
from ip2p_batch.threads import CpuPool

SHOT = range(3, 12)


@pytest.fixture(scope="module")
def frames():
    """A texture that moves by a pixel per frame, with noise."""
    random = np.random.default_rng(1)
    texture = np.kron(random.integers(40, 200, (12, 16, 3)), np.ones((8, 8, 1)))
    found = {}
    for n in SHOT:
        noise = random.normal(0, 6, (64, 96, 3))
        image = np.clip(np.roll(texture, -n, axis=1)[:64, :96] + noise, 0, 255).astype(np.uint8)
        hints = (make_hint("canny", image), make_hint("lineart", image))
        found[n] = Frame(n, n, image, hints=hints)
    return found


def filtered(frames, numbers, radius=2, threads=1):
    window = window_of(numbers, SHOT, radius)
    pool = CpuPool(threads)
    return list(HintFilter(radius, pool).apply((frames[n] for n in window), numbers))


def test_radius_zero_leaves_hints_as_they_are(frames):
    (frame,) = filtered(frames, range(5, 6), radius=0)
    assert frame is frames[5]


def test_the_neighbours_of_a_frame_change_its_hints_and_not_its_image(frames):
    (frame,) = filtered(frames, range(6, 7))
    assert np.array_equal(frame.image, frames[6].image)
    assert all(
        not np.array_equal(new, old) for new, old in zip(frame.hints, frames[6].hints, strict=True)
    )


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_a_hint_does_not_depend_on_the_frames_that_are_computed_together(frames, data):
    start = data.draw(st.integers(SHOT.start, SHOT.stop - 1))
    stop = data.draw(st.integers(start + 1, SHOT.stop))
    together = filtered(frames, range(start, stop), threads=data.draw(st.integers(1, 3)))
    assert [frame.index for frame in together] == list(range(start, stop))
    n = data.draw(st.integers(start, stop - 1))
    (alone,) = filtered(frames, range(n, n + 1))
    for hint, own in zip(together[n - start].hints, alone.hints, strict=True):
        assert np.array_equal(hint, own)


def test_hints_flicker_less_along_the_motion(frames):
    def flicker(found):
        following = pairwise(found)
        return np.mean(
            [
                np.abs(a.hints[1][:, 1:].astype(int) - b.hints[1][:, :-1]).mean()
                for a, b in following
            ]
        )

    raw = [frames[n] for n in SHOT]
    assert flicker(filtered(frames, SHOT)) < 0.8 * flicker(raw)
