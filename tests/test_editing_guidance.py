"""Guidance with two conditions: the rewritten sum is the paper's, less what weighs nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.editing.guidance import branches, combine, weights
from ip2p_batch.errors import RecipeError

from .tiny_pipelines import context, editor, frames, recipe

SCALES = st.floats(1.0, 20.0)


def equation_3(text, image, none, s_t, s_i):
    """Brooks et al. 2023, equation 3, as printed."""
    return none + s_i * (image - none) + s_t * (text - image)


@given(s_t=st.floats(1.01, 20.0), s_i=SCALES)
def test_the_rewritten_sum_equals_equation_3(s_t, s_i):
    outputs = torch.randn(3, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    text, image, none = outputs
    found = weights(s_t, s_i)
    used = [{"text": 0, "image": 1, "none": 2}[b] for b in branches(found)]
    torch.testing.assert_close(
        combine(outputs[used], found), equation_3(text, image, none, s_t, s_i), rtol=1e-4, atol=1e-4
    )


@given(s_t=SCALES, s_i=st.floats(0.0, 20.0))
def test_weights_sum_to_one_so_that_a_constant_stays(s_t, s_i):
    assert sum(weights(s_t, s_i)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("s_t", "s_i", "needed"),
    [
        (7.5, 1.5, ("text", "image", "none")),
        (7.5, 1.0, ("text", "image")),
        (1.5, 1.5, ("text", "none")),
        (1.0, 1.5, ("text",)),
        (0.5, 1.5, ("text",)),
        (7.5, 0.9, ("text",)),
    ],
)
def test_only_branches_with_weight_are_run_and_guidance_goes_off_as_in_diffusers(s_t, s_i, needed):
    assert branches(weights(s_t, s_i)) == needed


def test_an_interval_of_all_steps_is_no_interval():
    clip = frames(2)
    plain = editor().session(recipe()).edit(clip)
    whole = editor().session(recipe(guidance_interval=(0.0, 1.0))).edit(clip)
    part = editor().session(recipe(guidance_interval=(0.0, 0.5))).edit(clip)
    for a, b, c in zip(plain, whole, part, strict=True):
        assert np.array_equal(a.image, b.image)
        assert not np.array_equal(a.image, c.image)


def test_outside_of_its_interval_guidance_is_off_with_anchors_too():
    """With an empty interval the scales do nothing, and only one branch is run."""
    clip, calls = frames(2), []
    owner = editor()
    handle = owner.pipe.unet.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    try:
        found = []
        for scale in (3.0, 9.0):
            edit_recipe = recipe(guidance_scale=scale, guidance_interval=(0.0, 0.0), anchors=1)
            session = owner.session(edit_recipe, context(anchors=[clip[1]]))
            found.append(session.edit(clip))
        off = owner.session(recipe(guidance_scale=1.0, anchors=1), context(anchors=[clip[1]]))
        found.append(off.edit(clip))
    finally:
        handle.remove()
    assert set(calls) == {1}
    for other in found[1:]:
        assert all(np.array_equal(a.image, b.image) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("interval", [(0.5, 0.2), (-0.1, 1.0), (0.0, 1.5), (float("nan"), 1.0)])
def test_an_interval_that_is_none_is_refused(interval):
    with pytest.raises(RecipeError, match="guidance_interval"):
        recipe(guidance_interval=interval)


def test_half_precision_outputs_are_summed_in_float32():
    outputs = torch.full((3, 1, 1, 1, 1), 3e4, dtype=torch.float16)
    assert combine(outputs, weights(7.5, 1.5)).item() == pytest.approx(3e4)
