"""The bundled model's autoencoder: diffusers' ``AutoencoderTiny``, trained from scratch.

It encodes 4x4 pixels as one latent pixel. The architecture is that of TAESD (Ollin Boer Bohan,
2023): only convolutions and ReLU, so it is fast on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

from ip2p_batch.training.tensors import images_to_tensor
from ip2p_batch.training.trainer import Batch

from .crops import Crops


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of the autoencoder.

    Attributes:
        channels: channels of every layer.
        latent_channels: channels of the latents.
        encoder_blocks, decoder_blocks: residual blocks per resolution, in order of use.
    """

    channels: int = 64
    latent_channels: int = 12
    encoder_blocks: tuple[int, ...] = (0, 1, 4)
    decoder_blocks: tuple[int, ...] = (5, 1, 0)


def build(architecture: Architecture) -> Any:
    """Return an untrained autoencoder; its initial weights preserve the variance of activations."""
    levels = len(architecture.encoder_blocks)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(architecture.channels,) * levels,
        decoder_block_out_channels=(architecture.channels,) * levels,
        num_encoder_blocks=architecture.encoder_blocks,
        num_decoder_blocks=architecture.decoder_blocks,
        latent_channels=architecture.latent_channels,
        scaling_factor=1.0,
        shift_factor=0.0,
    )
    position_in_block = {
        id(conv): position
        for block in vae.modules()
        if isinstance(block, AutoencoderTinyBlock)
        for position, conv in enumerate(c for c in block.conv if isinstance(c, nn.Conv2d))
    }
    for conv in vae.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        if position_in_block.get(id(conv)) == 2:  # the last: the block starts near the identity
            conv.weight.data *= 0.2
    return vae.to(memory_format=torch.channels_last)


@torch.no_grad()
def normalize(vae: Any, images: torch.Tensor) -> None:
    """Scale the last layers: latents get mean 0 and variance 1, images the variance of ``images``.

    Args:
        vae: an untrained autoencoder from :func:`build`; changed in place.
        images: values -1 to 1, shape ``(batch, 3, height, width)``.
    """
    last = vae.encoder.layers[-1]
    latents = vae.encode(images).latents
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    last.weight /= std[:, None, None, None]
    last.bias.copy_((last.bias - mean) / std)
    decoded = vae.decode(vae.encode(images).latents).sample
    vae.decoder.layers[-1].weight *= images.std() / decoded.std()


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the absolute error, the squared error, and the absolute error of pixel differences.

    The error of differences between neighboring pixels keeps thin lines (pencil, blueprint).
    """

    def differences(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]

    gradient_error = sum(
        (a - b).abs().mean() for a, b in zip(differences(output), differences(target), strict=True)
    )
    error = output - target
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * gradient_error


class AutoencoderTask:
    """Reconstruct crops and their edits; a :class:`~ip2p_batch.training.trainer.TrainingTask`.

    Args:
        vae: an autoencoder from :func:`build`.
        crops: the images to reconstruct.
        side: side in pixels of the squares that are cut out of the crops.
        held_out: uint8 images that are not trained on, for :meth:`validate`.
    """

    def __init__(self, vae: Any, crops: Crops, side: int, held_out: np.ndarray) -> None:
        self.vae, self.crops, self.side = vae, crops, side
        self.held_out = held_out
        self.model: nn.Module = _Reconstruction(vae)

    def batch(self, size: int, seed: int) -> Batch:
        rng = np.random.default_rng(seed)
        max_offset = self.crops.sources.shape[1] - self.side
        squares = []
        for _ in range(size):
            crop = rng.integers(len(self.crops))
            edit = rng.integers(self.crops.edits.shape[1])
            image = (
                self.crops.sources[crop] if rng.random() < 0.4 else self.crops.edited[crop, edit]
            )
            top, left = rng.integers(0, max_offset + 1, 2)
            square = image[top : top + self.side, left : left + self.side]
            squares.append(square[:, ::-1] if rng.random() < 0.5 else square)
        return {"images": images_to_tensor(np.stack(squares))}

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        return {"psnr": reconstruction_psnr(self.vae, self.held_out)}


class _Reconstruction(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, batch: Batch) -> torch.Tensor:
        images = batch["images"].contiguous(memory_format=torch.channels_last)
        latents = self.vae.encode(images).latents
        # Each channel should have mean 0 and variance 1, like the diffusion's noise. The decoder
        # is trained on slightly noisy latents, because the diffusion leaves some noise.
        mean, std = latents.float().mean((0, 2, 3)), latents.float().std((0, 2, 3))
        latent_penalty = mean.square().mean() + (std - 1).square().mean()
        noisy = latents + 0.04 * torch.randn_like(latents)
        output = self.vae.decode(noisy).sample.float()
        loss: torch.Tensor = reconstruction_loss(output, images) + 0.05 * latent_penalty
        return loss


@torch.no_grad()
def reconstruction_psnr(vae: Any, images: np.ndarray) -> float:
    """Return the mean PSNR, in dB, of 8-bit images after encoding and decoding."""
    total = 0.0
    for image in images:
        values = images_to_tensor(image[None]).contiguous(memory_format=torch.channels_last)
        output = vae.decode(vae.encode(values).latents).sample.clamp(-1, 1)
        error = ((output - values) * 127.5).round().square().mean().clamp_min(1e-6)
        total += float(10 * torch.log10(255**2 / error))
    return total / len(images)


@torch.no_grad()
def latent_std(vae: Any, crops: Crops, count: int = 64) -> float:
    """Return the standard deviation of edited crops' latents, the inverse of the scaling factor."""
    chosen = np.linspace(0, len(crops) - 1, min(count, len(crops))).astype(int)
    latents = [vae.encode(images_to_tensor(crops.edited[n, 0][None])).latents for n in chosen]
    return float(torch.cat(latents).std())
