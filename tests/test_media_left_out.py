"""What a listing leaves out is counted by kind, with the first names of each kind."""

import doctest

from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.media import left_out
from ip2p_batch.media.left_out import LeftOut


def line(*names):
    found = LeftOut()
    for name in names:
        found.add_file(name)
    return found.line()


def test_the_examples_hold():
    assert doctest.testmod(left_out).failed == 0


def test_nothing_left_out_is_no_line():
    assert LeftOut().line() == ""


def test_files_are_counted_by_their_suffix_in_any_case():
    assert line("b.EXR", "a.exr", "x.txt") == "Left out: 2 .exr (a.exr, b.EXR), 1 .txt (x.txt)."


def test_files_without_a_suffix_have_a_kind_of_their_own():
    assert line("README") == "Left out: 1 file without a suffix (README)."
    assert line("README", "LICENSE") == "Left out: 2 files without a suffix (LICENSE, README)."


def test_nouns_have_their_plural():
    found = LeftOut()
    for name in (".a", ".b"):
        found.add(name, "hidden file", "hidden files")
    found.add(".git", "hidden folder", "hidden folders")
    assert found.line() == "Left out: 2 hidden files (.a, .b), 1 hidden folder (.git)."


@given(st.lists(st.sampled_from(["a.exr", "b.exr", "c.exr", "d.dpx", "e", "f.txt"])), st.randoms())
def test_the_line_does_not_depend_on_the_order_of_the_files(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert line(*names) == line(*shuffled)
