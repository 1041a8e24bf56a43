"""Optical flow between two source frames, without weights: DIS, with a check for occlusion."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ..frame import Image

#: Flow is computed at this longest side; latents are smaller still.
LONGEST_SIDE = 256
#: ... and at no shorter side than this: below about 32 rows OpenCV's DIS gives NaN or crashes.
SHORTEST_SIDE = 64
#: A pixel whose neighbourhood differs by more than this many grey levels was not found.
_LARGEST_GAP = 24

Flow = npt.NDArray[np.float32]


def backward_flow(target: Image, reference: Image) -> tuple[Flow, npt.NDArray[np.bool_]]:
    """Where each pixel of ``target`` is found in ``reference``, and where it is not.

    DIS (Kroeger et al., ECCV 2016, "Fast Optical Flow using Dense Inverse Search"), both ways. A
    pixel counts as occluded where forward flow f and backward flow b do not cancel out
    (Sundaram, Brox, Keutzer, ECCV 2010): ``|f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5``; and where
    it looks unlike what was found, since a search that fails both ways gives two small flows that
    do cancel out.

    Args:
        target, reference: images of one shape.

    Returns:
        Flow in units of the image's width and height, shape ``(h, w, 2)``, such that
        ``target(p)`` looks like ``reference(p + flow(p))``; and the occlusion mask, ``(h, w)``.
        Both at working size: sides from :data:`SHORTEST_SIDE` to :data:`LONGEST_SIDE`.
    """
    height, width = target.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (
        max(SHORTEST_SIDE, round(width * scale)),
        max(SHORTEST_SIDE, round(height * scale)),
    )
    # DIS parts the picture among threads: one, so that the result cannot depend on the machine.
    cv2.setNumThreads(1)
    small = [_gray(image, size) for image in (target, reference)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    forward = dis.calc(small[0], small[1], None)
    backward = dis.calc(small[1], small[0], None)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    at = (x + forward[..., 0], y + forward[..., 1])
    found = cv2.remap(
        backward,
        *at,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(1e4, 1e4),  # outside the reference: never cancels out
    )
    gap = np.square(forward + found).sum(-1)
    bound = 0.01 * (np.square(forward).sum(-1) + np.square(found).sum(-1)) + 0.5
    looks = cv2.remap(small[1], *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unlike = cv2.blur(cv2.absdiff(small[0], looks), (5, 5)) > _LARGEST_GAP
    outside = np.abs(found).max(-1) > 5e3
    occluded = (gap > bound) | outside | unlike
    return forward / np.array(size, dtype=np.float32), occluded


def warp(
    latents: torch.Tensor, flow: Flow, occluded: npt.NDArray[np.bool_]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference latents moved to where the target has them, and how far to trust them.

    Args:
        latents: shape ``(channels, height, width)``, on the CPU.
        flow, occluded: of :func:`backward_flow`.

    Returns:
        Warped latents of the same shape, and weights from 0 (occluded) to 1, shape
        ``(height, width)``.
    """
    height, width = latents.shape[-2:]
    moved = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA)
    visible = cv2.resize(
        1 - occluded.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    # grid_sample's coordinates run from -1 to 1 over the outer edges of the pixels.
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    grid = (grid + torch.from_numpy(moved)) * 2 - 1
    result = torch.nn.functional.grid_sample(
        latents[None].float(),
        grid[None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return result[0], torch.from_numpy(visible)


def _gray(image: Image, size: tuple[int, int]) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
