"""DeepCache: run the whole UNet in every N-th step only.

From one denoising step to the next the features deep inside a UNet change little, while its
outermost layers, at full resolution, follow the noise. After a step that runs the whole UNet, the
next ``N - 1`` run only the outermost layers on the deep features of that step (Ma, Fang, Wang:
"DeepCache", CVPR 2024, arXiv 2312.00858). This is an approximation; docs/performance.md has
measurements of speed and quality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import ModelError
from .control.residuals import NOTHING, Residuals
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
        # The UNet adds an adapter's feature after the last layer of a block with attention, and
        # after the downsampler of another block, which is not an outer layer.
        attends = getattr(down, "has_cross_attention", False)
        self._has_feature = attends and len(self._down) == len(down.resnets)
        # The input of the first of these up layers is [deep features ; skip], and the skip is the
        # output of the last of these down layers.
        first = self._up[0][0]
        self._width = first.in_channels - self._down[-1][0].out_channels
        self._captured: Tensor | None = None

    def full(
        self, sample: Tensor, timestep: Any, prompts: UNetTexts, residuals: Residuals = NOTHING
    ) -> tuple[Tensor, Tensor]:
        """Run the whole UNet.

        Args:
            sample: shape ``(samples, channels, height, width)``.
            prompts: of all samples.
            residuals: of control nets, for these samples.

        Returns:
            The UNet's output, equal to that of a plain call, and the deep features.
        """
        with self._capturing():
            output = self._unet(
                sample, timestep, **prompts.options(), **residuals.arguments(), return_dict=False
            )[0]
        assert self._captured is not None
        deep, self._captured = self._captured, None
        return output, deep

    def outer(
        self,
        sample: Tensor,
        timestep: Any,
        prompts: UNetTexts,
        deep: Tensor,
        residuals: Residuals = NOTHING,
    ) -> Tensor:
        """Run the outermost layers alone, on deep features of an earlier step.

        Args:
            residuals: as of :meth:`full`, or :meth:`outer_residuals` of these.
        """
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
        if residuals.features and self._has_feature:
            skips[-1] = skips[-1] + residuals.features[0]
        if residuals.control:
            skips = [skip + own for skip, own in zip(skips, residuals.control, strict=False)]
        hidden = deep
        for layer in self._up:
            hidden = _run(layer, torch.cat([hidden, skips.pop()], dim=1), embedding, texts)
        if unet.conv_norm_out is not None:
            hidden = unet.conv_act(unet.conv_norm_out(hidden))
        output: Tensor = unet.conv_out(hidden)
        return output

    def outer_residuals(self, residuals: Residuals) -> Residuals:
        """The residuals that :meth:`outer` adds; the deep features include the others."""
        features = residuals.features[:1] if self._has_feature else ()
        return Residuals(residuals.control[: len(self._down) + 1], features)

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

    The outer layers get the residuals of control nets of the last full run: to run a net in every
    step would take more than is saved.

    Args:
        interval: every so many steps the whole UNet is run.
    """

    def __init__(self, unet: DeepCacheUNet, interval: int) -> None:
        self._unet = unet
        self._interval = interval
        self._deep: Tensor | None = None
        self._deep_step = 0
        self._residuals = NOTHING
        self._acting: tuple[int, ...] = ()

    def __call__(
        self,
        step: int,
        sample: Tensor,
        timestep: Any,
        prompts: UNetTexts,
        residuals: Callable[[], Residuals] = lambda: NOTHING,
        acting: tuple[int, ...] = (),
    ) -> Tensor:
        """The UNet's output for ``sample``; arguments as for :meth:`DeepCacheUNet.full`.

        Args:
            residuals: computes those of control nets.
            acting: the nets that act in this step. If these are others than in the last full run,
                the whole UNet runs.
        """
        deep = self._deep
        # Where guidance begins, there are branches without deep features: these need a full run.
        if (
            deep is not None
            and deep.shape[0] >= sample.shape[0]
            and 0 < step - self._deep_step < self._interval
            and acting == self._acting
        ):
            samples = sample.shape[0]
            kept = self._residuals.first(samples)
            return self._unet.outer(sample, timestep, prompts, deep[:samples], kept)
        added = residuals()
        output, self._deep = self._unet.full(sample, timestep, prompts, added)
        self._residuals = self._unet.outer_residuals(added)
        self._deep_step, self._acting = step, acting
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
