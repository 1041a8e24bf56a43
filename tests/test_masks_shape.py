"""Masks grow, shrink, soften and scale, and never let more change than they say."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.masks.shape import MaskShape, feathered, grown, reduced


def disc(height=48, width=64, radius=15):
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 <= radius**2
    return inside.astype(np.uint8) * 255


@st.composite
def masks(draw):
    """Random blocks with some grey."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    coarse = rng.choice([0, 0, 255, 255, 90, 200], (6, 6)).astype(np.uint8)
    rows, columns = (np.arange(n) * 6 // n for n in (height, width))
    return coarse[rows[:, None], columns]


@settings(deadline=None, max_examples=60)
@given(mask=masks(), pixels=st.integers(0, 30))
def test_a_soft_edge_lies_inside_of_what_may_change(mask, pixels):
    soft = feathered(mask, pixels)
    assert (soft[mask == 0] == 0).all() and (soft <= mask).all()
    assert (soft[mask > 0] > 0).all(), "the edit is not smaller than the mask"


@settings(deadline=None, max_examples=60)
@given(mask=masks(), pixels=st.integers(1, 20))
def test_a_grown_mask_contains_the_mask_and_a_shrunk_one_lies_in_it(mask, pixels):
    assert (grown(mask, pixels) >= mask).all()
    assert (grown(mask, -pixels) <= mask).all()
    white = np.where(mask >= 128, 255, 0).astype(np.uint8)
    again = grown(grown(white, pixels), -pixels)
    assert (again >= white).all(), "growing and then shrinking is a closing"


@settings(deadline=None, max_examples=60)
@given(mask=masks(), size=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_a_reduced_mask_is_empty_or_full_exactly_where_the_mask_is(mask, size):
    small = reduced(mask, size, (3, 5))
    assert small.shape == (size[1] + 5, size[0] + 3)
    assert small.any() == mask.any()
    full = np.full_like(mask, 255)
    assert (reduced(full, size, (0, 0)) == 255).all()


def test_distances_are_euclidean():
    dot = np.zeros((21, 21), np.uint8)
    dot[10, 10] = 255
    y, x = np.mgrid[:21, :21] - 10
    assert np.array_equal(grown(dot, 5) > 0, y**2 + x**2 <= 25)
    row = feathered(np.where(np.arange(20) < 5, 0, 255).astype(np.uint8)[None].repeat(20, 0), 4)[0]
    assert row[:5].max() == 0 and row[5:].tolist() == [51, 102, 153, 204] + [255] * 11


def test_a_mask_is_inverted_before_it_grows():
    mask = disc()
    outside = MaskShape(invert=True, grow=-3).applied(mask)
    assert np.array_equal(outside, 255 - grown(mask, 3))
    assert MaskShape().applied(mask) is mask
