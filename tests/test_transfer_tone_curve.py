"""Hats and a line give every function that is linear between the knots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.transfer import kernels
from ip2p_batch.transfer.tone_curve import COUNT, PIECES, hats, table

LUMA = np.linspace(0, 1, 257, dtype=np.float32)[None]


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=PIECES + 1, max_size=PIECES + 1))
def test_a_line_and_hats_interpolate_any_values_at_the_knots(values):
    line = values[0] + (values[-1] - values[0]) * np.arange(PIECES + 1) / PIECES
    weights = (np.asarray(values) - line)[1:-1]
    curve = np.tensordot(weights, hats(LUMA), 1)[0] + np.interp(LUMA[0], [0, 1], line[[0, -1]])
    expected = np.interp(LUMA[0], np.linspace(0, 1, PIECES + 1), values)
    assert np.allclose(curve, expected, atol=1e-5)


def test_the_kernel_evaluates_the_sum_of_the_hats():
    weights = np.random.default_rng(1).normal(size=(3, COUNT)).astype(np.float32)
    expected = np.tensordot(weights, hats(LUMA), 1)[:, 0]
    for colour, row in enumerate(table(weights)):
        result = np.zeros(LUMA.shape[1], np.float32)
        kernels._add_curve(LUMA[0], row, result)
        assert np.allclose(result, expected[colour], atol=1e-5)


@pytest.mark.parametrize("luma", [-0.2, 0.0, 1.0, 1.3])
def test_the_curve_is_zero_at_and_beyond_both_ends(luma):
    assert not hats(np.full((1, 1), luma, np.float32)).any()
