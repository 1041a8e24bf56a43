"""What control nets add to one UNet call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """What is added inside a UNet, of all nets together.

    Attributes:
        control: of ControlNets: to the UNet's skips, from outside to inside, and last to its middle
            block; empty: nothing is added.
        features: of T2I-Adapters: in the UNet's down blocks; empty: nothing is added.
    """

    control: Sequence[Tensor] = ()
    features: Sequence[Tensor] = ()

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of diffusers' ``UNet2DConditionModel``.

        Lists are new ones: the UNet takes their elements out.
        """
        values: dict[str, Any] = {}
        if self.control:
            values["down_block_additional_residuals"] = tuple(self.control[:-1])
            values["mid_block_additional_residual"] = self.control[-1]
        if self.features:
            values["down_intrablock_additional_residuals"] = list(self.features)
        return values

    def first(self, samples: int) -> Residuals:
        """Those of the first samples; samples are sorted by branch."""
        return Residuals(
            [tensor[:samples] for tensor in self.control],
            [tensor[:samples] for tensor in self.features],
        )


#: Nothing is added.
NOTHING = Residuals()


def summed(lists: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The element-wise sum of lists of tensors."""
    total = list(lists[0])
    for tensors in lists[1:]:
        total = [a + b for a, b in zip(total, tensors, strict=True)]
    return total


def by_branch(tensor: Tensor, frames: int, branches: int, *, text_only: bool) -> Tensor:
    """A tensor of frames as one of samples, sorted by branch, text first.

    Args:
        tensor: ``(frames, ...)``, the same for all branches, or ``(2 * frames, ...)``, for the text
            branch and for the others, which have one text.
        text_only: zeros for all branches but the text.
    """
    text, others = tensor[:frames], tensor[-frames:]
    if text_only:
        others = torch.zeros_like(text)
    return torch.cat([text, *[others] * (branches - 1)])
