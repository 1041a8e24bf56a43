"""Where carryover starts: by signal-to-noise, for every scheduler and number of steps."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch import noise_schedule
from ip2p_batch.noise_schedule import NoiseConfig, carried_steps
from ip2p_batch.recipe import SCHEDULERS, Recipe

names = pytest.mark.parametrize("name", SCHEDULERS)
usual = pytest.mark.parametrize("name", sorted({*SCHEDULERS} - {*noise_schedule.DISTILLED}))
shares = st.floats(0, 0.99)


@names
@given(steps=st.integers(1, 50), one=shares, two=shares)
def test_more_carryover_never_starts_earlier_and_always_leaves_a_step(name, steps, one, two):
    low, high = sorted((one, two))
    assert 0 <= carried_steps(name, steps, low) <= carried_steps(name, steps, high)
    assert carried_steps(name, steps, high) <= max(steps - 1, 0)


@usual
@pytest.mark.parametrize(("steps", "expected"), [(10, 7), (20, 14), (50, 35), (100, 70)])
def test_the_default_start_of_evenly_spaced_steps_is_at_seven_tenths(name, steps, expected):
    assert carried_steps(name, steps, 0.7) == expected


@pytest.mark.parametrize("name", noise_schedule.DISTILLED)
def test_lcm_and_tcd_with_four_steps_start_at_the_last(name):
    """Step 2 has a signal-to-noise ratio of 0.62, step 3 one of 1.39; 1.21 is wanted."""
    assert carried_steps(name, 4, 0.7) == 3


@usual
@given(steps=st.integers(5, 1000), share=st.floats(0.3, 0.99))
def test_evenly_spaced_steps_start_within_a_step_of_the_share(name, steps, share):
    assert abs(carried_steps(name, steps, share) - min(steps * share, steps - 1)) <= 1


@names
@pytest.mark.parametrize("steps", [1, 2])
def test_carryover_is_off_where_it_would_save_one_step_at_most(name, steps):
    recipe = Recipe(instruction="x", scheduler=name, num_inference_steps=steps, carryover=0.99)
    assert recipe.carried_steps() == 0
    assert not recipe.edits_borders


def test_no_carryover_carries_nothing():
    assert carried_steps("euler", 10, 0.0) == 0


@names
def test_signal_grows_from_step_to_step(name):
    assert all(a < b for a, b in pairwise(noise_schedule.log_signal_to_noise(name, 50)))


def test_a_damaged_configuration_counts_as_stable_diffusions():
    assert NoiseConfig.of({"beta_start": "x"}) == NoiseConfig.of(None) == noise_schedule.DEFAULT
    assert NoiseConfig.of({"beta_end": 0.02, "clip_sample": False}).beta_end == 0.02


def test_noise_levels_without_timesteps_change_the_step():
    """The noise of CosXL-Edit falls by a constant factor a step: most of its steps are faint."""
    own = {"sigma_data": 1.0, "sigma_max": 120.0, "sigma_schedule": "exponential"}
    assert carried_steps("euler", 20, 0.7, NoiseConfig.of(own)) == 9
