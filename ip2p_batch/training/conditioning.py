"""Conditioning of InstructPix2Pix: dropout of the conditions, and the UNet's second image input.

Brooks, Holynski and Efros, "InstructPix2Pix: Learning to Follow Image Editing Instructions",
CVPR 2023, sections 3.2 and 3.2.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Channels of the noisy latents. The source image's latents are concatenated after them.
LATENT_CHANNELS = 4


def dropout_masks(
    uniform: torch.Tensor, fraction: float = 0.05
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the examples that are trained without text, without image, and without both.

    Each of the three cases gets ``fraction`` of the examples, so that the model learns every term
    of its two-scale guidance: e(z, image, text), e(z, image) and e(z).

    Args:
        uniform: uniform random numbers in [0, 1), shape ``(batch,)``.
        fraction: fraction of each of the three cases, 0 to 1/3; 0.05 in the paper.

    Returns:
        ``(drop_text, drop_image)``, bool, shape ``(batch,)``.

    Raises:
        ValueError: ``fraction`` is out of range.

    >>> import torch
    >>> dropout_masks(torch.tensor([0.01, 0.06, 0.12, 0.2]))
    (tensor([ True,  True, False, False]), tensor([False,  True,  True, False]))
    """
    if not 0 <= fraction <= 1 / 3:
        raise ValueError(f"fraction is {fraction}; it must be from 0 to 1/3")
    drop_text = uniform < 2 * fraction
    drop_image = (uniform >= fraction) & (uniform < 3 * fraction)
    return drop_text, drop_image


def widen_unet_input(unet: Any, channels: int = 2 * LATENT_CHANNELS) -> Any:
    """Add input channels to a text-to-image UNet, in place, for the source image's latents.

    The new weights of the first convolution are zero, so the output does not change before
    training.

    Args:
        unet: a diffusers ``UNet2DConditionModel``; returned unchanged if it is wide enough.
        channels: input channels wanted.

    Returns:
        The same UNet.

    Raises:
        ValueError: it has more input channels than ``channels``.
    """
    old = unet.conv_in
    if old.in_channels == channels:
        return unet
    if old.in_channels > channels:
        raise ValueError(f"the UNet has {old.in_channels} input channels, more than {channels}")
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
