"""The editor: an InstructPix2Pix model on one device, made of diffusers' own parts.

Without borders its results equal those of ``StableDiffusionInstructPix2PixPipeline``, or of its
SDXL form, for the same seed, image, steps and scales, with one generator per image; tests compare
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import torch

from ..errors import ModelError
from ..jobs.plan import BatchHistogram
from ..jobs.records import ComputeProfile, InferenceConfig
from ..recipe import Recipe
from ..recipe_parts import Control
from ..threads import CpuPool
from . import attention, compute_profile, onednn_workaround, tuning_cache
from .autotune import Autotuner
from .batch_runner import BatchUnit
from .compiling import CompiledUNet
from .control.batch import Net
from .control.loading import LoadNet, NetCache
from .deepcache import DeepCacheUNet
from .editor import EMPTY_CONTEXT, Checkpoint, ChunkContext, Editor
from .precision import has_matrix_units
from .prompts import PromptEncoder, text_encoders
from .session import LARGEST_GROUP, Pix2PixSession
from .vae import VaeCodec

#: Frames in one UNet call unless the recipe or a measurement decides. On CPUs more are slower.
DEFAULT_BATCH = {"cpu": 1, "cuda": 8}
#: Most parameters of a UNet that edits several frames at a time on a CPU.
_SMALL_UNET = 50_000_000


def _no_net(control: Control) -> Any:
    raise ModelError(f"This editor has no control nets, {control.kind!r} neither.")


class Pix2PixEditor(Editor):
    """Holds the weights of one model on one device.

    Args:
        pipe: a loaded ``StableDiffusionInstructPix2PixPipeline`` or
            ``StableDiffusionXLInstructPix2PixPipeline``. Its parts are moved to the device and
            used; its ``__call__`` is not.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: of the weights; latents and scheduler are float32 whatever it is.
        load_tiny_vae: loads the VAE of recipes with ``tiny_vae``; called at most once.
        load_net: loads the control nets of recipes with ``control``; None: there are none.
        name: of the model, for messages.
        cache: folder for measurements and compiled kernels; None keeps nothing.
    """

    def __init__(
        self,
        pipe: Any,
        *,
        device: str,
        dtype: torch.dtype,
        load_tiny_vae: Callable[[], Any] | None = None,
        load_net: LoadNet | None = None,
        name: str = "the model",
        cache: Path | None = None,
    ) -> None:
        self.pipe = pipe
        self.torch_device = device
        self.dtype = dtype
        for part in (pipe.unet, pipe.vae, *text_encoders(pipe)):
            precision = torch.float32 if part is pipe.vae and _vae_overflows(pipe, dtype) else dtype
            part.to(device, precision).eval().requires_grad_(requires_grad=False)
        for part in (pipe.unet, pipe.vae):
            # Saves a fifth to a half of the time on CPUs; fp16 convolutions on GPUs gain, too.
            part.to(memory_format=torch.channels_last)
            onednn_workaround.install(part)
        #: Of the self-attention layers; one session at a time uses it.
        self.anchor_cache = attention.install(pipe.unet, fused=device != "cpu")
        self.prompt_encoder = PromptEncoder(pipe, device)
        self._load_tiny_vae = load_tiny_vae
        self._compiled = CompiledUNet(pipe.unet, cache / "compiled" if cache else None)
        self._tuning_cache = tuning_cache.TuningCache(
            cache / "inference-config.json" if cache else None
        )
        self._vaes: dict[bool, VaeCodec] = {}
        self._nets = NetCache(load_net or _no_net, pipe, name, device, dtype)
        #: Largest batches that have not run out of memory so far.
        self.batch_limits: dict[BatchUnit, int] = {"frame": 1 << 30, "tile": 1 << 30}

    @property
    def device(self) -> str:
        if self.torch_device.startswith("cuda"):
            return torch.cuda.get_device_name(self.torch_device)
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'' if threads == 1 else 's'}"

    @cached_property
    def compute_profile(self) -> ComputeProfile:
        return compute_profile.compute_profile(self.pipe, self.torch_device, self.dtype)

    def profile_for(self, recipe: Recipe) -> ComputeProfile:
        nets = self._nets.digest(recipe.control)
        profile = self.compute_profile
        return msgspec.structs.replace(profile, nets=nets) if nets else profile

    def autotune(
        self, recipe: Recipe, size: tuple[int, int], batch_histogram: BatchHistogram
    ) -> InferenceConfig:
        tuner = Autotuner(
            self.pipe.unet,
            self.vae(tiny=recipe.tiny_vae),
            recipe,
            size,
            compute_profile=self.profile_for(recipe),
            device=self.torch_device,
            nets=self.nets(recipe.control),
            cache=self._tuning_cache,
        )
        batch, borders = self._batches(tuner, recipe, batch_histogram)
        compiled = recipe.compile == "on"
        if recipe.compile == "auto" and recipe.deepcache_interval == 1:
            carried = recipe.carried_steps(self.pipe.scheduler.config)
            steps = recipe.num_inference_steps - carried
            compiled = tuner.worth_compiling(
                self._compiled, batch, batch_histogram.total * steps / batch
            )
        # One shape if compiled: another would cost as much again, for only a few borders.
        return InferenceConfig(
            batch_size=batch, border_batch=batch if compiled else borders, compiled=compiled
        )

    def session(
        self,
        recipe: Recipe,
        context: ChunkContext = EMPTY_CONTEXT,
        *,
        inference_config: InferenceConfig | None = None,
        cpu_pool: CpuPool | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Pix2PixSession:
        config = inference_config or InferenceConfig(
            batch_size=recipe.batch_size, compiled=recipe.compile == "on"
        )
        if not config.batch_size:
            config = msgspec.structs.replace(config, batch_size=self.default_batch())
        return Pix2PixSession(self, recipe, context, config, checkpoint or (lambda: None))

    def vae(self, *, tiny: bool) -> VaeCodec:
        """The model's own VAE, or a small one for previews.

        Raises:
            ModelError: this model has no small VAE, or it cannot be loaded.
        """
        if tiny not in self._vaes:
            own = self.pipe.vae
            vae = self._tiny_vae() if tiny else own
            self._vaes[tiny] = VaeCodec(
                vae, self.torch_device, float(own.config.scaling_factor), scaled=tiny
            )
        return self._vaes[tiny]

    def unet(self, *, compiled: bool) -> Any:
        """The UNet as it is, or compiled."""
        return self._compiled.get() if compiled else self.pipe.unet

    def deepcache_unet(self) -> DeepCacheUNet:
        """The UNet for recipes with ``deepcache_interval`` above 1.

        Raises:
            ModelError: the UNet has another structure.
        """
        return DeepCacheUNet(self.pipe.unet)

    def nets(self, controls: Sequence[Control]) -> list[Net]:
        """The control nets of a recipe, in its order.

        Raises:
            ModelError: a net cannot be loaded, or does not fit the model.
        """
        return self._nets.get(controls)

    def _tiny_vae(self) -> Any:
        if self._load_tiny_vae is None:
            raise ModelError("This model has no tiny VAE.", hint="Omit --tiny-vae.")
        vae, own = self._load_tiny_vae(), self.pipe.vae
        channels = [int(v.config.latent_channels) for v in (vae, own)]
        # Both halve the sides once less than they have blocks.
        blocks = len(vae.config.decoder_block_out_channels), len(own.config.block_out_channels)
        if len({*channels}) > 1 or len({*blocks}) > 1:
            raise ModelError(
                "The tiny VAE does not have the latents of this model.",
                hint="Omit --tiny-vae, or put a matching VAE into the model's tiny_vae folder.",
            )
        vae.to(self.torch_device, self.dtype).eval().requires_grad_(requires_grad=False)
        onednn_workaround.install(vae)
        return vae.to(memory_format=torch.channels_last)

    def default_batch(self) -> int:
        """Frames in one UNet call if neither the recipe nor a measurement decides."""
        return DEFAULT_BATCH.get(self.torch_device.split(":")[0], 1)

    @property
    def _gains_from_batches(self) -> bool:
        """Whether this CPU edits several frames in one call faster than one by one.

        CPUs with matrix units do with a small UNet; a large one fills them with one frame, and its
        batches need memory.
        """
        computes = self.dtype is torch.bfloat16 and has_matrix_units()
        return computes and sum(p.numel() for p in self.pipe.unet.parameters()) <= _SMALL_UNET

    def _batches(
        self, tuner: Autotuner, recipe: Recipe, batch_histogram: BatchHistogram
    ) -> tuple[int, int]:
        """Frames in one UNet call, and borders in one.

        On a GPU the fastest that fits. On a CPU nothing is measured, so that the same job gets the
        same bits again.
        """
        max_edit_size = max(batch_histogram.borders, default=1)
        if recipe.batch_size or (self.torch_device == "cpu" and not self._gains_from_batches):
            batch = recipe.batch_size or self.default_batch()
            return batch, min(batch, max_edit_size)
        if self.torch_device == "cpu":
            latency = tuning_cache.matrix_unit_latency(tuner.branches)
        else:
            latency = tuner.latency_by_batch()
        attends = recipe.anchors > 0 or recipe.reference_image is not None
        largest_group = LARGEST_GROUP if attends else None
        batch = tuning_cache.best_batch(latency, batch_histogram.frames, largest_group)
        borders = (
            tuning_cache.best_batch(latency, batch_histogram.borders, largest_group)
            if batch_histogram.borders
            else batch
        )
        return batch, borders


def _vae_overflows(pipe: Any, dtype: torch.dtype) -> bool:
    """Whether the VAE must stay in float32: SDXL's exceeds float16 on ordinary images.

    ``force_upcast`` is set for every VAE whose file does not say otherwise, also for those of
    Stable Diffusion 1, which fit: only SDXL's pipeline reads it.
    """
    is_xl = len(text_encoders(pipe)) > 1
    return is_xl and dtype is torch.float16 and bool(pipe.vae.config.force_upcast)
