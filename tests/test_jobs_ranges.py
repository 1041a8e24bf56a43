"""Numbers in few words, and none of them lost."""

from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.jobs.ranges import in_words


@given(st.sets(st.integers(0, 60)))
def test_the_words_name_these_numbers_and_no_others(numbers):
    words = in_words(sorted(numbers))
    named = []
    for part in filter(None, words.split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_a_row_is_one_range():
    assert (
        in_words([]) == "" and in_words([4]) == "4" and in_words([1, 2, 4, 6, 7]) == "1-2, 4, 6-7"
    )
