"""The editor: InstructPix2Pix's weights on one device, through diffusers' own parts.

Without borders a session gives what ``StableDiffusionInstructPix2PixPipeline`` gives for the same
seed, image, steps and scales, with one generator per image; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch

from ..errors import ModelError
from ..jobs.plan import BatchHistogram
from ..jobs.records import ComputeProfile, InferenceConfig
from ..recipe import Recipe
from ..threads import CpuPool
from . import attention, compute_profile, onednn_workaround, tuning_cache
from .autotune import Trials
from .compiling import CompiledUNet
from .deepcache import DeepFeatures
from .editor import Checkpoint
from .prompts import Texts
from .session import LARGEST_GROUP, Pix2PixSession
from .vae import Autoencoder

#: Frames in one UNet call unless the recipe says otherwise. On CPUs more are slower, not faster.
DEFAULT_BATCH = {"cpu": 1, "cuda": 8}


class Pix2PixEditor:
    """Holds the weights of one model on one device.

    Args:
        pipe: a loaded ``StableDiffusionInstructPix2PixPipeline``; its parts are moved and used,
            its ``__call__`` is not.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: of the weights; latents and scheduler are float32 whatever it is.
        load_tiny_vae: loads the autoencoder of recipes with ``tiny_vae``; called once, if at all.
        cache: folder for what is measured and compiled; None keeps nothing.
    """

    def __init__(
        self,
        pipe: Any,
        *,
        device: str,
        dtype: torch.dtype,
        load_tiny_vae: Callable[[], Any] | None = None,
        cache: Path | None = None,
    ) -> None:
        self.pipe = pipe
        self.torch_device = device
        self.dtype = dtype
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.to(device, dtype).eval().requires_grad_(requires_grad=False)
        for part in (pipe.unet, pipe.vae):
            # On CPUs a fifth to a half of the time goes; on GPUs fp16 convolutions like it, too.
            part.to(memory_format=torch.channels_last)
            onednn_workaround.install(part)
        #: What the self-attention layers know of anchors; one session at a time uses it.
        self.anchor_memory = attention.install(pipe.unet, fused=device != "cpu")
        self.texts = Texts(pipe.tokenizer, pipe.text_encoder, device)
        self._load_fast_vae = load_tiny_vae
        self._compiled = CompiledUNet(pipe.unet, cache / "compiled" if cache else None)
        self._remembered = tuning_cache.Remembered(
            cache / "inference-config.json" if cache else None
        )
        self._autoencoders: dict[bool, Autoencoder] = {}
        #: Largest batch that has not run out of memory so far.
        self.batch_limit = 1 << 30

    @property
    def device(self) -> str:
        if self.torch_device.startswith("cuda"):
            return torch.cuda.get_device_name(self.torch_device)
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'' if threads == 1 else 's'}"

    @cached_property
    def compute_profile(self) -> ComputeProfile:
        return compute_profile.compute_profile(self.pipe, self.torch_device, self.dtype)

    def autotune(
        self, recipe: Recipe, size: tuple[int, int], batch_histogram: BatchHistogram
    ) -> InferenceConfig:
        trials = Trials(
            self.pipe.unet,
            self.autoencoder(fast=recipe.tiny_vae),
            recipe,
            size,
            compute_profile=self.compute_profile,
            device=self.torch_device,
            remembered=self._remembered,
        )
        batch, borders = self._batches(trials, recipe, batch_histogram)
        compiled = recipe.compile == "on"
        if recipe.compile == "auto" and recipe.deepcache_interval == 1:
            steps = recipe.num_inference_steps - recipe.carried_steps()
            compiled = trials.worth_compiling(
                self._compiled, batch, batch_histogram.total * steps / batch
            )
        # Compiled for one shape: another would cost as much again, for the few borders.
        return InferenceConfig(
            batch_size=batch, border_batch=batch if compiled else borders, compiled=compiled
        )

    def session(
        self,
        recipe: Recipe,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Pix2PixSession:
        found = inference_config or InferenceConfig(
            batch_size=recipe.batch_size, compiled=recipe.compile == "on"
        )
        if not found.batch_size:
            found = msgspec.structs.replace(found, batch_size=self.default_batch())
        return Pix2PixSession(
            self, recipe, found, cpu_pool or CpuPool(), checkpoint or (lambda: None)
        )

    def autoencoder(self, *, fast: bool) -> Autoencoder:
        """The model's own, or the small one for previews.

        Raises:
            ModelError: there is no small one for this model, or it cannot be loaded.
        """
        if fast not in self._autoencoders:
            own = self.pipe.vae
            vae = self._tiny_vae() if fast else own
            self._autoencoders[fast] = Autoencoder(
                vae, self.torch_device, float(own.config.scaling_factor), scaled=fast
            )
        return self._autoencoders[fast]

    def unet(self, *, compiled: bool) -> Any:
        """The UNet as it is, or compiled."""
        return self._compiled.get() if compiled else self.pipe.unet

    def deep_features(self) -> DeepFeatures:
        """The UNet as recipes with ``reuse`` run it.

        Raises:
            ModelError: it is not built so that it could be.
        """
        return DeepFeatures(self.pipe.unet)

    def _tiny_vae(self) -> Any:
        if self._load_fast_vae is None:
            raise ModelError("This model has no fast autoencoder.", hint="Leave --tiny-vae out.")
        vae, own = self._load_fast_vae(), self.pipe.vae
        channels = [int(v.config.latent_channels) for v in (vae, own)]
        # Both halve the sides once less than they have blocks.
        blocks = len(vae.config.decoder_block_out_channels), len(own.config.block_out_channels)
        if len({*channels}) > 1 or len({*blocks}) > 1:
            raise ModelError(
                "The fast autoencoder's latents are not of this model's kind.",
                hint="Leave --tiny-vae out, or put one that fits into the model's tiny_vae folder.",
            )
        vae.to(self.torch_device, self.dtype).eval().requires_grad_(requires_grad=False)
        onednn_workaround.install(vae)
        return vae.to(memory_format=torch.channels_last)

    def default_batch(self) -> int:
        return DEFAULT_BATCH.get(self.torch_device.split(":")[0], 1)

    def _batches(
        self, trials: Trials, recipe: Recipe, batch_histogram: BatchHistogram
    ) -> tuple[int, int]:
        """Frames in one call, and borders.

        On a GPU what fits and is quickest; on a CPU one, since larger batches are no quicker.
        """
        max_edit_size = max(batch_histogram.borders, default=1)
        if recipe.batch_size or self.torch_device == "cpu":
            batch = recipe.batch_size or self.default_batch()
            return batch, min(batch, max_edit_size)
        pace = trials.pace()
        looks = recipe.anchors > 0 or recipe.reference_image is not None
        longest = LARGEST_GROUP if looks else None
        batch = tuning_cache.best_batch(pace, batch_histogram.frames, longest)
        borders = (
            tuning_cache.best_batch(pace, batch_histogram.borders, longest)
            if batch_histogram.borders
            else batch
        )
        return batch, borders
