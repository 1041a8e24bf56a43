"""Keep what a mask protects while a frame is denoised.

In every step the model's x0 is blended with the source's own latents z, scaled as the UNet's noisy
latents are::

    x0' = m x0 + (1 - m) z

and the scheduler gets the prediction that belongs to x0'
(:func:`~ip2p_batch.editing.schedule.prediction_of`). So every sampler, also one with a history,
continues exactly: where m is 0, the noisy latents are z with their own noise, the finished latents
are z, and the model sees the source around what it draws, with the right amount of noise. (Blended
Latent Diffusion, Avrahami et al., SIGGRAPH 2023, blends the noisy latents with fresh noise
instead.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch

from ..frame import Mask
from . import schedule
from .vae import VaeCodec

Tensor = torch.Tensor


def latent_mask(mask: Mask, factor: int) -> Tensor:
    """A mask at the size of latents, 0 to 1, float32, shape ``(1, height, width)``.

    The mask grows by one latent before it is averaged: a latent shows up to a few pixels beyond its
    own, so the edit then reaches the mask's edge. The source's pixels are pasted in the end.

    Args:
        mask: uint8, shape of the frame, sides multiples of ``factor``.
        factor: pixels per latent along each axis.
    """
    values = torch.from_numpy(np.ascontiguousarray(mask))[None].float() / 255
    wide = torch.nn.functional.max_pool2d(values, 2 * factor + 1, 1, factor)
    return torch.nn.functional.avg_pool2d(wide, factor)


class KeptSource(NamedTuple):
    """What the mask of one frame keeps.

    Attributes:
        mask: m, shape ``(1, height, width)``, of :func:`latent_mask`.
        source: z, scaled latents of the source, float32, shape ``(channels, height, width)``.
    """

    mask: Tensor
    source: Tensor

    @classmethod
    def of(cls, mask: Mask, image_latents: Tensor, vae: VaeCodec) -> Self:
        """What a mask keeps, on the device of the latents.

        Args:
            mask: as for :func:`latent_mask`.
            image_latents: unscaled latents of the source, shape ``(channels, height, width)``.
        """
        own = latent_mask(mask, vae.factor).to(image_latents.device)
        return cls(own, image_latents.float() * vae.scaling_factor)

    def blend(self, x0: Tensor) -> Tensor:
        """``m x0 + (1 - m) z``, of the shape of ``x0``."""
        return self.mask * x0 + (1 - self.mask) * self.source

    def to(self, device: torch.device | str) -> KeptSource:
        return KeptSource(self.mask.to(device), self.source.to(device))

    def finished(self, x: Tensor) -> Tensor:
        """Finished latents with exactly z where m is 0: some samplers end with a little noise."""
        return torch.where(self.mask == 0, self.source, x)


class MaskBlend:
    """The masks of a batch.

    Args:
        kept: one for each frame; None: all of it may change, and not a bit of it is touched here.
    """

    def __init__(self, kept: Sequence[KeptSource | None]) -> None:
        self._rows = [n for n, own in enumerate(kept) if own is not None]
        present = [own for own in kept if own is not None]
        self._kept = (
            KeptSource(*(torch.stack(parts) for parts in zip(*present, strict=True)))
            if present
            else None
        )

    def __bool__(self) -> bool:
        """Whether any frame has a mask."""
        return self._kept is not None

    def prediction(
        self, x: Tensor, prediction: Tensor, scale: tuple[float, float], prediction_type: str
    ) -> Tensor:
        """The model's prediction for a batch, changed to that of the blended x0.

        Args:
            x: noisy latents, ``(frames, channels, height, width)``, float32.
            scale: ``(a, s)`` of the step, see
                :func:`~ip2p_batch.editing.schedule.signal_and_noise_scale`.
        """
        if self._kept is None:
            return prediction
        own = x[self._rows]
        x0 = schedule.pred_original_sample(own, prediction[self._rows], scale, prediction_type)
        blended = schedule.prediction_of(own, self._kept.blend(x0), scale, prediction_type)
        result = prediction.clone()
        result[self._rows] = blended
        return result

    def finished(self, x: Tensor) -> Tensor:
        """The finished latents of a batch; see :meth:`KeptSource.finished`."""
        if self._kept is None:
            return x
        result = x.clone()
        result[self._rows] = self._kept.finished(x[self._rows])
        return result
