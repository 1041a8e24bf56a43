"""Warp latents along the optical flow of the source."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..temporal.flow import Motion


def warp(latents: torch.Tensor, motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """Warp a reference frame's latents to the target frame, and weight them by visibility.

    Args:
        latents: shape ``(channels, height, width)``, on the CPU.
        motion: of :func:`ip2p_batch.temporal.flow.backward_flow`.

    Returns:
        Warped latents of the same shape, and weights from 0 (occluded) to 1, shape
        ``(height, width)``.
    """
    flow, occluded = motion
    height, width = latents.shape[-2:]
    fitted = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA)
    visible = cv2.resize(
        1 - occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    # grid_sample's coordinates run from -1 to 1 over the outer edges of the pixels.
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    grid = (grid + torch.from_numpy(fitted)) * 2 - 1
    result = torch.nn.functional.grid_sample(
        latents[None].float(),
        grid[None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return result[0], torch.from_numpy(visible)
