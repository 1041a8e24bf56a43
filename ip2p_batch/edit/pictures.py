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

    Returns:
        uint8 RGB pictures, and the numbers of those that are not finite; see ``rescue``.
    """
    scaled = latents / vae.config.scaling_factor
    pixels: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()
    bad = [int(i) for i in _not_finite(pixels).nonzero().flatten()]
    images = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    finite = np.nan_to_num(images)
    return [np.ascontiguousarray(i) for i in (finite * 255).round().astype(np.uint8)], bad


def _not_finite(values: Tensor) -> Tensor:
    return ~torch.isfinite(values).flatten(1).all(dim=1)
