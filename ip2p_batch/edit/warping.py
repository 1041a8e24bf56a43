"""Latents moved along the optical flow of the source."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..flow import Motion


def warp(latents: torch.Tensor, motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference latents moved to where the target has them, and how far to trust them.

    Args:
        latents: shape ``(channels, height, width)``, on the CPU.
        motion: of :func:`ip2p_batch.flow.backward_flow`.

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


def warp_noise(noise: torch.Tensor, motion: Motion) -> torch.Tensor:
    """Noise moved along the flow, each value whole: nearest neighbour, so that it stays Gaussian.

    Interpolating would average neighbours and weaken the noise (Chang et al., "How I Warped Your
    Noise", ICLR 2024). Where nothing is found the noise stays in its place. Values that are found
    twice stand twice: the noise is no longer white there.

    Args:
        noise: shape ``(channels, height, width)``, on the CPU.
    """
    height, width = noise.shape[-2:]
    flow = cv2.resize(motion.flow, (width, height), interpolation=cv2.INTER_AREA)
    lost = cv2.resize(
        motion.occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    rows, columns = np.mgrid[:height, :width]
    x = np.clip(np.rint(columns + flow[..., 0] * width), 0, width - 1).astype(np.int64)
    y = np.clip(np.rint(rows + flow[..., 1] * height), 0, height - 1).astype(np.int64)
    stays = lost > 0.5
    x[stays], y[stays] = columns[stays], rows[stays]
    return noise[:, torch.from_numpy(y), torch.from_numpy(x)]
