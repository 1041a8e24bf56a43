"""How much memory a worker needs, from the model's files alone: no weights are loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec

from .. import models
from ..recipe import DEFAULT_MODEL, Recipe

#: Parameters of ``timbrooks/instruct-pix2pix``: UNet 859.5 M, text encoder 123.1 M, VAE 83.7 M.
_DEFAULT_PARAMETERS = 1_066_300_000
#: Channels of its UNet and VAE, from the finest level to the coarsest.
_UNET_CHANNELS = (320, 640, 1280, 1280)
_VAE_CHANNELS = (128, 256, 512, 512)
#: Working memory in maps: of the UNet's finest channels at latent size, and of the second-finest
#: channels of the VAE, whose decoder's last block has them at full size. From the peak resident
#: size on the CPU in float32 at 512x512: UNet 0.68 GB for three branches, decoder 1.04 GB.
_UNET_MAPS = 44
_VAE_MAPS = 4
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate, in bytes.

    Attributes:
        dtype: the precision it holds for.
        weights: of UNet, text encoder and VAE.
        frame: working memory for each frame of a batch.
    """

    dtype: str
    weights: int
    frame: int


def memory(recipe: Recipe, width: int, height: int, *, gpu: bool) -> Memory | None:
    """What the recipe's model needs to edit frames of ``width`` x ``height`` pixels.

    None where the model is not on this machine and not the default one. ``gpu`` decides what
    ``--dtype auto`` means.
    """
    dtype = recipe.dtype if recipe.dtype != "auto" else ("float16" if gpu else "float32")
    folder = Path(models.locate(recipe.model))
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
    # Three branches (two where s_I is 1) go through the UNet together.
    branches = 2 if recipe.image_guidance_scale == 1 else 3
    scale = 2 ** (len(vae) - 1)
    tokens = (width // scale) * (height // scale)
    unet_peak = branches * tokens * each * _UNET_MAPS * unet[0]
    vae_peak = width * height * each * _VAE_MAPS * vae[min(1, len(vae) - 1)]
    return Memory(dtype=dtype, weights=parameters * each, frame=max(unet_peak, vae_peak))


def _parameters(path: Path) -> int:
    """Numbers in a safetensors file, by its header; 0 where it is not one."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return 0
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def _channels(config: Path, default: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(int(c) for c in json.loads(config.read_bytes())["block_out_channels"])
    except (OSError, ValueError, KeyError, TypeError):
        return default
