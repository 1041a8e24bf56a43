"""Frames on their way through the denoising steps, in batches of one shape, in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from . import guidance, noise, schedule
from .attention import AnchorMemory
from .deepcache import DeepFeatures

Tensor = torch.Tensor
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Denoiser:
    """What turns a noisy state into the next: UNet, scheduler with its steps set, guidance.

    Attributes:
        weights: of the branches, in the steps of ``guided``.
        guided: the steps in which guidance is on; None: in all.
        features: what runs the UNet in part, around its deep features; None: always the whole.
        deepcache_interval: every so many steps the whole is run even so.
    """

    unet: Any
    scheduler: Any
    weights: guidance.Weights
    guided: range | None = None
    features: DeepFeatures | None = None
    deepcache_interval: int = 1

    @property
    def branches(self) -> tuple[guidance.Branch, ...]:
        """All branches that are run in some step, text first."""
        return guidance.branches(self.weights)

    def weights_at(self, step: int) -> guidance.Weights:
        return self.weights if self.guided is None or step in self.guided else guidance.OFF

    @property
    def steps(self) -> int:
        return len(self.scheduler.timesteps)


class Lane:
    """One batch of frames between two steps.

    Attributes:
        latents: shape ``(frames, channels, height, width)``, float32, in the scheduler's form.
        step: the next step to run.

    Args:
        source: unscaled latents of the source frames, shape as ``latents``.
        texts: embeddings, shape ``(branches * frames, tokens, width)``, sorted by branch.
        seeds: one a frame.
        step: the step to set in at, with ``states`` as latents; 0 starts from noise.
        whole: run the whole UNet in every step, whatever ``denoiser.reuse`` is.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        source: Tensor,
        texts: Tensor,
        seeds: Sequence[int],
        step: int = 0,
        states: Tensor | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self._denoiser = denoiser
        self._features = None if whole else denoiser.features
        self._deep: Tensor | None = None
        self._deep_step = 0
        self._texts = texts
        self.step = step
        self.scheduler = deepcopy(denoiser.scheduler)  # it counts its steps and keeps a history
        shape = (int(source.shape[1]), int(source.shape[2]), int(source.shape[3]))
        self._generators = [noise.generator(seed) for seed in seeds]
        if states is not None:
            if schedule.draws_noise(self.scheduler):
                noise.skip(self._generators, shape, step)
            schedule.begin_at(self.scheduler, step)
            self.latents = states.to(source.device, torch.float32)
        else:
            start = noise.start(self._generators, shape).to(source.device)
            self.latents = start * self.scheduler.init_noise_sigma
        source = source.to(denoiser.unet.dtype)
        blank = torch.zeros_like(source)
        self._source = torch.cat([blank if b == "none" else source for b in denoiser.branches])

    @property
    def branches_now(self) -> int:
        """How many branches the present step runs."""
        return len(guidance.branches(self._denoiser.weights_at(self.step)))

    def advance(self) -> None:
        """Run one step."""
        self.latents = self.scheduler.step(
            self._guided(),
            self.scheduler.timesteps[self.step],
            self.latents,
            return_dict=False,
            **self._step_options(),
        )[0]
        self.step += 1

    def clean_prediction(self) -> Tensor:
        """The model's x0 at the present state; the state stays as it is."""
        scale = schedule.state_scale(self.scheduler, self.step)
        kind = self.scheduler.config.prediction_type
        return schedule.clean_prediction(self.latents, self._guided(), scale, kind)

    def _guided(self) -> Tensor:
        unet, weights = self._denoiser.unet, self._denoiser.weights_at(self.step)
        time = self.scheduler.timesteps[self.step]
        count = self.branches_now
        used = count * self.latents.shape[0]  # sorted by branch, text first
        scaled = self.scheduler.scale_model_input(self.latents, time).to(unet.dtype)
        sample = torch.cat([torch.cat([scaled] * count), self._source[:used]], dim=1)
        texts = self._texts[:used]
        output: Any = self._predicted(sample, time, texts)  # torch's unflatten has no types
        return guidance.combine(output.unflatten(0, (count, -1)), weights)

    def _predicted(self, sample: Tensor, time: Any, texts: Tensor) -> Tensor:
        """The UNet's output, at some steps with deep features of the one before."""
        features = self._features
        if features is None:
            unet = self._denoiser.unet
            whole: Tensor = unet(sample, time, encoder_hidden_states=texts, return_dict=False)[0]
            return whole
        deep = self._deep
        # Where guidance begins, there are branches of which nothing deep is known yet.
        if (
            deep is not None
            and deep.shape[0] >= sample.shape[0]
            and 0 < self.step - self._deep_step < self._denoiser.deepcache_interval
        ):
            return features.around(sample, time, texts, deep[: sample.shape[0]])
        output, self._deep = features.whole(sample, time, texts)
        self._deep_step = self.step
        return output

    def _step_options(self) -> dict[str, Any]:
        # Deterministic steps draw nothing, and some schedulers do not know the argument.
        if schedule.draws_noise(self.scheduler):
            return {"generator": self._generators}
        return {}


@dataclass(slots=True, eq=False)
class AnchorLane:
    """Anchors of one size, on their own way beside the frames that look at them.

    Attributes:
        lane: from the first step that any of the frames runs.
        known: the states in which they stand before a step, where that is known; else None, and
            they go on from where their last step led.
    """

    lane: Lane
    known: Callable[[int], Tensor | None]

    def arrive(self) -> None:
        states = self.known(self.lane.step)
        if states is not None:
            self.lane.latents = states.to(self.lane.latents.device, torch.float32)


@dataclass(slots=True, eq=False)
class Anchors:
    """All that a group of frames looks at.

    Attributes:
        lanes: at least one; each sees those before it.
        memory: of the UNet's self-attention layers.
        stop: the step from which on anchors are no longer looked at.
    """

    lanes: Sequence[AnchorLane]
    memory: AnchorMemory
    stop: int

    @property
    def step(self) -> int:
        return self.lanes[0].lane.step

    def record(self, work: Callable[[Lane], object]) -> None:
        """Let the anchors do ``work`` at the present step, and remember their keys and values."""
        for number, anchor in enumerate(self.lanes):
            anchor.arrive()
            branches = anchor.lane.branches_now
            with self.memory.recording(branches, more=number > 0):
                work(anchor.lane)


def advance(
    lanes: Sequence[Lane], anchors: Anchors | None, stop: int, checkpoint: Callable[[], None]
) -> None:
    """Run all lanes up to ``stop``, step by step together, so that they can share the anchors.

    Lanes may stand at different steps; each sets in at its own.
    """
    for step in range(min(lane.step for lane in lanes), stop):
        together([lane for lane in lanes if lane.step == step], anchors, Lane.advance, checkpoint)


def together(
    lanes: Sequence[Lane],
    anchors: Anchors | None,
    work: Callable[[Lane], T],
    checkpoint: Callable[[], None],
) -> list[T]:
    """Do ``work`` in lanes that stand at one step, beside the anchors at that step."""
    found = []
    if anchors is not None and anchors.step < anchors.stop:
        checkpoint()
        anchors.record(work)
    elif anchors is not None:
        anchors.memory.forget()
    for lane in lanes:
        checkpoint()
        if anchors is None:
            found.append(work(lane))
        else:
            with anchors.memory.joined():
                found.append(work(lane))
    return found
