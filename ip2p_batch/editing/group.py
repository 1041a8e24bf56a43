"""Edit a group of frames: from samples to batches of one shape, through all steps, to images.

A frame gets the same pixels whatever frames are edited with it, because the model is always called
with one batch shape: convolutions and matrix products round differently for other shapes (by about
1e-6 on a CPU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch

from ..frame import Frame
from ..recipe import Recipe
from . import carryover, float32_fallback, noise, schedule
from .borders import Borders
from .carryover import BorderLatents
from .control.batch import ControlBatch, SessionNets
from .denoising import Anchors, Denoiser, DenoisingBatch, denoise, run_in_lockstep
from .editor import Checkpoint, Overrides
from .mask_blend import KeptSource
from .prompts import PromptEmbeds, PromptEncoder, TextEmbeds
from .references import ReferenceFrames
from .vae import VaeCodec

T = TypeVar("T")

_NONE = Overrides()


class Sample(NamedTuple):
    """A frame to edit, with all that differs between frames.

    Attributes:
        step: the first step to run.
        start: noisy latents at that step; None: from noise.
        image_latents: unscaled latents of the source; None: not encoded yet.
    """

    frame: Frame
    instruction: str
    negative_prompt: str
    seed: int
    step: int = 0
    start: torch.Tensor | None = None
    image_latents: torch.Tensor | None = None


def make_sample(frame: Frame, recipe: Recipe, own: Overrides = _NONE, step: int = 0) -> Sample:
    """A sample of ``frame`` by the recipe and what its image overrides."""
    return Sample(
        frame,
        recipe.instruction if own.instruction is None else own.instruction,
        recipe.negative_prompt if own.negative_prompt is None else own.negative_prompt,
        recipe.seed if own.seed is None else own.seed,
        step,
    )


@dataclass(frozen=True, slots=True, eq=False)
class GroupEditor:
    """Edits groups of samples with weights of one precision.

    Attributes:
        warnings: gets lines for the user, each once.
        notes: gets a line for each frame that was recovered in float32.
        nets: the control nets of the recipe; None: it has none.
    """

    recipe: Recipe
    denoiser: Denoiser
    prompt_encoder: PromptEncoder
    vae: VaeCodec
    borders: Borders
    references: ReferenceFrames
    checkpoint: Checkpoint
    warnings: dict[str, None]
    notes: float32_fallback.Notes
    nets: SessionNets | None = None

    def edit(self, samples: Sequence[Sample], size: int) -> list[float32_fallback.Decoded]:
        """Edit samples in batches of ``size``; in the order of the samples."""
        decoded: dict[int, float32_fallback.Decoded] = {}
        with torch.inference_mode():
            samples = self._with_starts(self._encoded(samples, size), size)
            batches, members = self._batches(samples, size)
            denoise(batches, self._anchors(batches), self.denoiser.num_steps, self.checkpoint)
            for batch, numbers in zip(batches, members, strict=True):
                frames = [samples[n].frame for n in numbers]
                images = float32_fallback.decode(self.vae, batch.x, frames, self.notes)
                decoded.update(zip(numbers, images, strict=True))
        return [decoded[n] for n in range(len(samples))]

    def border_latents(
        self, samples: Sequence[Sample], stop: int, size: int
    ) -> list[BorderLatents]:
        """Run samples up to step ``stop`` in batches of ``size``; in the order of the samples.

        A frame that its mask protects is not run: it gets its source, with noise.
        """
        with torch.inference_mode():
            edited = [sample for sample in samples if not sample.frame.is_protected]
            latents = iter(self._run_borders(edited, stop, size) if edited else [])
            return [
                self._protected_border(sample, stop, size)
                if sample.frame.is_protected
                else next(latents)
                for sample in samples
            ]

    def _run_borders(self, samples: Sequence[Sample], stop: int, size: int) -> list[BorderLatents]:
        batches, members, x0 = self._run_to(samples, stop, size)
        return [
            BorderLatents(batch.x[n].cpu(), batch_x0[n].cpu())
            for batch, batch_x0, numbers in zip(batches, x0, members, strict=True)
            for n in range(len(numbers))
        ]

    def _protected_border(self, sample: Sample, stop: int, size: int) -> BorderLatents:
        """``a z + s n`` with the scaled latents z of the source."""
        (latents,) = self._encode(padded([sample.frame], size))[:1]
        x0 = latents.float().cpu() * self.vae.scaling_factor
        a, s = schedule.signal_and_noise_scale(self.denoiser.scheduler, stop)
        return BorderLatents(a * x0 + s * noise.unit(sample.seed, x0.shape), x0)

    # -- carryover --------------------------------------------------------------------------

    def _with_starts(self, samples: Sequence[Sample], size: int) -> list[Sample]:
        """The samples; those that start from borders with the latents to start from."""
        hidden = [
            n
            for n, sample in enumerate(samples)
            if sample.step and self.borders.needs_x0_estimate(sample.frame)
        ]
        estimates = dict(
            zip(hidden, self._x0_estimates([samples[n] for n in hidden], size), strict=True)
        )
        return [
            sample._replace(
                start=self.borders.start(sample.frame, estimates.get(n), self._kept_on_cpu(sample))
            )
            if sample.step
            else sample
            for n, sample in enumerate(samples)
        ]

    def _x0_estimates(self, samples: Sequence[Sample], size: int) -> list[torch.Tensor]:
        """The model's x0 of frames after a few steps from noise."""
        if not samples:
            return []
        stop = carryover.x0_estimate_steps(self.denoiser.num_steps)
        from_noise = [sample._replace(step=0) for sample in samples]
        _, members, x0 = self._run_to(from_noise, stop, size)
        estimates = {
            n: estimate.cpu()
            for numbers, batch_x0 in zip(members, x0, strict=True)
            for n, estimate in zip(numbers, batch_x0, strict=False)
        }
        return [estimates[n] for n in range(len(samples))]

    # -- batches ----------------------------------------------------------------------------

    def _run_to(
        self, samples: Sequence[Sample], stop: int, size: int
    ) -> tuple[list[DenoisingBatch], list[list[int]], list[torch.Tensor]]:
        """Run samples up to ``stop``; their batches, as :meth:`_batches`, and x0 of each batch."""
        batches, members = self._batches(samples, size)
        anchors = self._anchors(batches)
        denoise(batches, anchors, stop, self.checkpoint)
        x0 = run_in_lockstep(batches, anchors, DenoisingBatch.pred_original_sample, self.checkpoint)
        return batches, members, x0

    def _batches(
        self, samples: Sequence[Sample], size: int
    ) -> tuple[list[DenoisingBatch], list[list[int]]]:
        """Batches of ``size`` samples with one first step; and the positions of their samples."""
        by_step: dict[int, list[int]] = {}
        for n, sample in enumerate(samples):
            by_step.setdefault(sample.step, []).append(n)
        batches, members = [], []
        for step in sorted(by_step, reverse=True):
            for at in range(0, len(by_step[step]), size):
                numbers = by_step[step][at : at + size]
                batches.append(self._batch([samples[n] for n in padded(numbers, size)]))
                members.append(numbers)
        return batches, members

    def _batch(self, samples: Sequence[Sample], *, full_unet: bool = False) -> DenoisingBatch:
        prompts = [
            self.instruction(sample.instruction)
            if branch == "text"
            else self.negative_prompt(sample.negative_prompt)
            for branch in self.denoiser.branches
            for sample in samples
        ]
        encoded = [s.image_latents for s in samples if s.image_latents is not None]
        all_encoded = len(encoded) == len(samples)
        latents = torch.stack(encoded) if all_encoded else self._encode([s.frame for s in samples])
        height, width = (int(side) * self.vae.factor for side in latents.shape[-2:])
        starts = [s.start for s in samples if s.start is not None]
        return DenoisingBatch(
            self.denoiser,
            latents,
            TextEmbeds.cat(prompts).at_size(height, width),
            [s.seed for s in samples],
            samples[0].step,
            torch.stack(starts) if starts else None,
            full_unet=full_unet,
            control=self._control([s.frame for s in samples]),
            kept=[self._kept(s.frame, own) for s, own in zip(samples, latents, strict=True)],
        )

    def _control(self, frames: Sequence[Frame]) -> ControlBatch | None:
        """The control nets on a batch; None for a reference image without hints."""
        if self.nets is None or frames == [self.references.image_without_hints]:
            return None
        return self.nets.batch(frames, self.caption)

    def caption(self, text: str) -> TextEmbeds:
        """Embeddings of a control net's own text; notes if it is truncated."""
        return self._noted("caption of a control net", self.prompt_encoder.encode(text))

    def _kept(self, frame: Frame, image_latents: torch.Tensor) -> KeptSource | None:
        """What the frame's mask keeps of its source; None without a mask."""
        if frame.mask is None:
            return None
        return KeptSource.of(frame.mask, image_latents, self.vae)

    def _kept_on_cpu(self, sample: Sample) -> KeptSource | None:
        """As :meth:`_kept`, for a sample with image latents; on the CPU, as borders are."""
        assert sample.image_latents is not None
        kept = self._kept(sample.frame, sample.image_latents)
        return None if kept is None else kept.to("cpu")

    def instruction(self, text: str) -> TextEmbeds:
        """Embeddings of an instruction; notes if it is truncated."""
        return self._noted("instruction", self.prompt_encoder.encode(text))

    def negative_prompt(self, text: str) -> TextEmbeds:
        """Embeddings of a negative prompt; notes if it is truncated."""
        return self._noted("negative prompt", self.prompt_encoder.encode_negative(text))

    def _noted(self, role: str, encoded: PromptEmbeds) -> TextEmbeds:
        if encoded.truncated:
            self.warnings[f"The {role} {encoded.truncated}"] = None
        return encoded.embeds

    def _encoded(self, samples: Sequence[Sample], size: int) -> list[Sample]:
        """The samples with their image latents, which estimates and batches both need."""
        latents: list[torch.Tensor] = []
        for at in range(0, len(samples), size):
            frames = [sample.frame for sample in samples[at : at + size]]
            latents += self._encode(padded(frames, size))[: len(frames)]
        return [
            sample._replace(image_latents=own) for sample, own in zip(samples, latents, strict=True)
        ]

    def _encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        return self.vae.encode([frame.image for frame in frames])

    def _anchors(self, batches: Sequence[DenoisingBatch]) -> Anchors | None:
        return self.references.batches_for(batches, self._reference_batch)

    def _reference_batch(
        self,
        frames: Sequence[Frame],
        image_latents: Sequence[torch.Tensor],
        step: int,
        start: torch.Tensor | None,
    ) -> DenoisingBatch:
        """A batch of frames that others attend to; see :class:`~.references.MakeBatch`."""
        samples = [
            make_sample(frame, self.recipe)._replace(image_latents=latents)
            for frame, latents in zip(frames, image_latents, strict=True)
        ]
        if start is not None:
            samples = [
                sample._replace(step=step, start=own)
                for sample, own in zip(samples, start, strict=True)
            ]
        return self._batch(samples, full_unet=True)


def padded(items: Sequence[T], size: int) -> list[T]:
    """The items, with the last one repeated: one batch shape, since the bits depend on it."""
    return [*items, *[items[-1]] * (size - len(items))]
