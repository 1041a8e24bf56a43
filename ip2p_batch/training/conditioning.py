"""What makes a text-to-image model an InstructPix2Pix: conditions, and doing without them.

Brooks, Holynski and Efros, "InstructPix2Pix: Learning to Follow Image Editing Instructions",
CVPR 2023, sections 3.2 and 3.2.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Channels of the latents that are denoised; the picture's own latents come behind them.
LATENT_CHANNELS = 4


def dropped(chance: torch.Tensor, share: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    """Which examples do without their text, and which without their picture.

    A share of each: text alone, both, picture alone, so that the model learns all the terms of
    its two-scale guidance, e(z, picture, text), e(z, picture) and e(z).

    Args:
        chance: uniform in [0, 1), shape ``(batch,)``.
        share: of each of the three kinds, 0 to 1/3; the paper's is 0.05.

    Returns:
        ``(no_text, no_picture)``, bool, shape ``(batch,)``.

    >>> import torch
    >>> dropped(torch.tensor([0.01, 0.06, 0.12, 0.2]))
    (tensor([ True,  True, False, False]), tensor([False,  True,  True, False]))
    """
    if not 0 <= share <= 1 / 3:
        raise ValueError(f"share is {share}; it must be from 0 to 1/3")
    no_text = chance < 2 * share
    no_picture = (chance >= share) & (chance < 3 * share)
    return no_text, no_picture


def widen(unet: Any, channels: int = 2 * LATENT_CHANNELS) -> Any:
    """Let a plain diffusion UNet take the picture's latents beside the noisy ones, in place.

    Its first convolution gets more input channels, whose weights are zero: before any training
    it gives exactly what it gave without them.

    Args:
        unet: a diffusers ``UNet2DConditionModel``; one that is wide enough is left alone.
        channels: input channels wanted.

    Returns:
        The same UNet.

    Raises:
        ValueError: it already takes more channels than ``channels``.
    """
    old = unet.conv_in
    if old.in_channels == channels:
        return unet
    if old.in_channels > channels:
        raise ValueError(f"the UNet takes {old.in_channels} channels, more than {channels}")
    new = nn.Conv2d(
        channels, old.out_channels, old.kernel_size, old.stride, old.padding,
        device=old.weight.device, dtype=old.weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias = nn.Parameter(old.bias.detach().clone())
    unet.conv_in = new
    unet.register_to_config(in_channels=channels)
    return unet
