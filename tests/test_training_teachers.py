"""The teachers: deterministic, blind to position, and unlike each other."""

import numpy as np
import pytest

from ip2p_batch.training.teachers import TEACHERS

from .pictures import scene

#: Pixels around a pixel that any teacher looks at; the widest blur ends here.
REACH = 40


def landscape(height=160, width=200, seed=0):
    """Soft hills of colour with some hard edges: sky, greens, browns."""
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (8, 10, 3))
    y = np.arange(height) * 8 // height
    x = np.arange(width) * 10 // width
    image = small[y][:, x].astype(np.float64)
    image += 25 * np.sin(np.arange(width) / 7)[None, :, None]
    image[height // 2 :, :, 1] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_gives_the_same_picture_twice_and_leaves_its_source_alone(name):
    image = landscape()
    before = image.copy()
    first, second = TEACHERS[name](image), TEACHERS[name](image)
    assert np.array_equal(first, second) and np.array_equal(image, before)
    assert first.shape == image.shape and first.dtype == np.uint8 and first.flags.c_contiguous


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("shift", [(1, 0), (3, 5), (8, 13)])
def test_a_picture_moved_by_some_pixels_gets_the_same_edit_moved_likewise(name, shift):
    whole = landscape(220, 260)
    dy, dx = shift
    here, there = whole[:200, :240], whole[dy : 200 + dy, dx : 240 + dx]
    edited, moved = (TEACHERS[name](np.ascontiguousarray(part)) for part in (here, there))
    inner = slice(REACH + 13, 200 - REACH - 13)
    across = slice(REACH + 13, 240 - REACH - 13)
    a = edited[inner, across].astype(int)
    b = moved[inner.start - dy : inner.stop - dy, across.start - dx : across.stop - dx]
    # Sums over a window round differently where it began elsewhere, and a tie may then fall the
    # other way: a few pixels of the painted ones.
    different = np.abs(a - b).max(axis=-1) > 2
    assert different.mean() < 0.01


@pytest.mark.parametrize("name", TEACHERS)
def test_edits_change_the_picture_and_keep_does_not(name):
    image = landscape()
    error = np.abs(TEACHERS[name](image).astype(int) - image).mean()
    assert (error == 0) if name == "keep" else (error > 4)


def test_no_two_teachers_do_the_same():
    image = landscape()
    results = {name: teacher(image).astype(float) for name, teacher in TEACHERS.items()}
    names = list(results)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert np.abs(results[first] - results[second]).mean() > 4, (first, second)


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("value", [0, 255])
def test_flat_black_and_white_give_no_nonsense(name, value):
    image = np.full((64, 64, 3), value, np.uint8)
    result = TEACHERS[name](image)
    assert result.std(axis=(0, 1)).max() < 1


def test_small_pictures_are_edited_too():
    for teacher in TEACHERS.values():
        assert teacher(scene(24, 16)).shape == (16, 24, 3)
