"""What a mask protects is the source bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.masks.paste import paste


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), kind=st.sampled_from([np.uint8, np.uint16]))
def test_the_paste_is_exact_at_both_ends_and_rounds_between(seed, kind):
    rng = np.random.default_rng(seed)
    peak = int(np.iinfo(kind).max)
    source, edited = rng.integers(0, peak + 1, (2, 9, 13, 3)).astype(kind)
    mask = rng.choice([0, 255, 1, 77, 254], (9, 13)).astype(np.uint8)
    result = paste(source, edited, mask)
    assert result.dtype == kind
    assert np.array_equal(result[mask == 0], source[mask == 0])
    assert np.array_equal(result[mask == 255], edited[mask == 255])
    share = mask[..., None] / 255
    assert np.abs(share * edited + (1 - share) * source - result).max() <= 0.5


def test_images_of_other_shapes_are_refused():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="cannot paste"):
        paste(image, image.astype(np.uint16), image[..., 0])
    with pytest.raises(ValueError, match="a mask of shape"):
        paste(image, image, image[:2, :, 0])
