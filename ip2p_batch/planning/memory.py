"""Estimate the memory of a worker from the model's files, without loading weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
from safetensors import SafetensorError, safe_open

from ..editing import guidance
from ..editing.precision import auto_dtype
from ..models import catalog
from ..recipe import DEFAULT_MODEL, Recipe

#: Parameters of ``timbrooks/instruct-pix2pix``: UNet 859.5 M, text encoder 123.1 M, VAE 83.7 M.
_DEFAULT_PARAMETERS = 1_066_300_000
#: Channels of its UNet and VAE, from the finest level to the coarsest.
_UNET_CHANNELS = (320, 640, 1280, 1280)
_VAE_CHANNELS = (128, 256, 512, 512)
#: Working memory in feature maps: for the UNet, of its finest channels at latent size; for the VAE,
#: of its second-finest channels at full size, as in its decoder's last block. Measured as the peak
#: resident size on a CPU in float32 at 512x512: UNet 0.68 GB for 3 branches, decoder 1.04 GB.
_UNET_MAPS = 44
_VAE_MAPS = 4
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, in bytes.

    Attributes:
        dtype: the precision that the estimate is for.
        weights: memory of UNet, text encoder and VAE.
        frame: working memory per frame of a batch.
    """

    dtype: str
    weights: int
    frame: int


def memory(recipe: Recipe, width: int, height: int, *, gpu: bool) -> Memory | None:
    """Estimate the memory to edit frames of ``width`` x ``height`` pixels.

    Args:
        gpu: which precision ``--dtype auto`` means.

    Returns:
        None if the model is not on this machine and is not the default model.
    """
    dtype = auto_dtype(gpu=gpu) if recipe.dtype == "auto" else recipe.dtype
    folder = Path(catalog.locate(recipe.model))
    if folder.is_dir():
        parameters = sum(_parameters(p) for p in folder.glob("*/*.safetensors"))
        unet = _channels(folder / "unet/config.json", _UNET_CHANNELS)
        vae = _channels(folder / "vae/config.json", _VAE_CHANNELS)
    elif recipe.model == DEFAULT_MODEL:
        parameters, unet, vae = _DEFAULT_PARAMETERS, _UNET_CHANNELS, _VAE_CHANNELS
    else:
        return None
    if not parameters:
        return None
    each = _BYTES[dtype]
    branches = _branches(recipe)
    scale = 2 ** (len(vae) - 1)
    tokens = (width // scale) * (height // scale)
    unet_peak = branches * tokens * each * _UNET_MAPS * unet[0]
    vae_peak = width * height * each * _VAE_MAPS * vae[min(1, len(vae) - 1)]
    return Memory(dtype=dtype, weights=parameters * each, frame=max(unet_peak, vae_peak))


def _branches(recipe: Recipe) -> int:
    """Maximum number of guidance branches per UNet call."""
    weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
    return len(guidance.branches(weights if recipe.guided_steps() else guidance.OFF))


def _parameters(path: Path) -> int:
    """Number of parameters in a safetensors file, from its header; 0 if it is not one."""
    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return 0


def _channels(config: Path, default: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(c) for c in json.loads(config.read_bytes())["block_out_channels"])
    except (OSError, ValueError, KeyError, TypeError):
        return default
