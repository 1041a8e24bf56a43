"""Time codes: the label of the frame some frames later."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.media.video.timecode import advanced

NTSC, FAST = Fraction(30000, 1001), Fraction(60000, 1001)


def labels(rate, separator):
    """All labels of two hours, by the rule of SMPTE ST 12-1."""
    per_second = round(rate)
    dropped = per_second // 15 if separator == ";" else 0
    for minute in range(2 * 60):
        for second in range(60):
            for number in range(per_second):
                if second == 0 and number < dropped and minute % 10:
                    continue
                yield f"{minute // 60:02}:{minute % 60:02}:{second:02}{separator}{number:02}"


@pytest.mark.parametrize(("rate", "separator"), [(Fraction(24000, 1001), ":"), (NTSC, ";")])
def test_labels_are_those_counted_frame_by_frame(rate, separator):
    counted = list(labels(rate, separator))
    for index in range(0, len(counted), 97):
        assert advanced(counted[0], index, rate) == counted[index]
        if index + 1 < len(counted):
            assert advanced(counted[index], 1, rate) == counted[index + 1]


def test_a_day_wraps():
    assert advanced("23:59:59;29", 1, NTSC) == "00:00:00;00"
    assert advanced("23:59:59:23", 2, Fraction(24000, 1001)) == "00:00:00:01"


def test_sixty_frames_drop_four_labels():
    assert advanced("00:00:59;59", 1, FAST) == "00:01:00;04"
    assert advanced("00:09:59;59", 1, FAST) == "00:10:00;00"


@settings(deadline=None)
@given(
    st.sampled_from([":", ";"]), st.integers(0, 2589407), st.integers(0, 10**6), st.integers(0, 99)
)
def test_two_steps_are_one(separator, first, second, third):
    code = advanced(f"00:00:00{separator}00", first, NTSC)
    assert code is not None
    step = advanced(code, second, NTSC)
    assert step is not None
    assert advanced(step, third, NTSC) == advanced(code, second + third, NTSC)


@pytest.mark.parametrize(
    ("code", "rate"),
    [("", 25), ("1:2:3:4", 25), ("01:02:03:25", 25), ("01:60:00:00", 25), ("01:00:00;00", 24)],
)
def test_what_is_no_time_code_of_a_rate_has_no_successor(code, rate):
    assert advanced(code, 1, Fraction(rate)) is None
