"""The average frame rate: the header's where it agrees with the times, standard rates, the mean."""

from fractions import Fraction

import numpy as np
import pytest

from ip2p_batch.media.video.frame_rate import average_rate

NTSC = Fraction(30000, 1001)
MS = Fraction(1, 1000)


def times(rate: Fraction, base: Fraction, frames: int = 100) -> np.ndarray:
    return np.array([round(n / rate / base) for n in range(frames)], dtype=np.int64)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), NTSC, Fraction(60000, 1001)])
def test_a_header_that_counts_ticks_is_replaced_by_the_standard_rate(rate):
    for header in (Fraction(1000), Fraction(30000), Fraction(0)):
        assert average_rate(times(rate, MS), MS, header, is_guess=False) == rate


def test_a_header_rounded_to_nanoseconds_becomes_the_standard_rate():
    # mkvmerge writes the duration of a frame at 60000/1001 as 16 683 333 ns.
    header = Fraction(19001, 317)
    rate = average_rate(times(Fraction(60000, 1001), MS), MS, header, is_guess=False)
    assert rate == Fraction(60000, 1001)


def test_a_header_that_agrees_with_the_times_is_kept():
    unusual = Fraction(171, 10)
    assert average_rate(times(unusual, MS), MS, unusual, is_guess=False) == unusual


def test_variable_times_have_their_mean_rate():
    uneven = np.array([0, 40, 45, 300, 301, 1000])
    assert average_rate(uneven, MS, Fraction(1000), is_guess=False) == 5


def test_a_single_frame_has_the_rate_of_the_header_or_25():
    one = np.array([7])
    assert average_rate(one, MS, NTSC, is_guess=False) == NTSC
    assert average_rate(one, MS, Fraction(90000), is_guess=False) == 25
