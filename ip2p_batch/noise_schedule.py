"""The noise level of every denoising step, without torch: where carryover starts.

Workers call this with the configuration of the loaded model, so all of them start at the same step.
The planner only asks whether there are borders, and takes Stable Diffusion's noise levels for that,
since the hub's models are not on its machine. Where a model's own levels leave nothing to inherit,
frames start from noise although there are borders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import msgspec

#: Schedulers of consistency models, which choose their steps from those of the distillation.
DISTILLED = ("lcm", "tcd")
#: Steps of the distillation of LCM and TCD: diffusers' ``original_inference_steps``.
DISTILLATION_STEPS = 50
#: With fewer inherited steps carryover is off. One step hardly saves time: the frames that need an
#: estimate of their own start from noise instead, and each border takes a step more.
_MIN_CARRIED = 2
#: diffusers replaces the last product of a schedule without signal by this.
_LEAST_PRODUCT = 2.0**-24


class NoiseConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The noise levels of training, as in ``scheduler_config.json``. Defaults: Stable Diffusion.

    Attributes:
        num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas,
            rescale_betas_zero_snr: of a model with discrete timesteps.
        sigma_data: None for such a model. The next four are of one with continuous noise levels.
        sigma_min, sigma_max, rho: the range of noise levels, and its curve for ``karras``.
        sigma_schedule: ``karras`` or ``exponential``.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    trained_betas: tuple[float, ...] | None = None
    rescale_betas_zero_snr: bool = False
    sigma_data: float | None = None
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    sigma_schedule: str = "karras"

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> Self:
        """Read a model's configuration; the defaults if there is none or if it is damaged."""
        # Schedulers for discrete timesteps have a ``sigma_min`` of None.
        given = {name: value for name, value in (config or {}).items() if value is not None}
        own = {name: given[name] for name in cls.__struct_fields__ if name in given}
        try:
            return msgspec.convert(own, cls)
        except msgspec.ValidationError:
            return cls()


DEFAULT = NoiseConfig()


def timesteps(scheduler: str, steps: int, train_steps: int = 1000) -> list[int]:
    """The timesteps of denoising, descending from ``train_steps - 1``.

    Args:
        scheduler: a name of :data:`ip2p_batch.recipe.SCHEDULERS`.
        steps: 1 to 1000; for :data:`DISTILLED` at most :data:`DISTILLATION_STEPS`.

    >>> timesteps("euler", 4), timesteps("lcm", 4)
    ([999, 749, 499, 249], [999, 759, 499, 259])
    """
    if scheduler in DISTILLED:
        every = train_steps // DISTILLATION_STEPS
        skipped = (int(k * (DISTILLATION_STEPS / steps)) for k in range(steps))
        return [(DISTILLATION_STEPS - n) * every - 1 for n in skipped]
    # "Trailing" spacing; ip2p_batch/editing/schedule.py has the reason and the paper.
    # Rounded as numpy.arange, which diffusers calls: halves differ for 50 of the numbers of steps.
    spacing = train_steps - (train_steps - train_steps / steps)
    return [round(train_steps - k * spacing) - 1 for k in range(steps)]


def log_signal_to_noise(
    scheduler: str, steps: int, config: NoiseConfig = DEFAULT
) -> Sequence[float]:
    """``log(a / s)`` of the noisy latents ``x = a x0 + s n`` before each step, ascending.

    Args:
        scheduler, steps: as for :func:`timesteps`.
    """
    if config.sigma_data is not None:
        return [-math.log(sigma) for sigma in _sigmas(steps, config)]
    table = _table(config)
    return [table[t] for t in timesteps(scheduler, steps, len(table))]


def carried_steps(scheduler: str, steps: int, share: float, config: NoiseConfig = DEFAULT) -> int:
    """The step at which frames start from their borders: 0, or 2 to ``steps - 1``.

    A share c of the steps of "trailing" spacing reaches timestep T (1 - c) - 1. Of the scheduler's
    own steps, the one counts whose signal-to-noise ratio is nearest to that one's, by its
    logarithm: a start needs the same balance of signal and noise, however the steps lie. A model
    with continuous noise levels has no timesteps; Stable Diffusion's ratio is wanted there, too.

    Args:
        scheduler, steps: as for :func:`timesteps`.
        share: ``Recipe.carryover``, 0 to 0.99.

    >>> [carried_steps("euler", steps, 0.7) for steps in (2, 4, 10, 20, 50, 100)]
    [0, 3, 7, 14, 35, 70]
    >>> carried_steps("lcm", 4, 0.7)
    3
    """
    if share <= 0:
        return 0
    table = _table(DEFAULT if config.sigma_data is not None else config)
    wanted = _between(table, max(len(table) * (1 - share) - 1, 0.0))
    distances = [abs(own - wanted) for own in log_signal_to_noise(scheduler, steps, config)]
    step = distances.index(min(distances))
    return step if step >= _MIN_CARRIED else 0


def _between(table: Sequence[float], at: float) -> float:
    """The value at a fractional index, interpolated linearly."""
    below = min(int(at), len(table) - 2)
    return table[below] + (at - below) * (table[below + 1] - table[below])


@lru_cache(maxsize=8)
def _table(config: NoiseConfig) -> tuple[float, ...]:
    """``log(a / s)`` of every timestep: a^2 is the product of all ``1 - beta`` up to it."""
    product, products = 1.0, []
    for beta in _betas(config):
        product *= 1 - beta
        products.append(product)
    if config.rescale_betas_zero_snr:
        products = _without_last_signal(products)
    return tuple((math.log(p) - math.log1p(-p)) / 2 for p in products)


def _betas(config: NoiseConfig) -> Sequence[float]:
    """The variance that each timestep of training adds."""
    if config.trained_betas is not None:
        return config.trained_betas
    count = config.num_train_timesteps
    if config.beta_schedule == "squaredcos_cap_v2":  # Nichol and Dhariwal, 2021
        cosines = [
            math.cos((t / count + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(count + 1)
        ]
        return [min(1 - cosines[t + 1] / cosines[t], 0.999) for t in range(count)]
    # "scaled_linear": the square roots are linear.
    power = 1 if config.beta_schedule == "linear" else 2
    first, last = config.beta_start ** (1 / power), config.beta_end ** (1 / power)
    return [(first + (last - first) * t / (count - 1)) ** power for t in range(count)]


def _without_last_signal(products: Sequence[float]) -> list[float]:
    """Rescale the products so that the last one is almost 0 (Lin et al., 2023, algorithm 1)."""
    roots = [math.sqrt(p) for p in products]
    first, last = roots[0], roots[-1]
    rescaled = [((root - last) * first / (first - last)) ** 2 for root in roots]
    return [max(p, _LEAST_PRODUCT) for p in rescaled]


def _sigmas(steps: int, config: NoiseConfig) -> list[float]:
    """The noise levels of EDM's schedulers, descending (Karras et al., 2022, equation 5)."""
    shares = [k / max(steps - 1, 1) for k in range(steps)]
    if config.sigma_schedule == "exponential":
        return [config.sigma_max * (config.sigma_min / config.sigma_max) ** k for k in shares]
    low, high = (sigma ** (1 / config.rho) for sigma in (config.sigma_min, config.sigma_max))
    return [(high + k * (low - high)) ** config.rho for k in shares]
