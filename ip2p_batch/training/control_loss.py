"""The training loss of a control net: the edit model's own, with the model frozen.

The net sees the hint and the noisy latents of the edited image; the UNet sees the source and the
instruction, too. Where the source is dropped, only the hint says where edges are, so the net learns
to say it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..editing.control.nets import fitted
from ..errors import RecipeError
from ..models import net_checks
from .denoising import DenoisingLoss, Objective
from .trainer import Batch

#: Fraction of the examples without text, the same without source, and the same without both: the
#: text is dropped in half of the examples, as in the ControlNet paper, and so is the source.
CONDITIONING_DROPOUT = 0.25


class ControlObjective(Objective, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a control net's loss, in addition to those of :class:`Objective`.

    Attributes:
        max_guidance_scale: largest text scale of the predictions whose error is the loss, at least
            1. Each example's scale is drawn log-uniformly from 1 to this. 1 is the usual loss: the
            error of the prediction with text. With guidance, the net also learns to keep edges that
            a strong text scale would wash out; a step takes twice as long.

    Raises:
        RecipeError: the scale is below 1.
    """

    conditioning_dropout: float = CONDITIONING_DROPOUT
    max_guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.max_guidance_scale < 1:
            raise RecipeError(
                f"max_guidance_scale is {self.max_guidance_scale}; it must be at least 1."
            )


class ControlLoss(DenoisingLoss):
    """The loss of an edit with a control net; only the net is trained.

    A batch has the keys of :class:`~ip2p_batch.training.denoising.DenoisingLoss` and these:

    - ``hint``: values in [0, 1], shape ``(batch, 3, height, width)`` in pixels;
    - ``empty_ids``: token ids of the empty text, shape ``(batch, tokens)``; they are read if
      ``objective.max_guidance_scale`` is above 1.

    Args:
        net: diffusers' ``ControlNetModel`` or ``T2IAdapter``.
        unet, text_encoder, vae, scheduler, objective: as for the base class. Their parameters are
            frozen.
        factor: pixels of an image for each element of the latents, along each axis.
    """

    objective: ControlObjective

    def __init__(
        self,
        net: Any,
        unet: Any,
        text_encoder: Any,
        vae: Any,
        scheduler: Any,
        objective: ControlObjective,
        factor: int,
    ) -> None:
        super().__init__(unet, text_encoder, vae, scheduler, objective)
        for part in (unet, text_encoder, vae):
            if part is not None:
                part.requires_grad_(requires_grad=False)
        self.net = net
        #: Whether the net acts; without it, the loss is the plain model's.
        self.with_net = True
        self._is_adapter = type(net).__name__ == net_checks.ADAPTER
        if self._is_adapter:
            self._made = net_checks.adapter_features(net.config)
            self._places = net_checks.unet_places(unet.config, factor)

    def predict(
        self,
        noisy: torch.Tensor,
        source: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        batch: Batch,
    ) -> torch.Tensor:
        if not self.with_net:
            return super().predict(noisy, source, timesteps, text, batch)
        largest = self.objective.max_guidance_scale
        if largest == 1:
            residuals = self._residuals(noisy, timesteps, text, batch["hint"])
            return self.unet_output(noisy, source, timesteps, text, **residuals)
        # Classifier-free guidance over text (Ho and Salimans, 2022), as in sampling with s_I = 1.
        scale = log_uniform(torch.rand(len(noisy), device=noisy.device), largest)
        empty = self.text_encoder(batch["empty_ids"])[0]
        noisy, source, timesteps = (torch.cat([x, x]) for x in (noisy, source, timesteps))
        text = torch.cat([text, empty])
        residuals = self._residuals(noisy, timesteps, text, batch["hint"])
        both = self.unet_output(noisy, source, timesteps, text, **residuals)
        with_text, without = both.float().chunk(2)
        return without + scale[:, None, None, None] * (with_text - without)

    def _residuals(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        hint: torch.Tensor,
    ) -> dict[str, Any]:
        """The arguments of the UNet that hold the net's output.

        ``hint`` may be of half as many examples as the others.
        """
        if self._is_adapter:
            features = fitted(self.net(hint), self._made, self._places)
            repeats = len(noisy) // len(hint)
            return {
                "down_intrablock_additional_residuals": [
                    feature.repeat(repeats, 1, 1, 1) for feature in features
                ]
            }
        hint = hint.repeat(len(noisy) // len(hint), 1, 1, 1)
        down, middle = self.net(noisy, timesteps, text, controlnet_cond=hint, return_dict=False)
        return {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }


def log_uniform(uniform: torch.Tensor, largest: float) -> torch.Tensor:
    """Values from 1 to ``largest`` whose logarithms are uniform.

    >>> log_uniform(torch.tensor([0.0, 0.5, 1.0]), 9.0)
    tensor([1., 3., 9.])
    """
    return torch.exp(uniform * math.log(largest))
