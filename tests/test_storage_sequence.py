"""Names of image sequences, and how a change of their files is found."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.storage.sequence import (
    is_sequence,
    pattern_of,
    sequence_digest,
    sequence_files,
    sequence_stamp,
)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("f_%05d.png", "f_00007.png"),
        ("%d.jpg", "7.jpg"),
        ("%3d.exr", "007.exr"),
        ("shot.####.dpx", "shot.0007.dpx"),
        ("take#1_%02d.tif", "take#1_07.tif"),
        ("100%%_%d.png", "100%_7.png"),
    ],
)
def test_a_name_with_one_number_names_a_sequence(name, first):
    assert pattern_of(name).name(7) == first


@pytest.mark.parametrize("name", ["clip_%d.mp4", "%d_%d.png", "a.png", "a#1.png", "a%x.png", "%d"])
def test_other_names_name_one_file(name):
    assert pattern_of(name) is None


@given(st.sets(st.integers(0, 200_000), max_size=20), st.integers(1, 6))
def test_the_numbers_of_files_are_found_again(tmp_path_factory, numbers, digits):
    folder = tmp_path_factory.mktemp("numbers")
    pattern = pattern_of(folder / f"f_%0{digits}d.png")
    for number in numbers:
        pattern.path(number).touch()
    for name in ("f_.png", "f_1x.png", "f_0000000001.png", "other_1.png", "f_1.jpg"):
        (folder / name).touch()
    assert pattern.numbers() == sorted(numbers)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    path = tmp_path / "f_%d.png"
    assert is_sequence(path)
    path.touch()
    assert not is_sequence(path)
    assert list(sequence_files(path)) == []


def test_a_change_of_any_file_changes_the_stamp_and_a_change_of_content_the_digest(tmp_path):
    path = tmp_path / "f_%d.png"
    for number in range(3):
        (tmp_path / f"f_{number}.png").write_bytes(b"pixels")
    stamp, content = sequence_stamp(path), sequence_digest(path)
    os.utime(tmp_path / "f_1.png", ns=(1, 1))
    assert sequence_stamp(path) != stamp
    assert sequence_digest(path) == content
    (tmp_path / "f_1.png").write_bytes(b"PIXELS")
    assert sequence_digest(path) != content
    (tmp_path / "f_3.png").write_bytes(b"pixels")
    assert sequence_stamp(path).startswith("frames:4:")
