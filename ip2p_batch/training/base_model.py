"""Load a base model and prepare its UNet for fine-tuning."""

from __future__ import annotations

from typing import Any

import torch

from ..editing.loading import load_pipeline
from ..errors import RecipeError
from ..models import layout
from .conditioning import widen_unet_input

#: Attention layers that get adapters.
LORA_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


def load_base_model(base: str, revision: str | None = None) -> Any:
    """Load the pipeline of a base model, in float32 on the CPU.

    Args:
        base: a hub id, a diffusers folder, a bundled name, or a Stable Diffusion 1 checkpoint
            (.safetensors).
        revision: revision of a hub id.

    Raises:
        ModelError: it cannot be loaded, or is of a kind that cannot be trained.
    """
    return load_pipeline(base, revision=revision, dtype=torch.float32, check=layout.check_trains)


def lacks_source_input(pipe: Any) -> bool:
    """Whether the UNet takes noisy latents only, as a text-to-image model does."""
    return int(pipe.unet.config.in_channels) < 2 * int(pipe.vae.config.latent_channels)


def prepare_unet(pipe: Any, lora_rank: int) -> None:
    """Widen the UNet's input where needed, and mark the parameters to train.

    Args:
        pipe: a pipeline from :func:`load_base_model`; changed in place.
        lora_rank: rank of the adapters to add; 0 trains the whole UNet. A first convolution that
            had to be widened is trained in both cases.

    Raises:
        RecipeError: adapters are wanted and peft is not installed.
    """
    is_new_input = lacks_source_input(pipe)
    widen_unet_input(pipe.unet, 2 * int(pipe.vae.config.latent_channels))
    for component in (pipe.vae, pipe.text_encoder):
        component.requires_grad_(requires_grad=False)
    pipe.unet.requires_grad_(lora_rank == 0)
    if lora_rank:
        try:
            from peft import LoraConfig
        except ModuleNotFoundError:
            raise RecipeError(
                "Training adapters needs the package peft, which is not installed.",
                hint="Run `pip install 'ip2p-batch[train]'`, or train the whole UNet with"
                " --lora-rank 0.",
            ) from None

        config = LoraConfig(
            r=lora_rank,
            lora_alpha=lora_rank,
            init_lora_weights="gaussian",
            target_modules=list(LORA_LAYERS),
        )
        pipe.unet.add_adapter(config)
        pipe.unet.conv_in.requires_grad_(is_new_input)
