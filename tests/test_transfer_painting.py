"""Brush strokes: the Kuwahara filter, at any depth and in parts of an image."""

import numpy as np
import pytest

from ip2p_batch.training import reference_edits
from ip2p_batch.transfer.painting import kuwahara, strokes

from .transfer_images import photo


@pytest.mark.parametrize("side", [5, 6])
def test_the_filter_is_the_reference_edits_inside_the_image(side):
    image = photo(60, 70).astype(np.float32) / 255
    found = np.moveaxis(kuwahara(np.ascontiguousarray(np.moveaxis(image, 2, 0)), side), 0, 2)
    expected = reference_edits.kuwahara(image, side - 1)
    inside = (slice(8, -8), slice(8, -8))
    differs = np.abs(found[inside] - expected[inside]).max(axis=2) > 1e-4
    assert differs.mean() < 0.01, "only where two squares are equally smooth"


def test_a_flat_image_has_no_strokes():
    red, green, blue = (np.full((20, 30), v, np.uint8) for v in (10, 200, 90))
    assert np.allclose(strokes((red, green, blue), 255.0), 0, atol=1e-6)


def test_the_unit_of_the_samples_does_not_matter():
    planes = tuple(np.moveaxis(photo(40, 40), 2, 0))
    deep = tuple(plane.astype(np.uint16) * np.uint16(257) for plane in planes)
    difference = np.abs(strokes(planes, 255.0) - strokes(deep, 65535.0))
    assert (difference > 1e-4).mean() < 0.01
