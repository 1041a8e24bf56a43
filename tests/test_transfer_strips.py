"""Strips cover an image."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.transfer.strips import strips


@given(height=st.integers(1, 5000), width=st.integers(1, 70000))
def test_strips_cover_every_row_once_and_begin_at_multiples_of_four(height, width):
    found = list(strips(height, width))
    assert found[0][0] == 0 and found[-1][1] == height
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(start % 4 == 0 and stop > start for start, stop in found)
