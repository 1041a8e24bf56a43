"""Correction: borders reach their finished latents, frames between them are pulled along."""

import numpy as np
import pytest
import torch

from ip2p_batch.edit import schedule
from ip2p_batch.recipe import SCHEDULERS
from tests.tiny_pipelines import editor, frames, recipe


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_model_output_stands_for_its_clean_prediction(name, kind):
    made = schedule.make(name, {"prediction_type": kind}, 10, "cpu")
    x, clean = torch.randn(2, 4, 8, 8).unbind()
    scale = schedule.state_scale(made, 4)
    output = schedule.model_output(x, clean, scale, kind)
    back = schedule.clean_prediction(x, output, scale, kind)
    torch.testing.assert_close(back, clean, rtol=1e-4, atol=1e-4)


def finished(owner, look, clip, numbers, tmp_path):
    session = owner.session(look)
    session.save_borders([(clip[n], tmp_path / str(n)) for n in numbers])
    session = owner.session(look)
    session.tie([(clip[n], tmp_path / str(n)) for n in numbers])
    return session


@pytest.mark.parametrize("carryover", [0.0, 0.5])
def test_at_a_border_full_correction_gives_the_borders_own_result(carryover, tmp_path):
    clip, owner = frames(5), editor()
    look = recipe(num_inference_steps=6, carryover=carryover, correction=1.0)
    plain = owner.session(recipe(num_inference_steps=6)).edit([clip[0], clip[4]])
    session = finished(owner, look, clip, (0, 4), tmp_path)
    for a, b in zip(plain, session.edit([clip[0], clip[4]]), strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 1


def test_correction_changes_what_lies_between_and_without_it_nothing_changes(tmp_path):
    clip, owner = frames(5), editor()
    plain = owner.session(recipe(num_inference_steps=6)).edit([clip[2]])[0].image
    look = recipe(num_inference_steps=6, correction=0.5)
    session = finished(owner, look, clip, (0, 4), tmp_path)
    assert not np.array_equal(session.edit([clip[2]])[0].image, plain)


def test_warped_noise_moves_with_the_picture_and_is_the_shots_own_at_a_border():
    clip, owner = frames(5), editor()
    look = recipe(num_inference_steps=6)
    shared = owner.session(look).edit(clip)
    session = owner.session(recipe(num_inference_steps=6, carryover=0.0, noise="warped"))
    session.tie([(clip[0], None), (clip[4], None)])
    warped = session.edit(clip)
    assert np.array_equal(shared[0].image, warped[0].image)
    assert np.array_equal(shared[4].image, warped[4].image)
    assert not np.array_equal(shared[2].image, warped[2].image)
