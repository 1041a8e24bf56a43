"""Equal messages about many files are one line."""

import doctest

from ip2p_batch.jobs import grouping
from ip2p_batch.jobs.grouping import counted, grouped


def test_the_examples_hold():
    assert doctest.testmod(grouping).failed == 0


def test_lines_are_in_the_order_of_their_first_files():
    pairs = [("/a", "x"), ("/b", "y"), ("/c", "x"), ("/d", "z")]
    assert grouped(pairs, "videos") == ["2 videos: x (a, c)", "/b: y", "/d: z"]


def test_a_hundred_thousand_messages_are_one_line():
    (line,) = grouped(((f"/in/{n}.jpg", "no EXIF") for n in range(100_000)), "images")
    assert line == "100000 images: no EXIF (0.jpg, 1.jpg, ...)"


def test_one_thing_is_singular():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
