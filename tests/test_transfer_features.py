"""Structure features: flat areas have none, and they move with the image."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.transfer import features
from ip2p_batch.transfer.features import MARGIN

from .transfer_images import photo


def of(image):
    return features.features(tuple(np.moveaxis(image, 2, 0)), 255.0)


def test_a_flat_image_has_no_structure():
    found = of(np.full((32, 40, 3), 128, np.uint8))
    luma = 128 / 255
    assert np.allclose(found[[0, 1, 2, 3, 5]], 0, atol=1e-6)
    assert np.allclose(found[4], luma / (luma + 0.03), atol=1e-5)


def test_an_edge_is_strong_where_the_brightness_jumps():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    edge = of(image)[0]
    assert edge[20, 19:21].min() > 1
    assert edge[:, :12].max() < 1e-6


def test_features_of_a_part_are_those_of_the_whole_inside_the_margin():
    image = photo(160, 120)
    whole, part = of(image), of(image[32:])
    assert np.allclose(whole[:, 32 + MARGIN :], part[:, MARGIN:], atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(scale=st.integers(2, 257))
def test_the_unit_of_the_samples_does_not_matter(scale):
    image = photo(24, 28).astype(np.uint16)
    planes = tuple(np.moveaxis(image, 2, 0))
    scaled = tuple(np.moveaxis(image * np.uint16(scale), 2, 0))
    first, second = features.features(planes, 255.0), features.features(scaled, 255.0 * scale)
    assert np.allclose(first, second, atol=1e-4)


def test_the_place_of_an_image_in_memory_does_not_matter():
    """Otherwise results would differ between workers in their last bits."""
    red, green, blue = (np.ascontiguousarray(p) for p in np.moveaxis(photo(90, 160), 2, 0))

    def found():
        return features.features((red.copy(), green.copy(), blue.copy()), 255.0).tobytes()

    expected = found()
    kept = []
    for size in range(1, 60):
        kept.append(np.empty(4 * size * size + 4 * size, np.uint8))  # moves later allocations
        assert found() == expected
