"""Schedulers by name: number of steps, start, and the scale of signal and noise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ip2p_batch import noise_schedule
from ip2p_batch.editing import edm, noise, schedule
from ip2p_batch.noise_schedule import NoiseConfig
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


def most_steps(name):
    return noise_schedule.DISTILLATION_STEPS if name in noise_schedule.DISTILLED else 1000


def test_every_scheduler_of_a_recipe_is_known():
    assert tuple(schedule.CLASSES) == SCHEDULERS


@names
@given(steps=st.integers(1, 1000))
@example(61)
@example(1000)
def test_it_has_the_number_of_steps_from_full_noise_down_to_none(name, steps):
    steps = min(steps, most_steps(name))
    made = schedule.make(name, CONFIG, steps, "cpu")
    assert made.timesteps.tolist() == noise_schedule.timesteps(name, steps)
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
@pytest.mark.parametrize(
    "own",
    [
        {},
        {"num_train_timesteps": 500},
        {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.001 + 0.00001 * t for t in range(1000)]},
        {"rescale_betas_zero_snr": True},
    ],
    ids=["stable_diffusion", "500", "linear", "cosine", "trained", "zero_snr"],
)
@given(steps=st.integers(1, 100))
@example(100)
@settings(max_examples=8, deadline=None)
def test_signal_to_noise_without_torch_is_that_of_the_scheduler(name, own, steps):
    steps = min(steps, most_steps(name))
    made = schedule.make(name, CONFIG | own, steps, "cpu")
    ratios = noise_schedule.log_signal_to_noise(name, steps, NoiseConfig.of(made.config))
    for step in range("rescale_betas_zero_snr" in own, steps):  # without signal, all but equal 0
        a, s = schedule.signal_and_noise_scale(made, step)
        assert math.exp(ratios[step]) == pytest.approx(a / s, rel=1e-4)


@pytest.mark.parametrize("name", edm.CLASSES)
@pytest.mark.parametrize("curve", ["karras", "exponential"])
def test_signal_to_noise_of_continuous_noise_levels_is_that_of_the_scheduler(name, curve):
    config = {"sigma_data": 1.0, "sigma_max": 120.0, "sigma_schedule": curve}
    made = schedule.make(name, config | {"prediction_type": "v_prediction"}, 20, "cpu")
    ratios = noise_schedule.log_signal_to_noise(name, 20, NoiseConfig.of(made.config))
    assert np.exp(ratios) == pytest.approx([1 / float(s) for s in made.sigmas[:20]], rel=1e-4)
    step = noise_schedule.carried_steps(name, 20, 0.7, NoiseConfig.of(made.config))
    assert 0.5 < float(made.sigmas[step]) < 1.3, "0.83 is Stable Diffusion's"


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


def test_lcm_denoises_to_our_x0():
    """At its last step LCM returns x0 itself; its c_skip is below 1e-6 there."""
    made = schedule.make("lcm", CONFIG, 4, "cpu")
    schedule.begin_at(made, 3)
    state, output = torch.randn(2, 1, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    theirs = made.step(output, made.timesteps[3], state, return_dict=False)[0]
    ours = schedule.pred_original_sample(
        state, output, schedule.signal_and_noise_scale(made, 3), "epsilon"
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


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


@names
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_from_a_middle_step_draws_the_noise_of_a_full_run(name, steps, monkeypatch):
    """As a frame that starts from its borders: ``noise.skip`` counts one draw for each step."""
    shape, drawn = (4, 5, 5), []
    plain = torch.randn

    def recording(*arguments, **options):
        values = plain(*arguments, **options)
        drawn.append(values)
        return values

    def run(first):
        made = schedule.make(name, CONFIG, steps, "cpu")
        generators = [noise.generator(seed) for seed in (3, 4)]
        if first:
            noise.skip(generators, shape, first)
            schedule.begin_at(made, first)
        else:
            noise.start(generators, shape)
        drawn.clear()
        options = {"generator": generators} if schedule.draws_noise(made) else {}
        for time in made.timesteps[first:]:
            x = torch.ones(2, *shape)
            made.scale_model_input(x, time)
            made.step(x, time, x, return_dict=False, **options)
        return [values.tolist() for values in drawn]

    monkeypatch.setattr(torch, "randn", recording)
    monkeypatch.setattr("diffusers.utils.torch_utils.torch.randn", recording)
    whole = run(0)
    steps_with_noise = {"euler-ancestral": steps, "lcm": steps - 1, "tcd": steps - 1}
    assert len(whole) == 2 * steps_with_noise.get(name, 0), "one draw a frame and step"
    for first in range(1, steps):
        assert run(first) == whole[2 * first :]


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
