"""Reuse of deep features: most of a UNet is run in every N-th step only.

From one denoising step to the next the features deep inside a UNet change little, while its
outermost layers, at full resolution, follow the noise. After a step that runs everything, the next
``N - 1`` run only the outermost layers, and take what comes from below as it was (Ma, Fang, Wang:
"DeepCache", CVPR 2024, arXiv 2312.00858). It is an approximation; docs/performance.md has its
price.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ModelError

Tensor = torch.Tensor
#: Layers of the first block, counted from outside, that run in every step.
KEEP = 1


class DeepFeatures:
    """A UNet that can be run whole, remembering its deep features, or only around them.

    Args:
        unet: ``UNet2DConditionModel`` of Stable Diffusion's kind; it is called, not changed.
        keep: layers of the first down block that run in every step; of the last up block one
            more do, since that one has one more.

    Raises:
        ModelError: the UNet is built otherwise.
    """

    def __init__(self, unet: Any, keep: int = KEEP) -> None:
        down, up = unet.down_blocks[0], unet.up_blocks[-1]
        if (
            len(up.resnets) != len(down.resnets) + 1
            or getattr(unet, "class_embedding", None) is not None
            or unet.config.addition_embed_type not in (None, "text")
            or unet.config.center_input_sample
        ):
            raise ModelError(
                "--deepcache-interval works with UNets of Stable Diffusion 1 and 2 only.",
                hint="Leave --deepcache-interval out.",
            )
        self._unet = unet
        self._down = _layers(down)[: min(keep, len(down.resnets))]
        self._up = _layers(up)[-len(self._down) - 1 :]
        # The layer's input is [what comes from below ; the skip], and the skip of the layer at
        # which shallow steps set in is what the last layer kept of the down block gives.
        first = self._up[0][0]
        self._width = first.in_channels - self._down[-1][0].out_channels
        self._caught: Tensor | None = None

    def whole(self, sample: Tensor, time: Any, texts: Tensor) -> tuple[Tensor, Tensor]:
        """All of the UNet.

        Args:
            sample: shape ``(samples, channels, height, width)``.
            texts: shape ``(samples, tokens, width)``.

        Returns:
            Its output, as it is without this class; and the deep features.
        """
        with self._catching():
            output = self._unet(sample, time, encoder_hidden_states=texts, return_dict=False)[0]
        assert self._caught is not None
        deep, self._caught = self._caught, None
        return output, deep

    def around(self, sample: Tensor, time: Any, texts: Tensor, deep: Tensor) -> Tensor:
        """The outermost layers alone, around deep features of an earlier step."""
        unet = self._unet
        embedding = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=time))
        if unet.config.addition_embed_type == "text":
            embedding = embedding + unet.add_embedding(texts)
        if unet.time_embed_act is not None:
            embedding = unet.time_embed_act(embedding)
        hidden = unet.conv_in(sample)
        skips = [hidden]
        for layer in self._down:
            hidden = _run(layer, hidden, embedding, texts)
            skips.append(hidden)
        hidden = deep
        for layer in self._up:
            hidden = _run(layer, torch.cat([hidden, skips.pop()], dim=1), embedding, texts)
        if unet.conv_norm_out is not None:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        output: Tensor = unet.conv_out(hidden)
        return output

    @contextmanager
    def _catching(self) -> Iterator[None]:
        def keep(_: Any, args: tuple[Tensor, ...]) -> None:
            # A copy: the whole input of the layer need not stay in memory.
            self._caught = args[0][:, : self._width].clone(memory_format=torch.preserve_format)

        hook = self._up[0][0].register_forward_pre_hook(keep)
        try:
            yield
        finally:
            hook.remove()


def _layers(block: Any) -> list[tuple[Any, Any]]:
    """Resnet and attention of each layer, the latter None where a block has none."""
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def _run(layer: tuple[Any, Any], hidden: Tensor, embedding: Tensor, texts: Tensor) -> Tensor:
    resnet, attention = layer
    hidden = resnet(hidden, embedding)
    if attention is not None:
        hidden = attention(hidden, encoder_hidden_states=texts, return_dict=False)[0]
    return hidden
