"""Encode images to latents and decode them with a model's VAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..frame import Image

Tensor = torch.Tensor


class VaeCodec:
    """A VAE on one device that takes unscaled source latents apart from scaled noisy latents.

    InstructPix2Pix is conditioned on *unscaled* latents of its source, the mode of Stable
    Diffusion's VAE; the latents that its UNet denoises are *scaled* by ``scaling_factor``. TAESD
    (https://github.com/madebyollin/taesd), a small VAE that can replace Stable Diffusion's, reads
    and returns scaled latents, so those of its encoder are divided.

    Args:
        vae: diffusers' ``AutoencoderKL`` or ``AutoencoderTiny``, in any precision.
        scaled: whether it reads and returns scaled latents, as TAESD does.
        device: where the VAE is.
        scaling_factor: of the VAE that the UNet was trained with (0.18215 for Stable Diffusion
            1.5).

    Attributes:
        scaling_factor: as given.
        vae: as given.
        device: as given.
    """

    def __init__(self, vae: Any, device: str, scaling_factor: float, *, scaled: bool) -> None:
        self.scaling_factor = scaling_factor
        self.vae = vae
        self.device = device
        self._scaled = scaled

    @property
    def factor(self) -> int:
        """Pixels of an image per latent along each axis: 8 for Stable Diffusion."""
        # Every block but the last halves the sides.
        return 1 << (len(self.vae.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.vae.config.latent_channels)

    def encode(self, images: Sequence[Image]) -> Tensor:
        """Encode source images to unscaled latents, the UNet's image condition.

        Args:
            images: uint8 RGB of one shape, sides multiples of 8.

        Returns:
            Shape ``(frames, channels, height, width)``, in the VAE's precision.
        """
        # Uploaded as bytes, a quarter of the size of floats.
        pixels = _upload(torch.from_numpy(np.stack(images)), self.device)
        tensor = 2.0 * (pixels.permute(0, 3, 1, 2).float() / 255.0) - 1.0
        encoded = self.vae.encode(tensor.to(self.vae.dtype))
        # AutoencoderTiny has no distribution.
        has_mode = hasattr(encoded, "latent_dist")
        latents: Tensor = encoded.latent_dist.mode() if has_mode else encoded.latents
        return latents / self.scaling_factor if self._scaled else latents

    def decode(self, latents: Tensor) -> tuple[list[Image], list[int]]:
        """Decode finished latents to images.

        Args:
            latents: scaled, shape ``(frames, channels, height, width)``.

        Returns:
            uint8 RGB images, and the positions of those that were not finite; see
            :mod:`.float32_fallback`.
        """
        values = self.decode_values(latents)
        bad = [int(i) for i in not_finite(values).nonzero().flatten()]
        array = to_pixels(values).permute(0, 2, 3, 1).cpu().numpy()
        return [np.ascontiguousarray(image) for image in array], bad

    def decode_values(self, latents: Tensor) -> Tensor:
        """Decode finished latents to values that are not rounded yet.

        Args:
            latents: as for :meth:`decode`.

        Returns:
            RGB, 0 for black and 1 for white, float32, shape ``(frames, 3, height, width)``.
        """
        own_scale = latents if self._scaled else latents / self.scaling_factor
        pixels: Tensor = self.vae.decode(own_scale.to(self.vae.dtype), return_dict=False)[0].float()
        return pixels / 2 + 0.5


def to_pixels(values: Tensor) -> Tensor:
    """Round values from 0 to 1 to uint8 pixels; values that are not finite become black."""
    return (torch.nan_to_num(values.clamp(0, 1)) * 255).round().to(torch.uint8)


def not_finite(values: Tensor) -> Tensor:
    """Which elements of the first axis hold a value that is not finite."""
    return ~torch.isfinite(values).flatten(1).all(dim=1)


def _upload(values: Tensor, device: str) -> Tensor:
    """Copy to the device; from pinned memory, so that the copy need not wait for running work."""
    if not device.startswith("cuda"):
        return values
    return values.pin_memory().to(device, non_blocking=True)
