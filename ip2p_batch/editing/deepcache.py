"""DeepCache: run the whole UNet in every N-th step only.

From one denoising step to the next the features deep inside a UNet change little, while its
outermost layers, at full resolution, follow the noise. After a step that runs the whole UNet, the
next ``N - 1`` run only the outermost layers on the deep features of that step (Ma, Fang, Wang:
"DeepCache", CVPR 2024, arXiv 2312.00858). This is an approximation; docs/performance.md has
measurements of speed and quality.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ModelError
from .prompts import UNetTexts

Tensor = torch.Tensor
#: Layers of the first down block, counted from outside, that run in every step.
OUTER_LAYERS = 1


class DeepCacheUNet:
    """A UNet that runs in full and returns its deep features, or runs its outer layers on them.

    Args:
        unet: ``UNet2DConditionModel`` with blocks like Stable Diffusion's; it is not changed.
        outer_layers: layers of the first down block that run in every step. Of the last up block,
            which has one layer more, one more run.

    Raises:
        ModelError: the UNet has another structure.
    """

    def __init__(self, unet: Any, outer_layers: int = OUTER_LAYERS) -> None:
        down, up = unet.down_blocks[0], unet.up_blocks[-1]
        if (
            len(up.resnets) != len(down.resnets) + 1
            or getattr(unet, "class_embedding", None) is not None
            or unet.config.addition_embed_type not in (None, "text", "text_time")
            or unet.config.center_input_sample
        ):
            raise ModelError(
                "--deepcache-interval works with UNets of Stable Diffusion 1 and 2 only.",
                hint="Omit --deepcache-interval.",
            )
        self._unet = unet
        self._down = _layers(down)[: min(outer_layers, len(down.resnets))]
        self._up = _layers(up)[-len(self._down) - 1 :]
        # The input of the first of these up layers is [deep features ; skip], and the skip is the
        # output of the last of these down layers.
        first = self._up[0][0]
        self._width = first.in_channels - self._down[-1][0].out_channels
        self._captured: Tensor | None = None

    def full(self, sample: Tensor, timestep: Any, prompts: UNetTexts) -> tuple[Tensor, Tensor]:
        """Run the whole UNet.

        Args:
            sample: shape ``(samples, channels, height, width)``.
            prompts: of all samples.

        Returns:
            The UNet's output, equal to that of a plain call, and the deep features.
        """
        with self._capturing():
            output = self._unet(sample, timestep, **prompts.options(), return_dict=False)[0]
        assert self._captured is not None
        deep, self._captured = self._captured, None
        return output, deep

    def outer(self, sample: Tensor, timestep: Any, prompts: UNetTexts, deep: Tensor) -> Tensor:
        """Run the outermost layers alone, on deep features of an earlier step."""
        unet = self._unet
        embedding = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep))
        texts = prompts.embeds
        added = unet.get_aug_embed(
            emb=embedding, encoder_hidden_states=texts, added_cond_kwargs=prompts.added
        )
        if added is not None:
            embedding = embedding + added
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
    def _capturing(self) -> Iterator[None]:
        def capture(_: Any, args: tuple[Tensor, ...]) -> None:
            # A copy, so that the rest of the layer's input does not stay in memory.
            self._captured = args[0][:, : self._width].clone(memory_format=torch.preserve_format)

        hook = self._up[0][0].register_forward_pre_hook(capture)
        try:
            yield
        finally:
            hook.remove()


class DeepCacheRun:
    """The UNet calls of one batch, one for each step; keeps the deep features between them.

    Args:
        interval: every so many steps the whole UNet is run.
    """

    def __init__(self, unet: DeepCacheUNet, interval: int) -> None:
        self._unet = unet
        self._interval = interval
        self._deep: Tensor | None = None
        self._deep_step = 0

    def __call__(self, step: int, sample: Tensor, timestep: Any, prompts: UNetTexts) -> Tensor:
        """The UNet's output for ``sample``; arguments as for :meth:`DeepCacheUNet.full`."""
        deep = self._deep
        # Where guidance begins, there are branches without deep features: these need a full run.
        if (
            deep is not None
            and deep.shape[0] >= sample.shape[0]
            and 0 < step - self._deep_step < self._interval
        ):
            return self._unet.outer(sample, timestep, prompts, deep[: sample.shape[0]])
        output, self._deep = self._unet.full(sample, timestep, prompts)
        self._deep_step = step
        return output


def _layers(block: Any) -> list[tuple[Any, Any]]:
    """Resnet and attention of each layer; attention is None in blocks without."""
    attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
    return list(zip(block.resnets, attentions, strict=True))


def _run(layer: tuple[Any, Any], hidden: Tensor, embedding: Tensor, texts: Tensor) -> Tensor:
    resnet, attention = layer
    hidden = resnet(hidden, embedding)
    if attention is not None:
        hidden = attention(hidden, encoder_hidden_states=texts, return_dict=False)[0]
    return hidden
