"""Which results are made from the full-size source."""

import numpy as np
import pytest

from ip2p_batch.execution.full_size import needs_source, transferred
from ip2p_batch.media.resize import Resize
from ip2p_batch.recipe import Recipe

from .transfer_images import photo


@pytest.mark.parametrize(
    ("detail", "longest", "expected"),
    [("source", 640, True), ("source", 260, False), ("source", 100, False), ("edit", 640, False)],
)
def test_only_an_edit_much_smaller_than_the_source_lacks_its_detail(detail, longest, expected):
    recipe = Recipe(instruction="make it night", detail=detail)
    assert needs_source(recipe, Resize.for_size(longest, longest // 2, 256)) is expected


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
