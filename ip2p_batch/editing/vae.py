"""Pictures to latents and back, through a model's autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..frame import Image

Tensor = torch.Tensor


class Autoencoder:
    """An autoencoder on one device, behind one scale.

    InstructPix2Pix is shown its source as *unscaled* latents, the mode that Stable Diffusion's own
    encoder gives; the states that its UNet denoises are *scaled*, by ``scaling_factor``. TAESD
    (https://github.com/madebyollin/taesd), the small one that can stand in for that autoencoder,
    reads and gives scaled latents, so those of its encoder have to be divided.

    Args:
        vae: diffusers' ``AutoencoderKL`` or ``AutoencoderTiny``, in whatever precision.
        scaled: whether it reads and gives scaled latents, as TAESD does.
        device: where it lies.
        scaling_factor: scaled latents per unscaled ones, of the model that the UNet was trained
            with (0.18215 for Stable Diffusion 1.5).

    Attributes:
        scaling_factor: as given.
        vae: as given.
    """

    def __init__(self, vae: Any, device: str, scaling_factor: float, *, scaled: bool) -> None:
        self.scaling_factor = scaling_factor
        self.vae = vae
        self._device = device
        self._scaled = scaled

    def encode(self, images: Sequence[Image]) -> Tensor:
        """Unscaled latents of source pictures: the condition that the UNet is trained on.

        Args:
            images: uint8 RGB of one shape, sides multiples of 8.

        Returns:
            Shape ``(frames, channels, height, width)``, in the autoencoder's precision.
        """
        # As bytes, a quarter of what floats would be; the arithmetic is the device's.
        pixels = _upload(torch.from_numpy(np.stack(images)), self._device)
        tensor = 2.0 * (pixels.permute(0, 3, 1, 2).float() / 255.0) - 1.0
        encoded = self.vae.encode(tensor.to(self.vae.dtype))
        # AutoencoderTiny has no distribution.
        known = hasattr(encoded, "latent_dist")
        found: Tensor = encoded.latent_dist.mode() if known else encoded.latents
        return found / self.scaling_factor if self._scaled else found

    def decode(self, latents: Tensor) -> tuple[list[Image], list[int]]:
        """Pictures of finished latents.

        Args:
            latents: scaled, shape ``(frames, channels, height, width)``.

        Returns:
            uint8 RGB pictures, and the numbers of those that are not finite; see ``rescue``.
        """
        vae = self.vae
        ready = latents if self._scaled else latents / self.scaling_factor
        pixels: Tensor = vae.decode(ready.to(vae.dtype), return_dict=False)[0].float()
        bad = [int(i) for i in _not_finite(pixels).nonzero().flatten()]
        shown = torch.nan_to_num((pixels / 2 + 0.5).clamp(0, 1))
        array = (shown.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
        return [np.ascontiguousarray(image) for image in array], bad


def _upload(values: Tensor, device: str) -> Tensor:
    """On its device; from pinned memory, so that the copy does not wait for what runs there."""
    if not device.startswith("cuda"):
        return values
    return values.pin_memory().to(device, non_blocking=True)


def _not_finite(values: Tensor) -> Tensor:
    return ~torch.isfinite(values).flatten(1).all(dim=1)
