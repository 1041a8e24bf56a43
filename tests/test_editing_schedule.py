"""Schedulers by name: number of steps, start, and the scale of signal and noise."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ip2p_batch.editing import schedule
from ip2p_batch.recipe import SCHEDULERS

#: The file of a Stable Diffusion 1 model, for a scheduler without clip_sample.
CONFIG = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
}
names = pytest.mark.parametrize("name", SCHEDULERS)


def test_every_scheduler_of_a_recipe_is_known():
    assert tuple(schedule.CLASSES) == SCHEDULERS


@names
@given(steps=st.integers(1, 1000))
@example(61)
@example(1000)
def test_it_has_the_number_of_steps_from_full_noise_down_to_none(name, steps):
    made = schedule.make(name, CONFIG, steps, "cpu")
    assert len(made.timesteps) == steps
    assert made.timesteps[0] == 999
    if hasattr(made, "sigmas"):
        assert len(made.sigmas) == steps + 1
        assert made.sigmas[-1] == 0


@names
@pytest.mark.parametrize("step", [0, 1, 4, 9])
def test_the_scale_is_that_with_which_the_scheduler_adds_noise(name, step):
    made = schedule.make(name, CONFIG, 10, "cpu")
    x0, noise = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    a, s = schedule.signal_and_noise_scale(made, step)
    theirs = made.add_noise(x0, noise, made.timesteps[step : step + 1])
    torch.testing.assert_close(a * x0 + s * noise, theirs, rtol=1e-4, atol=1e-4)


@names
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_x0_of_a_perfect_prediction_is_exact(name, kind):
    made = schedule.make(name, CONFIG | {"prediction_type": kind}, 10, "cpu")
    a, s = schedule.signal_and_noise_scale(made, 6)
    x0, noise = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    r = (a * a + s * s) ** 0.5
    perfect = {
        "epsilon": noise,
        "v_prediction": (a * noise - s * x0) / r,
        "sample": x0,
    }[kind]
    found = schedule.pred_original_sample(a * x0 + s * noise, perfect, (a, s), kind)
    torch.testing.assert_close(found, x0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["euler", "euler-ancestral", "ddim"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_x0_equals_that_of_the_scheduler(name, kind):
    made = schedule.make(name, CONFIG | {"prediction_type": kind}, 10, "cpu")
    schedule.begin_at(made, 5)
    state, output = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    time = made.timesteps[5]
    made.scale_model_input(state, time)
    theirs = made.step(output, time, state).pred_original_sample
    ours = schedule.pred_original_sample(
        state, output, schedule.signal_and_noise_scale(made, 5), kind
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_an_unknown_prediction_type_is_refused():
    with pytest.raises(ValueError, match="flow"):
        schedule.pred_original_sample(torch.zeros(1), torch.zeros(1), (1.0, 1.0), "flow")


def test_ddim_does_not_clip_latents_with_the_file_of_another_scheduler():
    assert schedule.make("ddim", CONFIG, 4, "cpu").config.clip_sample is False


def test_dpm_is_deterministic_with_the_file_of_a_stochastic_scheduler():
    stochastic = CONFIG | {"algorithm_type": "sde-dpmsolver++"}
    made = schedule.make("dpm++", stochastic, 4, "cpu")
    assert made.config.algorithm_type == "dpmsolver++"
    assert not schedule.draws_noise(made)
