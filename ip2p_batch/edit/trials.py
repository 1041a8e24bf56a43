"""What is tried out on a device before a job: batches of frames, and a compiled UNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import ModelError
from ..recipe import Recipe
from . import guidance, tuning
from .compiling import CompiledUNet
from .memory import is_out_of_memory
from .pictures import Autoencoder


class Trials:
    """Calls of one model with noise, of the shape that a recipe's frames have.

    Args:
        unet: of the ``name``d model, on ``device``.
        size: width and height of the frames in pixels.
        remembered: what earlier jobs measured; asked first, and told.
    """

    def __init__(
        self,
        unet: Any,
        autoencoder: Autoencoder,
        recipe: Recipe,
        size: tuple[int, int],
        *,
        name: str,
        device: str,
        remembered: tuning.Remembered,
    ) -> None:
        self._unet = unet
        self._autoencoder = autoencoder
        self._size = size
        self._device = device
        self._remembered = remembered
        weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
        self._branches = len(guidance.branches(weights))
        known = (name, str(unet.dtype), f"{size[0]}x{size[1]}", f"{self._branches} branches")
        self._key = ", ".join((self._place(), f"torch {torch.__version__}", *known))

    def batch(self) -> int:
        """Frames in one call that take the least time each."""
        found = self._remembered.batch(self._key)
        if found is None:
            found = tuning.best_batch(self._seconds, is_out_of_memory)
            self._remembered.keep_batch(self._key, found)
            self._free()
        return found

    def worth_compiling(self, compiled: CompiledUNet, batch: int, calls: float) -> bool:
        """Whether ``calls`` calls of ``batch`` frames are quicker compiled, compiling included."""
        key = f"{self._key}, {batch} frames"
        known = self._remembered.compiled(key)
        call = self._caller(batch)
        if known is None:
            if not tuning.may_pay(calls, tuning.timed(lambda: call(self._unet), self._wait, 1)):
                return False
            try:
                known = compiled.measure(call, self._wait)
            except ModelError:  # no compiler here: then not
                return False
            self._remembered.keep_compiled(key, known)
        return known.pays(calls)

    def _seconds(self, frames: int) -> float:
        """Seconds of one step of ``frames`` frames; the autoencoder has to find room, too."""
        call = self._caller(frames)
        seconds = tuning.timed(lambda: call(self._unet), self._wait)
        with torch.inference_mode():
            self._autoencoder.decode(self._latents(frames).float())
        return seconds

    def _caller(self, frames: int) -> Callable[[Any], object]:
        samples = frames * self._branches
        config, dtype = self._unet.config, self._unet.dtype
        shape = self._latents(1).shape[2:]
        sample = torch.randn(samples, int(config.in_channels), *shape).to(self._device, dtype)
        texts = torch.randn(samples, 77, int(config.cross_attention_dim)).to(self._device, dtype)
        # As a session passes it: a compiled form is for one type of argument.
        time = torch.tensor(500.0, device=self._device)

        @torch.inference_mode()
        def call(unet: Any) -> object:
            return unet(sample, time, encoder_hidden_states=texts, return_dict=False)

        return call

    def _latents(self, frames: int) -> torch.Tensor:
        width, height = self._size
        blank = torch.zeros(height, width, 3, dtype=torch.uint8).numpy()
        with torch.inference_mode():
            one = self._autoencoder.encode([blank])
        return one.expand(frames, -1, -1, -1)

    def _place(self) -> str:
        if self._device.startswith("cuda"):
            return torch.cuda.get_device_name(self._device)
        return f"cpu with {torch.get_num_threads()} thread(s)"

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)

    def _free(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()
