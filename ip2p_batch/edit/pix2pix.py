"""The editor: InstructPix2Pix's weights on one device, through diffusers' own parts.

Without borders a session gives what ``StableDiffusionInstructPix2PixPipeline`` gives for the same
seed, image, steps and scales, with one generator per image; tests hold it to that.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from ..job import Identity
from ..recipe import Recipe
from . import attention, numerics
from .editor import Checkpoint
from .session import Pix2PixSession

#: Frames in one UNet call unless the recipe says otherwise. On CPUs more are slower, not faster.
DEFAULT_BATCH = {"cpu": 1, "cuda": 8}


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
        #: What the self-attention layers know of anchors; one session at a time uses it.
        self.anchor_memory = attention.install(pipe.unet)
        #: Largest batch that has not run out of memory so far.
        self.batch_limit = 1 << 30

    @property
    def device(self) -> str:
        if self.torch_device.startswith("cuda"):
            return torch.cuda.get_device_name(self.torch_device)
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'' if threads == 1 else 's'}"

    @cached_property
    def identity(self) -> Identity:
        return numerics.identity(self.pipe, self.torch_device, self.dtype)

    def session(self, recipe: Recipe, *, checkpoint: Checkpoint | None = None) -> Pix2PixSession:
        return Pix2PixSession(self, recipe, checkpoint or (lambda: None))

    def default_batch(self) -> int:
        return DEFAULT_BATCH.get(self.torch_device.split(":")[0], 1)
