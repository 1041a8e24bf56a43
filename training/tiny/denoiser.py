"""Train the bundled model's UNet and text encoder together, on latents of crops."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ip2p_batch.training.conditioning import dropout_masks
from ip2p_batch.training.denoising import DenoisingLoss
from ip2p_batch.training.instructions import sample_instruction
from ip2p_batch.training.tensors import tokenize
from ip2p_batch.training.trainer import Batch

from .crops import EDITS
from .latents import Latents
from .wording import vary_wording


class DenoiserTask:
    """Edit by instruction; a :class:`~ip2p_batch.training.trainer.TrainingTask`.

    Args:
        model: the loss, without an autoencoder.
        tokenizer: the text encoder's tokenizer.
        latents: latents to train on.
        side: side in latent pixels of the squares that are cut out; even.
    """

    def __init__(self, model: DenoisingLoss, tokenizer: Any, latents: Latents, side: int) -> None:
        self.model = model
        self.tokenizer, self.latents, self.side = tokenizer, latents, side

    def batch(self, size: int, seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311 - not used for security
        max_offset = (self.latents.sources.shape[-1] - self.side) // 2
        sources, targets, texts = [], [], []
        for _ in range(size):
            crop = rng.randrange(len(self.latents))
            # `keep` is one of the edits, but its result is the source.
            if rng.random() < 1 / len(EDITS):
                edit, target = 0, self.latents.sources[crop]
            else:
                position = rng.randrange(self.latents.edits.shape[1])
                edit = int(self.latents.edits[crop, position])
                target = self.latents.edited[crop, position]
            # Even offsets keep the grid of the UNet's first downsampling.
            top, left = 2 * rng.randint(0, max_offset), 2 * rng.randint(0, max_offset)
            part = (slice(None), slice(top, top + self.side), slice(left, left + self.side))
            sources.append(self.latents.sources[crop][part])
            targets.append(target[part])
            text = sample_instruction(EDITS[edit], rng)
            texts.append(vary_wording(text, rng) if rng.random() < 0.3 else text)
        uniform = torch.tensor([rng.random() for _ in range(size)])
        drop_text, drop_image = dropout_masks(uniform, self.model.objective.conditioning_dropout)
        texts = ["" if drop else text for text, drop in zip(texts, drop_text.tolist(), strict=True)]
        return {
            "source_latents": torch.from_numpy(np.stack(sources)).float(),
            "edited_latents": torch.from_numpy(np.stack(targets)).float(),
            "ids": tokenize(self.tokenizer, texts),
            "drop_image": drop_image,
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Measure nothing; ``benchmarks.model`` measures the finished pipeline."""
        return {}
