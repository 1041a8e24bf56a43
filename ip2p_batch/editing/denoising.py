"""Denoise batches of frames of one shape, step by step in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from . import guidance, noise, schedule
from .attention import AnchorKVCache
from .control.batch import ControlBatch
from .control.residuals import NOTHING, Residuals
from .deepcache import DeepCacheRun, DeepCacheUNet
from .mask_blend import KeptSource, MaskBlend
from .prompts import UNetTexts

Tensor = torch.Tensor
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Denoiser:
    """What turns noisy latents into less noisy ones: UNet, scheduler, guidance.

    Attributes:
        scheduler: with the recipe's steps set.
        guidance_weights: of the branches, in ``guided_steps``.
        guided_steps: the steps in which guidance is on; None: all.
        deepcache: the UNet, to be run in full or in part; None: always in full.
        deepcache_interval: every so many steps the UNet is run in full.
        condition_scale: what the UNet's image condition is multiplied by. InstructPix2Pix takes
            unscaled latents; CosXL-Edit takes scaled ones.
    """

    unet: Any
    scheduler: Any
    guidance_weights: guidance.Weights
    guided_steps: range | None = None
    deepcache: DeepCacheUNet | None = None
    deepcache_interval: int = 1
    condition_scale: float = 1.0

    @property
    def branches(self) -> tuple[guidance.Branch, ...]:
        """All branches that some step computes, text first."""
        return guidance.branches(self.guidance_weights)

    def weights_at(self, step: int) -> guidance.Weights:
        """The weights of the branches in a step."""
        guided = self.guided_steps is None or step in self.guided_steps
        return self.guidance_weights if guided else guidance.OFF

    @property
    def num_steps(self) -> int:
        """How many denoising steps the scheduler has."""
        return len(self.scheduler.timesteps)

    def conditions(self, image_latents: Tensor) -> Tensor:
        """The image condition of all branches, sorted by branch.

        Args:
            image_latents: unscaled latents of the source frames.
        """
        image_latents = image_latents.to(self.unet.dtype)
        if self.condition_scale != 1:
            image_latents = image_latents * self.condition_scale
        blank = torch.zeros_like(image_latents)
        return torch.cat([blank if branch == "none" else image_latents for branch in self.branches])

    def predict(
        self,
        model_input: Tensor,
        conditions: Tensor,
        prompts: UNetTexts,
        step: int,
        deepcache: DeepCacheRun | None = None,
        control: ControlBatch | None = None,
    ) -> Tensor:
        """The UNet's prediction with guidance, float32.

        Args:
            model_input: noisy latents as the scheduler scales them for the UNet, in its precision.
            conditions: see :meth:`conditions`.
            prompts: of ``branches * frames`` samples, sorted by branch.
            deepcache: runs the UNet; None: all of it runs.
            control: the control nets on these frames.
        """
        timestep = self.scheduler.timesteps[step]
        weights = self.weights_at(step)
        branches = len(guidance.branches(weights))
        samples = branches * len(model_input)  # sorted by branch, text first
        inputs = torch.cat([torch.cat([model_input] * branches), conditions[:samples]], dim=1)
        texts = prompts.first(samples)

        def residuals() -> Residuals:
            if control is None:
                return NOTHING
            return control.residuals(step, timestep, model_input, texts)

        output: Any
        if deepcache is None:
            options = texts.options() | residuals().arguments()
            output = self.unet(inputs, timestep, **options, return_dict=False)[0]
        else:
            acting = () if control is None else control.acting(step)
            output = deepcache(step, inputs, timestep, texts, residuals, acting)
        return guidance.combine(output.unflatten(0, (branches, -1)), weights)


class DenoisingBatch:
    """One batch of frames between two denoising steps.

    Attributes:
        x: noisy latents, ``(frames, channels, height, width)``, float32, in the scheduler's scale.
        step: the next step to run.

    Args:
        image_latents: unscaled latents of the source frames, shape as ``x``.
        prompts: of ``branches * frames`` samples, sorted by branch.
        seeds: one for each frame.
        step: the first step to run; from 1 on it needs ``start``.
        start: noisy latents at ``step``; None: noise from the seeds.
        full_unet: run the whole UNet in every step, also with DeepCache.
        control: the control nets on these frames.
        kept: what masks keep, one for each frame; empty: no frame has a mask.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        image_latents: Tensor,
        prompts: UNetTexts,
        seeds: Sequence[int],
        step: int = 0,
        start: Tensor | None = None,
        *,
        full_unet: bool = False,
        control: ControlBatch | None = None,
        kept: Sequence[KeptSource | None] = (),
    ) -> None:
        self._denoiser = denoiser
        self._control = control
        self._masks = MaskBlend(kept)
        self._deepcache = None
        if denoiser.deepcache is not None and not full_unet:
            self._deepcache = DeepCacheRun(denoiser.deepcache, denoiser.deepcache_interval)
        self._prompts = prompts
        self.step = step
        self.scheduler = deepcopy(denoiser.scheduler)  # it counts its steps and keeps a history
        _, channels, height, width = image_latents.shape
        shape = (int(channels), int(height), int(width))
        self._generators = [noise.generator(seed) for seed in seeds]
        if start is not None:
            if schedule.draws_noise(self.scheduler):
                noise.skip(self._generators, shape, step)
            schedule.begin_at(self.scheduler, step)
            self.x = start.to(image_latents.device, torch.float32)
        else:
            unit_noise = noise.start(self._generators, shape).to(image_latents.device)
            self.x = unit_noise * self.scheduler.init_noise_sigma
        self._conditions = denoiser.conditions(image_latents)

    @property
    def active_branches(self) -> int:
        """How many branches the next step computes."""
        return len(guidance.branches(self._denoiser.weights_at(self.step)))

    def advance(self) -> None:
        """Run one step."""
        # Deterministic steps draw nothing, and some schedulers do not know the argument.
        draws = schedule.draws_noise(self.scheduler)
        options = {"generator": self._generators} if draws else {}
        timestep = self.scheduler.timesteps[self.step]
        noise_pred = self._guided_prediction()
        self.x = self.scheduler.step(noise_pred, timestep, self.x, return_dict=False, **options)[0]
        self.step += 1
        if self.step == len(self.scheduler.timesteps):
            self.x = self._masks.finished(self.x)

    def pred_original_sample(self) -> Tensor:
        """The model's x0 for the current ``x``; changes nothing."""
        prediction = self._guided_prediction()
        return schedule.pred_original_sample(self.x, prediction, *self._scale_and_type)

    def _guided_prediction(self) -> Tensor:
        """The UNet's prediction at ``x`` with guidance and masks, float32."""
        timestep = self.scheduler.timesteps[self.step]
        x = self.scheduler.scale_model_input(self.x, timestep).to(self._denoiser.unet.dtype)
        prediction = self._denoiser.predict(
            x, self._conditions, self._prompts, self.step, self._deepcache, self._control
        )
        if not self._masks:
            return prediction  # without the scale, for which DDIM, LCM and TCD wait for the GPU
        return self._masks.prediction(self.x, prediction, *self._scale_and_type)

    @property
    def _scale_and_type(self) -> tuple[tuple[float, float], str]:
        """``(a, s)`` of the current step, and what the model predicts."""
        scale = schedule.signal_and_noise_scale(self.scheduler, self.step)
        return scale, self.scheduler.config.prediction_type


@dataclass(slots=True, eq=False)
class AnchorBatch:
    """Anchors of one size, denoised step by step before the frames that attend to them.

    Attributes:
        batch: starts at the first step of any of the frames.
        known_latents: returns their noisy latents before a step if these are known; else None,
            and the last step's result is used.
    """

    batch: DenoisingBatch
    known_latents: Callable[[int], Tensor | None]

    def reset_to_known_latents(self) -> None:
        """Replace the latents if they are known at the current step."""
        known = self.known_latents(self.batch.step)
        if known is not None:
            self.batch.x = known.to(self.batch.x.device, torch.float32)


@dataclass(slots=True, eq=False)
class Anchors:
    """All that a group of frames attends to in addition to themselves.

    Attributes:
        batches: at least one; each attends to those before it.
        kv_cache: of the UNet's self-attention layers.
        stop: the step from which on frames no longer attend to anchors.
    """

    batches: Sequence[AnchorBatch]
    kv_cache: AnchorKVCache
    stop: int

    @property
    def step(self) -> int:
        """The next step of the anchors."""
        return self.batches[0].batch.step

    def write(self, work: Callable[[DenoisingBatch], object]) -> None:
        """Do ``work`` on the anchors, and cache their keys and values."""
        for number, anchor in enumerate(self.batches):
            anchor.reset_to_known_latents()
            branches = anchor.batch.active_branches
            with self.kv_cache.write(branches, append=number > 0):
                work(anchor.batch)


def denoise(
    batches: Sequence[DenoisingBatch],
    anchors: Anchors | None,
    stop: int,
    checkpoint: Callable[[], None],
) -> None:
    """Run all batches up to step ``stop``, each from its own first step.

    At each step all batches run before the next, so that the anchors run once.
    """
    for step in range(min(batch.step for batch in batches), stop):
        at_step = [batch for batch in batches if batch.step == step]
        run_in_lockstep(at_step, anchors, DenoisingBatch.advance, checkpoint)


def run_in_lockstep(
    batches: Sequence[DenoisingBatch],
    anchors: Anchors | None,
    work: Callable[[DenoisingBatch], T],
    checkpoint: Callable[[], None],
) -> list[T]:
    """Do ``work`` on batches that are at one step, after the anchors at that step."""
    results = []
    if anchors is not None and anchors.step < anchors.stop:
        checkpoint()
        anchors.write(work)
    elif anchors is not None:
        anchors.kv_cache.clear()
    for batch in batches:
        checkpoint()
        if anchors is None:
            results.append(work(batch))
        else:
            with anchors.kv_cache.read():
                results.append(work(batch))
    return results
