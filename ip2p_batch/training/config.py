"""Options of the training loop and the learning-rate schedule that they describe."""

from __future__ import annotations

import math

import msgspec

from ..errors import RecipeError

#: The learning rate ends at this fraction of its peak.
_FINAL_FRACTION = 0.01


def check_crop_size(size: int) -> None:
    """Refuse a side of training squares that the UNet cannot halve.

    Raises:
        RecipeError: it is no multiple of 32, or below 64.
    """
    if size < 64 or size % 32:
        raise RecipeError(f"--size is {size}; it must be a multiple of 32, at least 64.")


class TrainingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one training run.

    Attributes:
        steps: total number of optimizer steps.
        batch_size: examples in one forward pass of one device.
        gradient_accumulation_steps: forward passes per optimizer step.
        learning_rate: peak learning rate.
        warmup_steps: steps of the linear warm-up to the peak.
        hold_fraction: the fraction of ``steps`` after which the rate starts to fall, 0 to 1;
            see :func:`learning_rate_at`.
        weight_decay, betas: parameters of AdamW.
        max_grad_norm: the gradient's norm is clipped to this.
        ema_decay: decay of the exponential moving average of the weights; 0 disables it.
        mixed_precision: "no", "bf16" or "fp16".
        use_8bit_adam: use AdamW of bitsandbytes, which must be installed.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: number of checkpoints to keep; older ones are deleted.
        validate_every: steps between validations; 0 validates at every checkpoint.
        seed: seed of all random numbers of the run.

    Raises:
        RecipeError: an option is out of range.
    """

    steps: int = 1000
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    warmup_steps: int = 50
    hold_fraction: float = 0.4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    use_8bit_adam: bool = False
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    validate_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise RecipeError(
                f"mixed_precision is {self.mixed_precision!r}; it must be no, bf16 or fp16."
            )
        for name in ("steps", "batch_size", "gradient_accumulation_steps", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 <= self.hold_fraction <= 1:
            raise RecipeError(f"hold_fraction is {self.hold_fraction}; it must be from 0 to 1.")
        if not 0 <= self.ema_decay < 1:
            raise RecipeError(
                f"ema_decay is {self.ema_decay}; it must be at least 0 and less than 1."
            )


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of ``step``, counted from 0.

    The rate rises linearly for ``warmup_steps``, stays at the peak until ``hold_fraction`` of all
    steps are done, and falls along half a cosine to 1 % of the peak.

    >>> config = TrainingConfig(steps=100, warmup_steps=10, hold_fraction=0.5, learning_rate=1.0)
    >>> [round(learning_rate_at(step, config), 3) for step in (0, 9, 40, 75, 100)]
    [0.1, 1.0, 1.0, 0.505, 0.01]
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    done = step / config.steps
    if done <= config.hold_fraction or config.hold_fraction == 1:
        return rate
    decay = min(1.0, (done - config.hold_fraction) / (1 - config.hold_fraction))
    cosine = 0.5 * (1 + math.cos(math.pi * decay))
    return rate * (_FINAL_FRACTION + (1 - _FINAL_FRACTION) * cosine)
