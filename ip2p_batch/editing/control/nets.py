"""Control nets on a device, and what they compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...frame import Image
from ...models import net_checks
from .. import onednn_workaround
from ..prompts import UNetTexts

Tensor = torch.Tensor


class ControlNet:
    """A ControlNet. The embedding of its hints is computed apart, since no step changes it.

    Args:
        net: diffusers' ``ControlNetModel``. Its ``controlnet_cond_embedding`` is replaced.
    """

    def __init__(self, net: Any, device: str, dtype: torch.dtype) -> None:
        self.net = _on_device(net, device, dtype)
        self._embedding = net.controlnet_cond_embedding
        self._channels = int(net.config.conditioning_channels)
        # What the net gets is embedded already; the order of its channels is changed before.
        net.controlnet_cond_embedding = torch.nn.Identity()
        self._reversed = net.config.controlnet_conditioning_channel_order == "bgr"
        net.register_to_config(controlnet_conditioning_channel_order="rgb")
        self._device = device

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """All that has weights."""
        return self.net, self._embedding

    def embed(self, hints: Sequence[Image]) -> Tensor:
        """The embeddings of hints, ``(frames, channels, height, width)`` of the latents."""
        values = hint_tensor(hints, self._channels, self._device, self.net.dtype)
        embedded: Tensor = self._embedding(values.flip(1) if self._reversed else values)
        return embedded

    def residuals(
        self, sample: Tensor, timestep: Tensor, prompts: UNetTexts, embedded: Tensor, scale: float
    ) -> list[Tensor]:
        """What is added to the UNet's skips, from outside to inside, and last to its middle block.

        Args:
            sample: noisy latents as the scheduler scales them, ``(samples, channels, h, w)``.
            prompts: of all samples.
            embedded: of :meth:`embed`, for each sample.
            scale: factor of the residuals.
        """
        down, mid = self.net(
            sample,
            timestep,
            **prompts.options(),
            controlnet_cond=embedded,
            conditioning_scale=scale,
            return_dict=False,
        )
        return [*down, mid]


class Adapter:
    """A T2I-Adapter for one UNet.

    Args:
        net: diffusers' ``T2IAdapter``.
        unet_config: configuration of the UNet that gets its features.
        factor: pixels of an image for each element of the latents.
    """

    def __init__(
        self, net: Any, unet_config: Any, factor: int, device: str, dtype: torch.dtype
    ) -> None:
        self.net = _on_device(net, device, dtype)
        self._channels = int(net.config.in_channels)
        self._places = net_checks.unet_places(unet_config, factor)
        self._made = net_checks.adapter_features(net.config)
        self._device = device

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """All that has weights."""
        return (self.net,)

    def features(self, hints: Sequence[Image]) -> list[Tensor]:
        """What is added in the UNet's down blocks, ``(frames, channels, height, width)`` each."""
        values = hint_tensor(hints, self._channels, self._device, self.net.dtype)
        return fitted(self.net(values), self._made, self._places)


def fitted(
    features: Sequence[Tensor],
    made: Sequence[net_checks.Feature],
    places: Sequence[net_checks.Feature],
) -> list[Tensor]:
    """Halve the sides of features that the UNet adds after a block has halved them.

    UNets of Stable Diffusion have attention in all blocks but the last and need no change. In a
    UNet whose first block has none, as the bundled model's, the mean of each 2x2 elements is added.
    """
    return [
        feature
        if own.reduction == place.reduction
        else torch.nn.functional.avg_pool2d(feature, 2, ceil_mode=True)
        for feature, own, place in zip(features, made, places, strict=False)
    ]


def hint_tensor(hints: Sequence[Image], channels: int, device: str, dtype: torch.dtype) -> Tensor:
    """Hints as a tensor from 0 to 1, ``(frames, channels, height, width)``.

    Args:
        hints: uint8 RGB of one shape.
        channels: 3, or 1 for the mean of the three.
    """
    values = np.stack(hints)
    if channels == 1:
        values = (values.sum(axis=-1, keepdims=True, dtype=np.uint16) // 3).astype(np.uint8)
    pixels = torch.from_numpy(values).to(device)
    return (pixels.permute(0, 3, 1, 2).float() / 255.0).to(dtype)


def _on_device(net: Any, device: str, dtype: torch.dtype) -> Any:
    net.to(device, dtype).eval().requires_grad_(requires_grad=False)
    net.to(memory_format=torch.channels_last)
    onednn_workaround.install(net)
    return net
