"""What all frames of a session attend to: anchors of their shot, and a reference image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..frame import Frame
from ..recipe import Recipe
from . import carryover, noise, schedule
from .attention import AnchorKVCache
from .denoising import AnchorBatch, Anchors, DenoisingBatch
from .editor import ChunkContext
from .vae import VaeCodec

Tensor = torch.Tensor


class MakeBatch(Protocol):
    """Creates a batch of frames that other frames attend to."""

    def __call__(
        self,
        frames: Sequence[Frame],
        image_latents: Sequence[Tensor],
        step: int,
        start: Tensor | None,
    ) -> DenoisingBatch:
        """A batch that starts at ``step`` with latents ``start``; without them from noise.

        Args:
            image_latents: the frames' unscaled latents.
        """
        ...


class ReferenceFrames:
    """The anchors and the reference image of one chunk.

    Args:
        start_step: the step at which frames start from their borders.
        scheduler: with the recipe's steps set.
        kv_cache: of the UNet's self-attention layers.

    Raises:
        EditError: as :func:`carryover.from_bytes`.
    """

    def __init__(
        self,
        recipe: Recipe,
        context: ChunkContext,
        start_step: int,
        *,
        scheduler: Any,
        vae: VaeCodec,
        kv_cache: AnchorKVCache,
    ) -> None:
        self._seed = recipe.seed
        self._stop = recipe.anchored_steps()
        self._start_step = start_step
        self._scheduler = scheduler
        self._vae = vae
        self._kv_cache = kv_cache
        self._anchors = tuple(anchor.frame for anchor in context.anchors)
        known = [
            carryover.from_bytes(anchor.frame, start_step, anchor.latents).latents.x
            for anchor in context.anchors
            if anchor.latents is not None and start_step
        ]
        self._anchor_latents = torch.stack(known) if known else None
        image = context.reference_image
        hints = context.reference_hints
        self._reference = None if image is None else Frame(0, 0, image, hints=hints)
        # Encoded once, since the VAE's weights have one precision except while they are upcast.
        self._encoded_anchors: list[Tensor] | None = None
        self._encoded_reference: list[Tensor] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to attend to."""
        return self.has_anchors or self._reference is not None

    @property
    def has_anchors(self) -> bool:
        """Whether there are anchors, apart from a reference image."""
        return bool(self._anchors)

    @property
    def image_without_hints(self) -> Frame | None:
        """The reference image, if no control net acts on it; else None."""
        return None if self._reference is None or self._reference.hints else self._reference

    def clear_caches(self) -> None:
        """Free what was computed; it depends on the precision of the weights."""
        self._kv_cache.clear()
        self._encoded_anchors = self._encoded_reference = None

    def batches_for(
        self, batches: Sequence[DenoisingBatch], make_batch: MakeBatch
    ) -> Anchors | None:
        """What the frames of ``batches`` attend to, from the first step of any of them on."""
        step = min((batch.step for batch in batches), default=0)
        attended = []
        if self._reference is not None:
            attended.append(self._reference_batch(self._reference, step, make_batch))
        if self._anchors:
            attended.append(self._anchor_batch(step, make_batch))
        if not attended:
            return None
        return Anchors(batches=attended, kv_cache=self._kv_cache, stop=self._stop)

    def _anchor_batch(self, step: int, make_batch: MakeBatch) -> AnchorBatch:
        if self._encoded_anchors is None:
            self._encoded_anchors = self._encode(self._anchors)
        start_step, latents = self._start_step, self._anchor_latents
        start = latents if step == start_step else None
        batch = make_batch(self._anchors, self._encoded_anchors, step, start)
        return AnchorBatch(batch, lambda at: latents if at == start_step else None)

    def _reference_batch(self, reference: Frame, step: int, make_batch: MakeBatch) -> AnchorBatch:
        """The finished image as an anchor, before each step with the noise of that step.

        Its source is not known, so the image itself is its image condition, too.
        """
        if self._encoded_reference is None:
            self._encoded_reference = self._encode([reference])
        (image_latents,) = self._encoded_reference
        x0 = image_latents[None] * self._vae.scaling_factor
        unit_noise = noise.unit(self._seed, x0.shape[1:]).to(x0.device)

        def noisy_latents(at: int) -> Tensor:
            a, s = schedule.signal_and_noise_scale(self._scheduler, at)
            return a * x0.float() + s * unit_noise

        batch = make_batch([reference], [image_latents], step, noisy_latents(step))
        return AnchorBatch(batch, noisy_latents)

    def _encode(self, frames: Sequence[Frame]) -> list[Tensor]:
        return list(self._vae.encode([frame.image for frame in frames]))
