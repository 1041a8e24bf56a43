"""One recipe on one chunk: our noise, guidance and start around diffusers' UNet and autoencoder.

The same pixels come out for a frame whatever frames are edited beside it, because the model is
always called with one batch shape: convolutions and matrix products round differently for other
shapes (by about 1e-6 on a CPU).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch

from ..errors import EditError, NotFinite
from ..frame import Frame, Image
from ..jobs.records import InferenceConfig
from ..recipe import Recipe
from ..temporal.deflicker import Deflicker
from ..temporal.filter import TemporalFilter
from ..temporal.pipeline import Stage, TemporalPipeline
from ..threads import CpuPool
from . import carryover, float32_fallback, guidance, schedule
from .attention import AnchorMemory
from .borders import Ties
from .compiling import cannot_compile, is_compiler_error
from .deepcache import DeepFeatures
from .denoising import Anchors, Denoiser, Lane, advance, together
from .device_memory import is_out_of_memory
from .editor import Checkpoint
from .prompts import Texts
from .references import Sights
from .vae import Autoencoder

#: Frames that go through the steps together where they share anchors, at the most.
LARGEST_GROUP = 32

T = TypeVar("T")


class Engine(Protocol):
    """What the sessions of one editor share.

    Attributes:
        pipe: the parts of a ``StableDiffusionInstructPix2PixPipeline``, on ``torch_device``.
        anchor_memory: of the UNet's self-attention layers; one session at a time uses it.
        texts: embeddings of instructions.
        batch_limit: largest batch that has not run out of memory so far; sessions lower it.
    """

    pipe: Any
    torch_device: str
    anchor_memory: AnchorMemory
    texts: Texts
    batch_limit: int

    def unet(self, *, compiled: bool) -> Any:
        """The UNet as it is, or compiled."""
        ...

    def autoencoder(self, *, fast: bool) -> Autoencoder:
        """The model's own autoencoder, or a small one for previews."""
        ...

    def deep_features(self) -> DeepFeatures:
        """The UNet, to be run whole or in part."""
        ...


class _Sample(NamedTuple):
    """A frame with what is its own."""

    frame: Frame
    instruction: str
    negative_prompt: str
    seed: int
    step: int = 0  # at which it sets in ...
    start: torch.Tensor | None = None  # ... with this state; None: from noise
    place: carryover.Between | None = None  # between its borders; None: it is not tied
    source: torch.Tensor | None = None  # its unscaled latents, once they are known


class Pix2PixSession:
    """One recipe on one chunk."""

    def __init__(
        self,
        editor: Engine,
        recipe: Recipe,
        inference_config: InferenceConfig,
        cpu_pool: CpuPool,
        checkpoint: Checkpoint,
    ) -> None:
        self._editor = editor
        self._autoencoder = editor.autoencoder(fast=recipe.tiny_vae)
        self._recipe = recipe
        self._checkpoint = checkpoint
        self._batch = inference_config.batch_size
        self._border_batch = inference_config.border_batch or inference_config.batch_size
        self._texts = editor.texts
        self._cut: dict[str, None] = {}  # lines on texts that were cut, each once
        self._denoiser = Denoiser(
            unet=editor.unet(compiled=inference_config.compiled),
            scheduler=schedule.make(
                recipe.scheduler,
                editor.pipe.scheduler.config,
                recipe.num_inference_steps,
                editor.torch_device,
            ),
            weights=guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale),
            guided=recipe.guided_steps(),
            deepcache_interval=recipe.deepcache_interval,
            features=editor.deep_features() if recipe.deepcache_interval > 1 else None,
        )
        self._steadying = TemporalPipeline(stages(recipe, cpu_pool))
        self._ties = Ties(recipe, self._denoiser.scheduler)
        self._sights = Sights(
            recipe, self._denoiser.scheduler, self._autoencoder, editor.anchor_memory
        )
        self._warnings: list[str] = []
        self._notes = float32_fallback.Notes()
        self._full_texts: Texts | None = None  # in float32, once they are needed

    # -- the interface ----------------------------------------------------------------

    @property
    def warnings(self) -> list[str]:
        return [*self._warnings, *self._cut]

    @property
    def notes(self) -> dict[int, str]:
        return self._notes

    @property
    def batch_size(self) -> int:
        return self._group(self._batch)

    @property
    def border_batch_size(self) -> int:
        return self._group(self._border_batch)

    def edit(
        self,
        frames: Sequence[Frame],
        *,
        instructions: Sequence[str] | None = None,
        negative_prompts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Frame]:
        recipe = self._recipe
        samples = [
            self._tied(_Sample(*parts))
            for parts in zip(
                frames,
                instructions or [recipe.instruction] * len(frames),
                negative_prompts or [recipe.negative_prompt] * len(frames),
                seeds or [recipe.seed] * len(frames),
                strict=True,
            )
        ]
        images: list[Image | None] = []
        group = self.batch_size
        for at in range(0, len(samples), group):
            part = samples[at : at + group]
            edit = partial(self._edit_group, part)
            images += self._settled(part, self._in_batches(edit, self._batch))
        pairs = list(zip(frames, images, strict=True))
        edited = [f.with_image(image) for f, image in pairs if image is not None]
        if len(edited) < len(pairs):
            lost = next(f for f, image in pairs if image is None)
            raise self._not_finite(lost, tuple(edited))
        return edited

    def save_borders(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        step = self._recipe.carried_steps()
        group = self.border_batch_size
        for at in range(0, len(borders), group):
            part = borders[at : at + group]
            samples = [self._sample(frame) for frame, _ in part]
            hand_over = partial(self._hand_over, samples, step)
            handed = self._in_batches(hand_over, self._border_batch)
            for (frame, path), sample, latents in zip(part, samples, handed, strict=True):
                carryover.save(path, frame, step, self._sound(sample, step, latents))

    def tie(self, borders: Sequence[tuple[Frame, Path]]) -> None:
        self._ties.tie(borders)

    def steady(self, source: Frame, edited: Frame) -> list[Frame]:
        return self._steadying.push(source, edited)

    def rest(self) -> list[Frame]:
        return self._steadying.rest()

    def anchor(self, anchors: Sequence[tuple[Frame, Path | None]]) -> None:
        self._sights.anchor(anchors)

    def look(self, picture: Image) -> None:
        self._sights.look(picture)

    def prepare(self, frame: Frame) -> Frame:
        self._ties.prepare(frame)
        return frame

    # -- a group of batches -------------------------------------------------------------

    def _group(self, batch: int) -> int:
        # Anchors are recomputed for each group, so it had better be a large one.
        return max(batch, LARGEST_GROUP) if self._sights else batch

    def _sample(self, frame: Frame) -> _Sample:
        recipe = self._recipe
        return _Sample(frame, recipe.instruction, recipe.negative_prompt, recipe.seed)

    def _tied(self, sample: _Sample) -> _Sample:
        """The sample with what it takes over from the borders, if it does."""
        place, step = self._ties.take(sample.frame)
        return sample._replace(place=place, step=step)

    def _started(self, samples: Sequence[_Sample], size: int) -> list[_Sample]:
        """The samples with the states in which those between borders set in."""
        guessed = [
            n
            for n, sample in enumerate(samples)
            if sample.place and sample.place.hidden > carryover.LEAST_HIDDEN
        ]
        guesses = dict(zip(guessed, self._guess([samples[n] for n in guessed], size), strict=True))
        return [
            sample._replace(start=self._start(sample, guesses.get(n))) if sample.step else sample
            for n, sample in enumerate(samples)
        ]

    def _guess(self, samples: Sequence[_Sample], size: int) -> list[torch.Tensor]:
        """Clean latents as the model sees them after few steps of the frame's own."""
        if not samples:
            return []
        lanes, members = self._lanes([s._replace(step=0) for s in samples], size)
        anchors = self._anchors_for(lanes)
        advance(lanes, anchors, carryover.guess_steps(self._denoiser.steps), self._checkpoint)
        cleans = together(lanes, anchors, Lane.clean_prediction, self._checkpoint)
        found = {
            n: clean.cpu()
            for numbers, batch in zip(members, cleans, strict=True)
            for n, clean in zip(numbers, batch, strict=False)
        }
        return [found[n] for n in range(len(samples))]

    def _start(self, sample: _Sample, guess: torch.Tensor | None) -> torch.Tensor:
        assert sample.place is not None
        index = sample.frame.index
        return self._ties.start(index, sample.place, sample.step, guess)

    def _edit_group(self, samples: Sequence[_Sample], size: int) -> list[float32_fallback.Attempt]:
        attempts: dict[int, float32_fallback.Attempt] = {}
        with torch.inference_mode():
            samples = self._started(self._encoded(samples, size), size)
            lanes, members = self._lanes(samples, size)
            anchors = self._anchors_for(lanes)
            advance(lanes, anchors, self._denoiser.steps, self._checkpoint)
            for lane, numbers in zip(lanes, members, strict=True):
                frames = [samples[n].frame for n in numbers]
                found = float32_fallback.decode(
                    self._autoencoder, lane.latents, frames, self._notes
                )
                attempts.update(zip(numbers, found, strict=True))
        return [attempts[n] for n in range(len(samples))]

    def _hand_over(
        self, samples: Sequence[_Sample], step: int, size: int
    ) -> list[carryover.Handover]:
        with torch.inference_mode():
            lanes, members = self._lanes(samples, size)
            anchors = self._anchors_for(lanes)
            advance(lanes, anchors, step, self._checkpoint)
            cleans = together(lanes, anchors, Lane.clean_prediction, self._checkpoint)
            return [
                carryover.Handover(lane.latents[n].cpu(), clean[n].cpu())
                for lane, clean, numbers in zip(lanes, cleans, members, strict=True)
                for n in range(len(numbers))
            ]

    def _lanes(self, samples: Sequence[_Sample], size: int) -> tuple[list[Lane], list[list[int]]]:
        """Lanes of ``size`` samples that set in at one step; and whose they are."""
        by_step: dict[int, list[int]] = {}
        for i, sample in enumerate(samples):
            by_step.setdefault(sample.step, []).append(i)
        lanes, members = [], []
        for step in sorted(by_step, reverse=True):
            for at in range(0, len(by_step[step]), size):
                part = by_step[step][at : at + size]
                # One shape whatever the number of frames: the bits depend on it.
                padded = part + part[-1:] * (size - len(part))
                lanes.append(self._lane([samples[i] for i in padded]))
                members.append(part)
        return lanes, members

    def _lane(self, samples: Sequence[_Sample], *, whole: bool = False) -> Lane:
        texts = [
            self._embedded(s.instruction, "instruction")
            if branch == "text"
            else self._embedded(s.negative_prompt, "negative prompt")
            for branch in self._denoiser.branches
            for s in samples
        ]
        known = [s.source for s in samples if s.source is not None]
        full = len(known) == len(samples)
        source = torch.stack(known) if full else self._encode([s.frame for s in samples])
        starts = [s.start for s in samples if s.start is not None]
        return Lane(
            self._denoiser,
            source,
            torch.cat(texts),
            [s.seed for s in samples],
            samples[0].step,
            torch.stack(starts) if starts else None,
            whole=whole,
        )

    def _embedded(self, text: str, role: str) -> torch.Tensor:
        states, cut = self._texts.embed(text)
        if cut:
            self._cut[f"The {role} {cut}"] = None
        return states

    def _encoded(self, samples: Sequence[_Sample], size: int) -> list[_Sample]:
        """The samples with their source's latents: a guess and the frame's own way need them."""
        found: list[torch.Tensor] = []
        for at in range(0, len(samples), size):
            part = [s.frame for s in samples[at : at + size]]
            padded = part + part[-1:] * (size - len(part))  # one shape, as for the UNet
            found += self._encode(padded)[: len(part)]
        return [s._replace(source=latents) for s, latents in zip(samples, found, strict=True)]

    def _encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        return self._autoencoder.encode([f.image for f in frames])

    def _anchors_for(self, lanes: Sequence[Lane]) -> Anchors | None:
        """What ``lanes`` look at, from the first step on that one of them runs."""
        return self._sights.beside(lanes, self._seen_lane)

    def _seen_lane(
        self,
        frames: Sequence[Frame],
        sources: Sequence[torch.Tensor],
        step: int,
        starts: torch.Tensor | None,
    ) -> Lane:
        """A lane of frames that others look at; see :class:`~.sights.MakeLane`."""
        samples = [
            self._sample(frame)._replace(source=source)
            for frame, source in zip(frames, sources, strict=True)
        ]
        if starts is not None:
            samples = [
                sample._replace(step=step, start=start)
                for sample, start in zip(samples, starts, strict=True)
            ]
        return self._lane(samples, whole=True)

    # -- what can go wrong --------------------------------------------------------------

    def _settled(
        self, samples: Sequence[_Sample], attempts: Sequence[float32_fallback.Attempt]
    ) -> list[Image | None]:
        """The frames' pictures; those with a flaw are edited again in float32, each alone."""
        chunks_with_failed_items = [n for n, attempt in enumerate(attempts) if attempt.flaw]
        images = [attempt.image for attempt in attempts]
        dtype = self._denoiser.unet.dtype
        for n in chunks_with_failed_items:
            alone = partial(self._edit_group, [samples[n]], 1)
            again = self._in_float32(alone)
            second = None if again is None else again[0]
            frame = samples[n].frame
            images[n] = float32_fallback.settle(frame, attempts[n], second, dtype, self._notes)
        return images

    def _sound(self, sample: _Sample, step: int, latents: carryover.Handover) -> carryover.Handover:
        """A border's latents, from float32 where they are not finite."""
        if latents.finite:
            return latents
        dtype = self._denoiser.unet.dtype
        again = self._in_float32(partial(self._hand_over, [sample], step, 1))
        if again is None or not again[0].finite:
            raise self._not_finite(sample.frame)
        self._notes.mended(sample.frame, float32_fallback.NOT_FINITE, dtype, "edited")
        return again[0]

    def _in_float32(self, work: Callable[[], T]) -> T | None:
        """``work()`` with all weights in float32; None if they are, or if memory runs out."""
        pipe = self._editor.pipe
        if not float32_fallback.is_half(pipe.unet) and not float32_fallback.is_half(
            self._autoencoder.vae
        ):
            return None
        half, denoiser = self._texts, self._denoiser

        def widened() -> T:
            with float32_fallback.in_float32([pipe.unet, pipe.text_encoder, self._autoencoder.vae]):
                self._full_texts = self._full_texts or Texts(
                    pipe.tokenizer, pipe.text_encoder, self._editor.torch_device
                )
                self._texts = self._full_texts
                # Not compiled anew for one frame.
                self._denoiser = replace(denoiser, unet=pipe.unet)
                return work()

        self._sights.forget()
        try:
            return float32_fallback.unless_full(widened)
        finally:
            self._texts, self._denoiser = half, denoiser
            self._sights.forget()

    def _not_finite(self, frame: Frame, edited: Sequence[Frame] = ()) -> NotFinite:
        half = float32_fallback.is_half(self._denoiser.unet)
        return NotFinite(
            f"The model gave no finite picture for frame {frame.index}"
            f"{', not even in float32' if half else ''}.",
            hint="Is the model whole? Scales closer to 1 may help, too.",
            edited=edited,
        )

    def _in_batches(self, work: Callable[[int], T], batch: int) -> T:
        """``work(size)``, with the batch halved for as long as memory runs out."""
        while True:
            size = min(batch, self._editor.batch_limit)
            try:
                return work(size)
            except (MemoryError, RuntimeError) as error:
                if is_compiler_error(error):
                    raise cannot_compile(error) from error
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler: as long as the error is held, so is all that it ran out of.
            self._halve(size)

    def _halve(self, size: int) -> None:
        self._sights.forget()
        if size == 1:
            raise EditError(
                f"Out of memory with one frame at --size {self._recipe.size}.",
                hint="Choose a smaller --size"
                + (", fewer --anchors" if self._sights.has_anchors else "")
                + ", or fewer --workers where several share a GPU.",
            )
        self._editor.batch_limit = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._warnings.append(
            f"Out of memory with {size} frames at once; going on with {size // 2}."
        )


def stages(recipe: Recipe, cpu_pool: CpuPool | None = None) -> list[Stage]:
    """What steadies finished frames, in order; they need ``recipe.temporal_radius``."""
    found: list[Stage] = []
    if recipe.temporal_filter:
        found.append(TemporalFilter(recipe.temporal_filter, cpu_pool))
    if recipe.deflicker:
        found.append(Deflicker(recipe.deflicker))
    return found
