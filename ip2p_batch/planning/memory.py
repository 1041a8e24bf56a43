"""Estimate the memory of a worker from the model's files, without loading weights."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from ..editing import guidance
from ..editing.precision import auto_dtype
from ..errors import ModelError
from ..models import catalog, control_nets, layout
from ..models.header import read_shapes
from ..recipe import DEFAULT_MODEL, Recipe
from . import nets

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
#: Names of weights in checkpoints that are not loaded: averages over the training.
_AVERAGES = "model_ema."
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, in bytes.

    Attributes:
        dtype: the precision that the estimate is for.
        weights: memory of UNet, text encoder, VAE, and control nets that are on this machine.
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
    place = Path(catalog.locate(recipe.model))
    config = catalog.config_folder(recipe.model)
    if config is not None:
        parameters = sum(map(_parameters, layout.weights_files(place)))
        unet = layout.block_channels(config / "unet", _UNET_CHANNELS)
        vae = layout.block_channels(config / "vae", _VAE_CHANNELS)
    elif recipe.model == DEFAULT_MODEL:
        parameters, unet, vae = _DEFAULT_PARAMETERS, _UNET_CHANNELS, _VAE_CHANNELS
    else:
        return None
    if not parameters:
        return None
    each = _BYTES[dtype]
    # SDXL's VAE exceeds float16, so it stays in float32.
    is_xl = dtype == "float16" and catalog.family(recipe.model) != "sd"
    vae_each = _BYTES["float32"] if is_xl else each
    branches = _branches(recipe)
    scale = 2 ** (len(vae) - 1)
    tokens = (width // scale) * (height // scale)
    unet_peak = branches * tokens * each * _UNET_MAPS * unet[0]
    vae_peak = width * height * vae_each * _VAE_MAPS * vae[min(1, len(vae) - 1)]
    weights = (parameters + _net_parameters(recipe)) * each
    return Memory(dtype=dtype, weights=weights, frame=max(unet_peak, vae_peak))


def _net_parameters(recipe: Recipe) -> int:
    """Number of parameters of the control nets that are on this machine."""
    folders = {folder for folder in nets.net_folders(recipe) if folder is not None}
    return sum(_parameters(control_nets.weights_file(folder)) for folder in folders)


def _branches(recipe: Recipe) -> int:
    """Maximum number of guidance branches per UNet call."""
    weights = guidance.weights(recipe.guidance_scale, recipe.image_guidance_scale)
    return len(guidance.branches(weights if recipe.guided_steps() else guidance.OFF))


def _parameters(path: Path) -> int:
    """Number of parameters in a safetensors file, from its header; 0 if it is not one."""
    try:
        shapes = read_shapes(path)
    except ModelError:
        return 0
    return sum(math.prod(shapes[name]) for name in shapes if not name.startswith(_AVERAGES))
