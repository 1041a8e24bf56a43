"""The reference edits: deterministic, translation-invariant, and different from each other."""

import numpy as np
import pytest

from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from .pictures import scene

#: Radius in pixels of the neighborhood that a reference edit uses; the widest blur ends here.
REACH = 40


def landscape(height=160, width=200, seed=0):
    """Return smooth areas of color with some hard edges: sky, greens, browns."""
    rng = np.random.default_rng(seed)
    small = rng.integers(30, 220, (8, 10, 3))
    y = np.arange(height) * 8 // height
    x = np.arange(width) * 10 // width
    image = small[y][:, x].astype(np.float64)
    image += 25 * np.sin(np.arange(width) / 7)[None, :, None]
    image[height // 2 :, :, 1] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", REFERENCE_EDITS)
def test_an_edit_is_deterministic_and_does_not_change_its_source(name):
    image = landscape()
    before = image.copy()
    first, second = REFERENCE_EDITS[name](image), REFERENCE_EDITS[name](image)
    assert np.array_equal(first, second) and np.array_equal(image, before)
    assert first.shape == image.shape and first.dtype == np.uint8 and first.flags.c_contiguous


@pytest.mark.parametrize("name", REFERENCE_EDITS)
@pytest.mark.parametrize("shift", [(1, 0), (3, 5), (8, 13)])
def test_a_shifted_image_gets_the_same_edit_shifted(name, shift):
    image = landscape(220, 260)
    dy, dx = shift
    first, second = image[:200, :240], image[dy : 200 + dy, dx : 240 + dx]
    edited, shifted = (
        REFERENCE_EDITS[name](np.ascontiguousarray(part)) for part in (first, second)
    )
    rows = slice(REACH + 13, 200 - REACH - 13)
    columns = slice(REACH + 13, 240 - REACH - 13)
    a = edited[rows, columns].astype(int)
    b = shifted[rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx]
    # Running sums over a window round differently after a shift, which can break ties of the
    # Kuwahara filter differently in a few pixels.
    different = np.abs(a - b).max(axis=-1) > 2
    assert different.mean() < 0.01


@pytest.mark.parametrize("name", REFERENCE_EDITS)
def test_every_edit_but_keep_changes_the_image(name):
    image = landscape()
    error = np.abs(REFERENCE_EDITS[name](image).astype(int) - image).mean()
    assert (error == 0) if name == "keep" else (error > 4)


def test_no_two_edits_are_alike():
    image = landscape()
    results = {name: edit(image).astype(float) for name, edit in REFERENCE_EDITS.items()}
    names = list(results)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert np.abs(results[first] - results[second]).mean() > 4, (first, second)


@pytest.mark.parametrize("name", REFERENCE_EDITS)
@pytest.mark.parametrize("value", [0, 255])
def test_a_uniform_image_stays_uniform(name, value):
    image = np.full((64, 64, 3), value, np.uint8)
    result = REFERENCE_EDITS[name](image)
    assert result.std(axis=(0, 1)).max() < 1


def test_small_images_are_edited():
    for edit in REFERENCE_EDITS.values():
        assert edit(scene(24, 16)).shape == (16, 24, 3)
