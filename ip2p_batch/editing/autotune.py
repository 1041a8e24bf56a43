"""What is tried out on a device before a job: batches of frames, and a compiled UNet."""

from __future__ import annotations

from collections.abc import Callable
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
from .device_memory import is_out_of_memory
from .vae import Autoencoder


class Trials:
    """Calls of one model with noise, of the shape that a recipe's frames have.

    Args:
        unet: on ``device``.
        size: width and height of the frames in pixels.
        compute_profile: of the editor: what is measured holds for this and no other.
        remembered: what earlier jobs measured; asked first, and told.
    """

    def __init__(
        self,
        unet: Any,
        autoencoder: Autoencoder,
        recipe: Recipe,
        size: tuple[int, int],
        *,
        compute_profile: ComputeProfile,
        device: str,
        remembered: tuning_cache.Remembered,
    ) -> None:
        self._unet = unet
        self._autoencoder = autoencoder
        self._device = device
        self._remembered = remembered
        weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
        self._branches = len(guidance.branches(weights))
        self._blank = np.zeros((size[1], size[0], 3), np.uint8)
        known = [
            f"{name} {value}" for name, value in msgspec.structs.asdict(compute_profile).items()
        ]
        self._key = ", ".join([*known, f"{size[0]}x{size[1]}", f"{self._branches} branches"])

    def pace(self) -> dict[int, float]:
        """Seconds of one call by the frames in it; of all that fit into memory, at least one."""
        with self._remembered.measuring():
            found = self._remembered.pace(self._key)
            if found is None:
                found = tuning_cache.measured_pace(self._seconds, is_out_of_memory)
                self._free()
                if not found:  # the edit itself will say what to do about it
                    return {1: 1.0}
                self._remembered.keep_pace(self._key, found)
            return found

    def worth_compiling(self, compiled: CompiledUNet, batch: int, calls: float) -> bool:
        """Whether ``calls`` calls of ``batch`` frames are quicker compiled, compiling included."""
        key = f"{self._key}, {batch} frames"
        known = self._remembered.compiled(key)
        if known is None:
            call = self._caller(batch)
            # Roughly, and so beside others: most jobs are too short by far.
            if not tuning_cache.may_pay(
                calls, tuning_cache.timed(lambda: call(self._unet), self._wait, 1)
            ):
                return False
            known = self._compiled(compiled, key, call)
        return known is not None and known.pays(calls)

    def _compiled(
        self, compiled: CompiledUNet, key: str, call: Callable[[Any], object]
    ) -> tuning_cache.Compiled | None:
        """What compiling does here; None where there is no compiler."""
        with self._remembered.measuring():
            known = self._remembered.compiled(key)
            if known is None:
                try:
                    known = compiled.measure(call, self._wait)
                except ModelError:
                    return None
                self._remembered.keep_compiled(key, known)
            return known

    def _seconds(self, frames: int) -> float:
        """Seconds of one step of ``frames`` frames; the autoencoder has to find room, too."""
        call = self._caller(frames)
        seconds = tuning_cache.timed(lambda: call(self._unet), self._wait)
        with torch.inference_mode():
            self._autoencoder.decode(self._latents.expand(frames, -1, -1, -1).float())
        return seconds

    def _caller(self, frames: int) -> Callable[[Any], object]:
        samples = frames * self._branches
        config, dtype = self._unet.config, self._unet.dtype
        shape = self._latents.shape[2:]
        sample = torch.randn(samples, int(config.in_channels), *shape).to(self._device, dtype)
        texts = torch.randn(samples, 77, int(config.cross_attention_dim)).to(self._device, dtype)
        # As a session passes it: a compiled form is for one type of argument.
        time = torch.tensor(500.0, device=self._device)

        @torch.inference_mode()
        def call(unet: Any) -> object:
            return unet(sample, time, encoder_hidden_states=texts, return_dict=False)

        return call

    @cached_property
    def _latents(self) -> torch.Tensor:
        """Of one frame."""
        with torch.inference_mode():
            return self._autoencoder.encode([self._blank])

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)

    def _free(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
