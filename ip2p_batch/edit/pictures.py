"""Pictures to latents and back, through a model's autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..frame import Image

Tensor = torch.Tensor


def encode(vae: Any, images: Sequence[Image], device: str) -> Tensor:
    """Unscaled latents of source pictures: the condition that the UNet is trained on.

    Args:
        images: uint8 RGB of one shape, sides multiples of 8.

    Returns:
        Shape ``(frames, channels, height, width)``, in the autoencoder's precision.
    """
    pixels = np.stack(images).astype(np.float32) / 255.0
    tensor = 2.0 * torch.from_numpy(pixels.transpose(0, 3, 1, 2)) - 1.0
    encoded = vae.encode(tensor.to(device, vae.dtype))
    # AutoencoderTiny has no distribution.
    found = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return torch.as_tensor(found)


def decode(vae: Any, latents: Tensor) -> tuple[list[Image], list[int]]:
    """Pictures of finished latents.

    fp16 overflows in some autoencoders and gives black pictures (diffusers #1484): a picture that
    is not finite is decoded again in float32, alone, so that the others keep their bits.

    Returns:
        uint8 RGB pictures, and the numbers of those that are not finite even so.
    """
    scaled = latents / vae.config.scaling_factor
    pixels: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()
    bad = _not_finite(pixels)
    if bad.any():
        pixels[bad] = _decode_in_float32(vae, scaled[bad])
    left = [int(i) for i in _not_finite(pixels).nonzero().flatten()]
    images = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    finite = np.nan_to_num(images)
    return [np.ascontiguousarray(i) for i in (finite * 255).round().astype(np.uint8)], left


def _not_finite(values: Tensor) -> Tensor:
    return ~torch.isfinite(values).flatten(1).all(dim=1)


def _decode_in_float32(vae: Any, scaled: Tensor) -> Tensor:
    before = vae.dtype
    vae.to(torch.float32)
    try:
        pixels: Tensor = vae.decode(scaled.float(), return_dict=False)[0]
    finally:
        vae.to(before)
    return pixels
