"""Measure on the device how to call a model fastest: batch sizes, and a compiled UNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import torch

from ..errors import ModelError
from ..jobs.records import ComputeProfile
from ..recipe import Recipe
from . import guidance, tuning_cache
from .compiling import CompiledUNet
from .control.batch import ControlBatch, Net, SessionNets
from .control.residuals import NOTHING
from .device_memory import is_out_of_memory
from .prompts import TextEmbeds, UNetTexts
from .vae import VaeCodec


class Autotuner:
    """Times one model with random inputs of the shape of a recipe's frames.

    Args:
        unet: on ``device``.
        size: width and height of the frames in pixels.
        compute_profile: of the editor; a measurement is valid for this profile only.
        nets: the control nets of the recipe; each call runs all of them.
        cache: measurements of earlier jobs; new ones are added.

    Attributes:
        branches: guidance branches of the recipe, so samples of a frame.
    """

    def __init__(
        self,
        unet: Any,
        vae: VaeCodec,
        recipe: Recipe,
        size: tuple[int, int],
        *,
        compute_profile: ComputeProfile,
        device: str,
        cache: tuning_cache.TuningCache,
        nets: Sequence[Net] = (),
    ) -> None:
        self._unet = unet
        self._vae = vae
        self._device = device
        self._cache = cache
        # In every step: a trial has to fit into memory also where all nets act.
        always = [msgspec.structs.replace(c, start=0.0, end=1.0) for c in recipe.control]
        self._nets = SessionNets(list(zip(always, nets, strict=False)), 1) if nets else None
        weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
        self.branches = len(guidance.branches(weights))
        self._blank = np.zeros((size[1], size[0], 3), np.uint8)
        profile = [
            f"{name} {value}" for name, value in msgspec.structs.asdict(compute_profile).items()
        ]
        self._key = ", ".join([*profile, f"{size[0]}x{size[1]}", f"{self.branches} branches"])

    def latency_by_batch(self) -> dict[int, float]:
        """Seconds of one UNet call by batch size, for those that fit into memory, at least one."""
        with self._cache.measuring():
            latency = self._cache.latency(self._key)
            if latency is None:
                latency = tuning_cache.measure_latency(self._seconds, is_out_of_memory)
                self._free()
                if not latency:  # the edit itself raises an error that names the remedy
                    return {1: 1.0}
                self._cache.keep_latency(self._key, latency)
            return latency

    def worth_compiling(self, compiled: CompiledUNet, batch: int, calls: float) -> bool:
        """Whether compiling makes ``calls`` calls of ``batch`` frames faster, itself included."""
        key = f"{self._key}, {batch} frames"
        known = self._cache.compiled(key)
        if known is None:
            call = self._caller(batch)
            # A rough measurement suffices, without the lock: most jobs are much too short.
            if not tuning_cache.may_pay(
                calls, tuning_cache.timed(lambda: call(self._unet), self._wait, 1)
            ):
                return False
            known = self._compiled(compiled, key, call)
        return known is not None and known.pays(calls)

    def _compiled(
        self, compiled: CompiledUNet, key: str, call: Callable[[Any], object]
    ) -> tuning_cache.Compiled | None:
        """Measure the compiled UNet; None if there is no compiler."""
        with self._cache.measuring():
            known = self._cache.compiled(key)
            if known is None:
                try:
                    known = compiled.measure(call, self._wait)
                except ModelError:
                    return None
                self._cache.keep_compiled(key, known)
            return known

    def _seconds(self, frames: int) -> float:
        """Seconds of one step of ``frames`` frames; also decodes, since that has to fit, too."""
        call = self._caller(frames)
        seconds = tuning_cache.timed(lambda: call(self._unet), self._wait)
        with torch.inference_mode():
            self._vae.decode(self._latents.expand(frames, -1, -1, -1).float())
        return seconds

    def _caller(self, frames: int) -> Callable[[Any], object]:
        samples = frames * self.branches
        config, dtype = self._unet.config, self._unet.dtype
        shape = self._latents.shape[2:]
        sample = torch.randn(samples, int(config.in_channels), *shape).to(self._device, dtype)
        prompts = torch.randn(samples, 77, int(config.cross_attention_dim)).to(self._device, dtype)
        texts = UNetTexts(prompts, self._added_conditions(samples))
        # A tensor as in a session: the UNet is compiled for the type of its arguments.
        timestep = torch.tensor(500.0, device=self._device)

        control = self._control(frames, texts.first(1))

        @torch.inference_mode()
        def call(unet: Any) -> object:
            latents = sample[:frames, : self._latents.shape[1]]
            nets = control.residuals(0, timestep, latents, texts) if control else NOTHING
            return unet(sample, timestep, **texts.options(), **nets.arguments(), return_dict=False)

        return call

    def _control(self, frames: int, text: UNetTexts) -> ControlBatch | None:
        """The nets on black hints, with one text for all frames."""
        if self._nets is None:
            return None
        hints = [[self._blank] * frames for _ in self._nets.nets]
        pooled = None if text.added is None else text.added["text_embeds"]
        caption = TextEmbeds(text.embeds, pooled)
        with torch.inference_mode():
            return self._nets.batch_of_hints(hints, lambda _: caption)

    def _added_conditions(self, samples: int) -> dict[str, torch.Tensor] | None:
        """The further arguments of SDXL's UNet."""
        config = self._unet.config
        if config.addition_embed_type != "text_time":
            return None
        times = 6 * int(config.addition_time_embed_dim)
        width = int(config.projection_class_embeddings_input_dim) - times
        pooled = torch.randn(samples, width).to(self._device, self._unet.dtype)
        return {"text_embeds": pooled, "time_ids": pooled.new_zeros(samples, 6)}

    @cached_property
    def _latents(self) -> torch.Tensor:
        """Latents of one frame."""
        with torch.inference_mode():
            return self._vae.encode([self._blank])

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)

    def _free(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
