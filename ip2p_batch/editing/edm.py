"""Schedulers of models that were trained on continuous noise levels, as CosXL-Edit.

Their UNet gets ``log(sigma) / 4`` instead of a timestep, and predicts v with sigma_data = 1 (Karras
et al., NeurIPS 2022, arXiv 2206.00364). The noisy latents are ``x = x0 + sigma n``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from ..errors import ModelError
from ..models.kinds import check_scheduler

#: By names of :data:`ip2p_batch.models.kinds.CONTINUOUS_SCHEDULERS`.
CLASSES: Mapping[str, type[Any]] = {
    "euler": EDMEulerScheduler,
    "dpm++": EDMDPMSolverMultistepScheduler,
}


def is_continuous(config: Mapping[str, Any]) -> bool:
    """Whether a model's ``scheduler_config.json`` is of this kind."""
    return "sigma_data" in config or config.get("timestep_type") == "continuous"


def make(name: str, config: Mapping[str, Any], steps: int, device: str) -> Any:
    """Create a scheduler with a model's own noise levels and set its timesteps.

    Raises:
        RecipeError: the scheduler exists for discrete timesteps only.
        ModelError: the model predicts something else than v, or its data has another deviation.
    """
    check_scheduler("cosxl", name)
    if "sigma_data" not in config:
        raise ModelError(
            f"The model's scheduler, {config.get('_class_name')}, names no range of noise levels.",
            hint="Give the model the scheduler EDMEulerScheduler; docs/control.md has its options.",
        )
    if config.get("prediction_type") != "v_prediction" or float(config["sigma_data"]) != 1:
        raise ModelError(
            f"The model predicts {config.get('prediction_type')} with sigma_data ="
            f" {config['sigma_data']}; only v_prediction with 1 is supported.",
            hint="Use a model such as CosXL-Edit.",
        )
    scheduler = CLASSES[name].from_config(config)
    scheduler.set_timesteps(steps, device=device)
    return scheduler
