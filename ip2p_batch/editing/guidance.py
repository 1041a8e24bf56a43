"""Classifier-free guidance with two conditions: the instruction and the image.

InstructPix2Pix (Brooks, Holynski, Efros; CVPR 2023), equation 3::

    eps = eps(0,0) + s_I [eps(I,0) - eps(0,0)] + s_T [eps(I,T) - eps(I,0)]

which, sorted by branch, is ``s_T eps_IT + (s_I - s_T) eps_I + (1 - s_I) eps_0``. A branch whose
weight is zero need not be computed: at s_I = 1 that saves a third of the work. In steps without
guidance only eps_IT is, at weight 1 (Kynkaanniemi et al., NeurIPS 2024, "Applying Guidance in a
Limited Interval": guidance early and late costs more than it gives).

Importing this module does not load torch, so that a plan can count branches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import torch

Branch = Literal["text", "image", "none"]


class Weights(NamedTuple):
    """Weight of each branch; they sum to 1."""

    text: float
    image: float
    none: float


#: No guidance: the prediction for text and image alone.
OFF = Weights(1.0, 0.0, 0.0)


def weights(guidance_scale: float, image_guidance_scale: float) -> Weights:
    """Branch weights for s_T and s_I.

    As in diffusers, guidance is off, and only the text branch counts, unless s_T > 1 and
    s_I >= 1.
    """
    if guidance_scale <= 1 or image_guidance_scale < 1:
        return OFF
    return Weights(guidance_scale, image_guidance_scale - guidance_scale, 1 - image_guidance_scale)


def branches(w: Weights) -> tuple[Branch, ...]:
    """The branches with a weight, in the order text, image, none; others need not be computed."""
    names: tuple[Branch, ...] = ("text", "image", "none")
    return tuple(n for n, v in zip(names, w, strict=True) if v != 0)


def combine(outputs: torch.Tensor, w: Weights) -> torch.Tensor:
    """Sum the branches by weight.

    Args:
        outputs: shape ``(branches, frames, channels, height, width)``, the branches that
            :func:`branches` names, in that order.

    Returns:
        Shape ``(frames, channels, height, width)``, float32.
    """
    outputs = outputs.float()
    scale = outputs.new_tensor([v for v in w if v != 0])
    return (outputs * scale.view(-1, 1, 1, 1, 1)).sum(dim=0)
