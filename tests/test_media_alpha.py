"""What is invisible never shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ip2p_batch.media.alpha import fill_hidden, partly_visible, weigh_visible

from . import clips


@st.composite
def cutouts(draw):
    kind, alpha_kind = (draw(st.sampled_from([np.uint8, np.uint16])) for _ in range(2))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    image = draw(arrays.arrays(kind, (*shape, 3)))
    alpha = draw(arrays.arrays(alpha_kind, shape, elements=st.sampled_from([0, 0, 1, 200, 255])))
    return image, alpha, draw(arrays.arrays(kind, (*shape, 3)))


@given(cutouts())
@settings(deadline=None)
def test_hidden_colours_have_no_influence_and_visible_ones_are_kept(case):
    image, alpha, other = case
    hidden = (alpha == 0)[..., None]
    changed = np.where(hidden, other, image)
    filled = fill_hidden(image, alpha)
    assert np.array_equal(filled, fill_hidden(changed, alpha))
    assert np.array_equal(np.where(hidden, 0, filled), np.where(hidden, 0, image))
    assert np.array_equal(weigh_visible(image, alpha), weigh_visible(changed, alpha))


@given(cutouts())
@settings(deadline=None)
def test_new_colours_lie_between_the_visible_ones(case):
    image, alpha, _ = case
    visible = image[alpha > 0]
    if not len(visible):
        assert not fill_hidden(image, alpha).any() and not weigh_visible(image, alpha).any()
        return
    for result in (fill_hidden(image, alpha), weigh_visible(image, alpha)):
        assert (result >= visible.min(0)).all() and (result <= visible.max(0)).all()


def test_an_opaque_image_is_returned_as_it_is():
    image, alpha = clips.picture(1), np.full((64, 64), 255, np.uint8)
    assert fill_hidden(image, alpha) is image and weigh_visible(image, alpha) is image
    assert not partly_visible(alpha).any()


def test_colours_count_by_their_opacity():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = (0, 255, 0)
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, 4:] = 3
    seen = weigh_visible(image, alpha)
    assert seen[:, :3].max() == 0 and seen[..., 1].max() < 90, "green is hardly visible"
    assert partly_visible(alpha).sum() == 32


@pytest.mark.parametrize("size", [(300, 515), (1, 700), (513, 1)])
def test_large_images_are_filled_strip_by_strip_without_seams(size):
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    image = np.dstack([x % 256, y % 256, (x + y) % 256]).astype(np.uint8)
    alpha = np.where((x // 40 + y // 40) % 2, 255, 0).astype(np.uint8)
    flat = np.full_like(image, 77)
    assert (fill_hidden(flat, alpha) == 77).all()
    filled = fill_hidden(image, alpha)
    assert np.array_equal(filled[alpha > 0], image[alpha > 0])
