"""Which results are made from the full-size source."""

import numpy as np
import pytest

from ip2p_batch.execution.full_size import (
    at_full_size,
    deepened,
    needs_source,
    transferred,
)
from ip2p_batch.media.depth import to_8_bits, to_16_bits
from ip2p_batch.media.resize import Resize
from ip2p_batch.recipe import Recipe

from .transfer_images import photo


@pytest.mark.parametrize(
    ("detail", "longest", "expected"),
    [
        ("source", 640, True),
        ("source", 260, False),
        ("source", 100, False),
        ("edit", 640, False),
        ("tiles", 100, True),
    ],
)
def test_only_an_edit_much_smaller_than_the_source_lacks_its_detail(detail, longest, expected):
    recipe = Recipe(instruction="make it night", detail=detail)
    resize = Resize.for_size(longest, longest // 2, 256)
    assert needs_source(recipe, resize, deep=False) is expected
    assert needs_source(recipe, resize, deep=True) is (detail != "edit"), "it lacks the depth"


def deep_photo(height, width):
    """A photo with values that 8 bits cannot hold."""
    extra = np.random.default_rng(0).integers(-128, 129, (height, width, 3))
    return np.clip(photo(height, width).astype(int) * 257 + extra, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("size", [333, 100])
def test_a_deep_source_without_an_edit_is_returned_bit_identical(size):
    full = deep_photo(250, 333)
    resize = Resize.for_size(333, 250, size)
    source = resize.apply(full)
    assert np.array_equal(at_full_size(resize, source, source, full), full)


def test_an_edit_at_the_sources_size_gains_the_depth():
    ramp = np.linspace(8000, 57000, 320).astype(np.uint16)
    full = np.broadcast_to(ramp[None, :, None], (64, 320, 3)).copy()
    resize = Resize.for_size(320, 64, 320)
    source = resize.apply(full)
    edited = np.rint(source * 0.6 + 20).astype(np.uint8)
    result = deepened(resize, source, edited, full)
    assert np.array_equal(to_8_bits(result), edited)
    row, truth = result[5, :, 0], ramp * 0.6 + 20 * 257
    assert len(np.unique(row)) > 250 > 2 * len(np.unique(edited))
    shallow = np.abs(to_16_bits(edited)[5, :, 0] - truth).mean()
    assert np.abs(row - truth).mean() < 0.5 * shallow


def test_an_edit_at_the_sources_size_keeps_its_pixels_in_8_bits():
    full = deep_photo(120, 160)
    resize = Resize.for_size(160, 120, 160)
    source = resize.apply(full)
    edited = np.random.default_rng(1).integers(0, 256, source.shape).astype(np.uint8)
    assert np.array_equal(to_8_bits(deepened(resize, source, edited, full)), edited[:120])


def test_padding_of_the_edit_has_no_influence():
    full = photo(250, 333)
    resize = Resize.for_size(333, 250, 100)
    assert resize.padding != (0, 0)
    source = resize.apply(full)
    edited = 255 - source
    result = transferred(resize, source, edited, full)
    width, height = resize.content
    edited[height:] = edited[:, width:] = 7
    assert np.array_equal(transferred(resize, source, edited, full), result)
