"""The editor: InstructPix2Pix through diffusers' own parts, with our noise, guidance and start.

Without borders a session gives what ``StableDiffusionInstructPix2PixPipeline`` gives for the same
seed, image, steps and scales, with one generator per image; tests hold it to that.

The same pixels come out for a frame whatever frames are edited beside it, because the model is
always called with one batch shape: convolutions and matrix products round differently for other
shapes (by about 1e-6 on a CPU).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ..errors import EditError
from ..frame import Frame, Image
from ..recipe import Recipe
from . import carryover, guidance, noise, schedule
from .editor import Checkpoint

#: Frames in one UNet call unless the recipe says otherwise. On CPUs more are slower, not faster.
DEFAULT_BATCH = {"cpu": 1, "cuda": 8}

T = TypeVar("T")
#: A frame with its own instruction, negative prompt and seed.
_Job = tuple[Frame, str, str, int]


class Pix2PixEditor:
    """Holds the weights of one model on one device.

    Args:
        pipe: a loaded ``StableDiffusionInstructPix2PixPipeline``; its parts are moved and used,
            its ``__call__`` is not.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: of the weights; latents and scheduler are float32 whatever it is.
    """

    def __init__(self, pipe: Any, *, device: str, dtype: torch.dtype) -> None:
        self.pipe = pipe
        self.torch_device = device
        self.dtype = dtype
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.to(device, dtype).eval().requires_grad_(requires_grad=False)
        for part in (pipe.unet, pipe.vae):
            # On CPUs a fifth to a half of the time goes; on GPUs fp16 convolutions like it, too.
            part.to(memory_format=torch.channels_last)
        #: Largest batch that has not run out of memory so far.
        self.batch_limit = 1 << 30

    @property
    def device(self) -> str:
        if self.torch_device.startswith("cuda"):
            return torch.cuda.get_device_name(self.torch_device)
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'' if threads == 1 else 's'}"

    def session(self, recipe: Recipe, *, checkpoint: Checkpoint | None = None) -> Pix2PixSession:
        return Pix2PixSession(self, recipe, checkpoint or (lambda: None))

    def default_batch(self) -> int:
        return DEFAULT_BATCH.get(self.torch_device.split(":")[0], 1)


class Pix2PixSession:
    """One recipe on one chunk."""

    def __init__(self, editor: Pix2PixEditor, recipe: Recipe, checkpoint: Checkpoint) -> None:
        self.warnings: list[str] = []
        self.batch_size = recipe.batch_size or editor.default_batch()
        self._editor = editor
        self._pipe = editor.pipe
        self._recipe = recipe
        self._checkpoint = checkpoint
        self._weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
        self._branches = guidance.branches(self._weights)
        self._texts: dict[str, torch.Tensor] = {}
        self._scheduler = schedule.make(
            recipe.scheduler,
            editor.pipe.scheduler.config,
            recipe.num_inference_steps,
            editor.torch_device,
        )
        self._borders: tuple[carryover.Border, carryover.Border] | None = None

    # -- the interface ----------------------------------------------------------------

    def edit(
        self,
        frames: Sequence[Frame],
        *,
        instructions: Sequence[str] | None = None,
        negative_prompts: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> list[Frame]:
        recipe = self._recipe
        jobs = list(
            zip(
                frames,
                instructions or [recipe.instruction] * len(frames),
                negative_prompts or [recipe.negative_prompt] * len(frames),
                seeds or [recipe.seed] * len(frames),
                strict=True,
            )
        )
        starts = [self._start(job[0]) for job in jobs]
        images: dict[int, Image] = {}
        for tied in (True, False):
            todo = [i for i, start in enumerate(starts) if (start is not None) == tied]
            while todo:
                size = min(self.batch_size, self._editor.batch_limit)
                part = todo[:size]
                # One shape whatever the number of frames: the bits depend on it.
                padded = part + part[-1:] * (size - len(part))
                batch = [(jobs[i], starts[i]) for i in padded]
                found = self._attempt(partial(self._edit_batch, batch))
                if found is None:
                    self._halve(size)
                    continue
                images.update(zip(part, found, strict=False))
                todo = todo[size:]
        return [frame.with_image(images[i]) for i, frame in enumerate(frames)]

    def save_border(self, frame: Frame, path: Path) -> None:
        recipe = self._recipe
        step = recipe.carried_steps()
        job = (frame, recipe.instruction, recipe.negative_prompt, recipe.seed)
        handed = self._attempt(partial(self._hand_over, job, step))
        if handed is None:
            raise self._too_large()
        state, clean = handed
        self._check_finite(clean, [frame])
        carryover.save(path, frame, step, state[0], clean[0])

    def tie(self, left: tuple[Frame, Path], right: tuple[Frame, Path]) -> None:
        step = self._recipe.carried_steps()
        if step:  # with nothing to skip, a frame's own start is the better one
            self._borders = (carryover.load(*left, step), carryover.load(*right, step))

    # -- one batch --------------------------------------------------------------------

    def _start(self, frame: Frame) -> torch.Tensor | None:
        """The state that a tied frame takes over from its borders; None: it starts from noise."""
        if self._borders is None:
            return None
        scale = schedule.state_scale(self._scheduler, self._recipe.carried_steps())
        return carryover.blend(frame, *self._borders, scale)

    def _edit_batch(self, batch: Sequence[tuple[_Job, torch.Tensor | None]]) -> list[Image]:
        """Edit frames that all have a start, or all have none."""
        jobs = [job for job, _ in batch]
        starts = [start for _, start in batch if start is not None]
        frames = [job[0] for job in jobs]
        with torch.inference_mode():
            run = _Run(self, jobs, self._recipe.carried_steps() if starts else 0)
            if starts:
                run.latents = torch.stack(starts).to(run.latents.device)
            run.advance(self._recipe.num_inference_steps)
            self._check_finite(run.latents, frames)
            return self._decode(run.latents, frames)

    def _hand_over(self, job: _Job, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            run = _Run(self, [job], 0)
            run.advance(step)
            return run.latents, run.clean_prediction()

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Unscaled latents of the source: the condition that the UNet is trained on."""
        vae = self._pipe.vae
        pixels = np.stack([f.image for f in frames]).astype(np.float32) / 255.0
        images = 2.0 * torch.from_numpy(pixels.transpose(0, 3, 1, 2)) - 1.0
        encoded = vae.encode(images.to(self._editor.torch_device, vae.dtype))
        if hasattr(encoded, "latent_dist"):
            latents: torch.Tensor = encoded.latent_dist.mode()
        else:
            latents = encoded.latents
        return latents

    def _decode(self, latents: torch.Tensor, frames: Sequence[Frame]) -> list[Image]:
        vae = self._pipe.vae
        scaled = latents / vae.config.scaling_factor
        pixels: torch.Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()
        bad = ~torch.isfinite(pixels).flatten(1).all(dim=1)
        if bad.any():
            # fp16 overflows in some autoencoders and gives black pictures (diffusers #1484). Only
            # those frames again, so that the others keep their bits.
            pixels[bad] = self._decode_in_float32(scaled[bad])
            self._check_finite(pixels, frames)
        images = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return [np.ascontiguousarray(i) for i in (images * 255).round().astype(np.uint8)]

    def _decode_in_float32(self, scaled: torch.Tensor) -> torch.Tensor:
        vae = self._pipe.vae
        before = vae.dtype
        vae.to(torch.float32)
        try:
            pixels: torch.Tensor = vae.decode(scaled.float(), return_dict=False)[0]
        finally:
            vae.to(before)
        return pixels

    def conditions(self, jobs: Sequence[_Job]) -> torch.Tensor:
        """Text embeddings by branch, shape ``(branches * frames, tokens, width)``."""
        rows = []
        for branch in self._branches:
            for _, instruction, negative, _ in jobs:
                if branch == "text":
                    rows.append(self._text(instruction, "instruction"))
                else:
                    rows.append(self._text(negative, "negative prompt"))
        return torch.cat(rows)

    def _text(self, text: str, role: str) -> torch.Tensor:
        if text not in self._texts:
            tokenizer, encoder = self._pipe.tokenizer, self._pipe.text_encoder
            # Some folders lack the tokenizer's own limit, which then reads 1e30.
            limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
            tokens = tokenizer(
                text, padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
            ).input_ids
            self._warn_if_cut(text, role, limit)
            self._texts[text] = encoder(tokens.to(self._editor.torch_device))[0]
        return self._texts[text]

    def _warn_if_cut(self, text: str, role: str, limit: int) -> None:
        tokenizer = self._pipe.tokenizer
        tokens = tokenizer(text, truncation=False, verbose=False).input_ids
        if len(tokens) > limit:
            # The first and the last token are the model's own marks.
            lost = tokenizer.decode(tokens[limit - 1 : -1]).strip()
            self.warnings.append(
                f"The {role} is cut after {limit - 2} tokens; the model does not see: {lost!r}."
            )

    def _check_finite(self, values: torch.Tensor, frames: Sequence[Frame]) -> None:
        if torch.isfinite(values).all():
            return
        bad = [f.index for f, v in zip(frames, values, strict=False) if not v.isfinite().all()]
        raise EditError(
            f"The model gave no finite picture for frame {bad[0] if bad else frames[0].index}.",
            hint="Try --dtype float32 or bfloat16.",
        )

    def _attempt(self, work: Callable[[], T]) -> T | None:
        """What ``work`` gives, or None where memory ran out.

        The error is let go here: as long as it is held, so is all that it ran out of.
        """
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return None

    def _halve(self, size: int) -> None:
        if size == 1:
            raise self._too_large()
        self._editor.batch_limit = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.warnings.append(
            f"Out of memory with {size} frames at once; going on with {size // 2}."
        )

    def _too_large(self) -> EditError:
        return EditError(
            f"Out of memory with one frame at --size {self._recipe.size}.",
            hint="Choose a smaller --size.",
        )


class _Run:
    """A batch of frames on its way through the denoising steps.

    Attributes:
        latents: shape ``(frames, channels, height, width)``, float32, scheduler's own form.
        step: the next step to run.
    """

    def __init__(self, session: Pix2PixSession, jobs: Sequence[_Job], step: int) -> None:
        self._session = session
        self._unet = session._pipe.unet
        self.step = step
        editor = session._editor
        self.scheduler = deepcopy(session._scheduler)  # it counts its steps and keeps a history
        source = session.encode([job[0] for job in jobs]).to(self._unet.dtype)
        shape = (int(source.shape[1]), int(source.shape[2]), int(source.shape[3]))
        self._generators = [noise.generator(job[3]) for job in jobs]
        if step:
            if schedule.draws_noise(self.scheduler):
                noise.skip(self._generators, shape, step)
            schedule.begin_at(self.scheduler, step)
            self.latents = torch.zeros_like(source, dtype=torch.float32)
        else:
            start = noise.start(self._generators, shape).to(editor.torch_device)
            self.latents = start * self.scheduler.init_noise_sigma
        self._texts = session.conditions(jobs)
        blank = torch.zeros_like(source)
        self._source = torch.cat(
            [blank if branch == "none" else source for branch in session._branches]
        )

    def advance(self, stop: int) -> None:
        """Run the steps before ``stop``."""
        while self.step < stop:
            self._session._checkpoint()
            output = self._guided()
            self.latents = self.scheduler.step(
                output,
                self.scheduler.timesteps[self.step],
                self.latents,
                return_dict=False,
                **self._step_options(),
            )[0]
            self.step += 1

    def clean_prediction(self) -> torch.Tensor:
        """The model's x0 at the present state; the state stays as it is."""
        scale = schedule.state_scale(self.scheduler, self.step)
        kind = self.scheduler.config.prediction_type
        return schedule.clean_prediction(self.latents, self._guided(), scale, kind)

    def _guided(self) -> torch.Tensor:
        session = self._session
        time = self.scheduler.timesteps[self.step]
        count = len(session._branches)
        scaled = self.scheduler.scale_model_input(self.latents, time).to(self._unet.dtype)
        sample = torch.cat([torch.cat([scaled] * count), self._source], dim=1)
        output = self._unet(sample, time, encoder_hidden_states=self._texts, return_dict=False)[0]
        return guidance.combine(output.unflatten(0, (count, -1)), session._weights)

    def _step_options(self) -> dict[str, Any]:
        # Deterministic steps draw nothing, and some schedulers do not know the argument.
        if schedule.draws_noise(self.scheduler):
            return {"generator": self._generators}
        return {}


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether it is memory that ran out; torch has a class for that on GPUs only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "not enough memory" in text or "ALLOC_FAILED" in text
