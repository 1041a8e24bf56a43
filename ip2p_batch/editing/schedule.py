"""Create diffusers' schedulers by name, and relate their noisy latents to x0 and noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from ..noise_schedule import DISTILLATION_STEPS
from . import edm

#: By the names that ``Recipe.scheduler`` takes.
CLASSES: Mapping[str, type[Any]] = {
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "euler": EulerDiscreteScheduler,
    "ddim": DDIMScheduler,
    "dpm++": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
    "lcm": LCMScheduler,
    "tcd": TCDScheduler,
}

#: Options that a model's own file does not decide. Files written for other classes lack
#: ``clip_sample``, and DDIM's default would then clip latents as if they were pixels.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "ddim": {"clip_sample": False},
    "dpm++": {"algorithm_type": "dpmsolver++"},
    # As the published LoRAs and models were distilled.
    "lcm": {"original_inference_steps": DISTILLATION_STEPS},
    "tcd": {"original_inference_steps": DISTILLATION_STEPS},
}
#: Classes whose steps draw new noise: Euler ancestral in every step, LCM and TCD (which has
#: diffusers' default eta of 0.3) in every step but the last, one draw for each.
_STOCHASTIC = (EulerAncestralDiscreteScheduler, LCMScheduler, TCDScheduler)
#: Classes that have the cumulative products of alphas instead of sigmas.
_ALPHAS = (DDIMScheduler, LCMScheduler, TCDScheduler)

#: Schedulers with ``x = x0 + sigma n``.
_VARIANCE_EXPLODING = (
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    *edm.CLASSES.values(),
)


def make(name: str, config: Mapping[str, Any], steps: int, device: str) -> Any:
    """Create a scheduler with a model's own noise schedule and set its timesteps.

    Timesteps are spaced "trailing" (Lin et al., 2023, "Common diffusion noise schedules and
    sample steps are flawed"): with few steps, "leading" starts well below the full noise
    (t = 901, sigma 8.4 instead of 14.6 at 10 steps), so noise-free statistics of
    the source leak in. LCM and TCD ignore the spacing: they take every so many of the 50 steps of
    their distillation, also from 999 on.

    Args:
        name: one of :data:`CLASSES`.
        config: the model's ``scheduler_config.json``.
        steps: 1 to 1000; at most 50 with LCM and TCD.

    Raises:
        ModelError, RecipeError: see :func:`.edm.make`.
    """
    if edm.is_continuous(config):
        return edm.make(name, config, steps, device)
    options = _OPTIONS.get(name, {})
    with warnings.catch_warnings():
        # diffusers passes tensors to numpy in a way that numpy 2 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler = CLASSES[name].from_config(config, timestep_spacing="trailing", **options)
        scheduler.set_timesteps(steps, device=device)
    if len(scheduler.timesteps) > steps:
        # For 62 of the numbers up to 1000 (61, 103, 121, ...) numpy's arange rounds its end up
        # and diffusers adds a step at t = -1.
        scheduler.timesteps = scheduler.timesteps[:steps]
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])
    return scheduler


def begin_at(scheduler: Any, step: int) -> None:
    """Make a fresh scheduler start at ``step``; DDIM needs only the timestep.

    DPM-Solver++ and UniPC use earlier steps. Without them they start with a step of first order,
    so a run that starts midway is close to a full run but does not equal it.
    """
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(step)


def draws_noise(scheduler: Any) -> bool:
    """Whether every step, perhaps except the last, draws new noise from the generator, once."""
    return isinstance(scheduler, _STOCHASTIC)


def signal_and_noise_scale(scheduler: Any, step: int) -> tuple[float, float]:
    """``(a, s)`` of the noisy latents before a step: ``x = a x0 + s n``, n of unit variance.

    Args:
        step: from 0 to the number of steps less one.

    Euler, Euler ancestral and those of :mod:`.edm` use the variance-exploding form, a = 1 and
    s = sigma (Karras et al., 2022). The others use the variance-preserving form, a^2 + s^2 = 1.
    """
    if isinstance(scheduler, _VARIANCE_EXPLODING):
        return 1.0, float(scheduler.sigmas[step])
    if isinstance(scheduler, _ALPHAS):
        alpha_prod = float(scheduler.alphas_cumprod[int(scheduler.timesteps[step])])
        return math.sqrt(alpha_prod), math.sqrt(1 - alpha_prod)
    sigma = float(scheduler.sigmas[step])
    norm = math.sqrt(1 + sigma**2)
    return 1 / norm, sigma / norm


def _unit_variance(
    x: torch.Tensor, scale: tuple[float, float]
) -> tuple[torch.Tensor, float, float]:
    """``(x', a', s')``: noisy latents and their scale divided by sqrt(a^2 + s^2)."""
    a, s = scale
    r = math.sqrt(a * a + s * s)
    return x / r, a / r, s / r


def pred_original_sample(
    x: torch.Tensor, prediction: torch.Tensor, scale: tuple[float, float], prediction_type: str
) -> torch.Tensor:
    """Convert a model's prediction at ``x = a x0 + s n`` to x0.

    With r = sqrt(a^2 + s^2) and x' = x / r, a' = a / r, s' = s / r::

        epsilon:       x0 = (x' - s' prediction) / a'
        v_prediction:  x0 = a' x' - s' prediction        (Salimans and Ho, 2022)
        sample:        x0 = prediction

    Args:
        scale: ``(a, s)``, see :func:`signal_and_noise_scale`.

    Raises:
        ValueError: the prediction type is not known.
    """
    x, a, s = _unit_variance(x, scale)
    if prediction_type == "epsilon":
        return (x - s * prediction) / a
    if prediction_type == "v_prediction":
        return a * x - s * prediction
    if prediction_type == "sample":
        return prediction
    raise ValueError(f"unknown prediction type {prediction_type!r}")


def prediction_of(
    x: torch.Tensor, x0: torch.Tensor, scale: tuple[float, float], prediction_type: str
) -> torch.Tensor:
    """The prediction that makes a scheduler continue from ``x`` to ``x0``.

    The inverse of :func:`pred_original_sample`; with x', a' and s' as there::

        epsilon:       prediction = (x' - a' x0) / s'
        v_prediction:  prediction = (a' x' - x0) / s'
        sample:        prediction = x0

    Args:
        scale: ``(a, s)``, see :func:`signal_and_noise_scale`.

    Raises:
        ValueError: the prediction type is not known.
    """
    x, a, s = _unit_variance(x, scale)
    if prediction_type == "epsilon":
        return (x - a * x0) / s
    if prediction_type == "v_prediction":
        return (a * x - x0) / s
    if prediction_type == "sample":
        return x0
    raise ValueError(f"unknown prediction type {prediction_type!r}")
