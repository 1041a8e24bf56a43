"""The bundled model's UNet and text encoder, trained together on latents of crops."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ip2p_batch.training.conditioning import dropped
from ip2p_batch.training.denoising import Denoising
from ip2p_batch.training.fit import Batch
from ip2p_batch.training.grammar import instruction, varied
from ip2p_batch.training.tensors import token_ids

from .crops import EDITS
from .latents import Latents


class DenoiserTask:
    """Edits by instruction; see :class:`~ip2p_batch.training.fit.Task`.

    Args:
        model: all parts; its autoencoder is not used, only its scale.
        tokenizer: of the text encoder.
        latents: what to learn from.
        side: latent pixels of the squares that are cut out; even, at most all.
    """

    def __init__(self, model: Denoising, tokenizer: Any, latents: Latents, side: int) -> None:
        self.model = model
        self.tokenizer, self.latents, self.side = tokenizer, latents, side

    def batch(self, size: int, seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311 - nothing secret is drawn
        room = (self.latents.sources.shape[-1] - self.side) // 2
        sources, targets, texts = [], [], []
        for _ in range(size):
            crop = rng.randrange(len(self.latents))
            # `keep` is one edit of nineteen, and needs no picture of its own.
            if rng.random() < 1 / len(EDITS):
                number, whole = 0, self.latents.sources[crop]
            else:
                place = rng.randrange(self.latents.edits.shape[1])
                number, whole = (
                    int(self.latents.edits[crop, place]),
                    self.latents.edited[crop, place],
                )
            # Even places: the UNet halves its sides, and the grid of its steps stays one.
            top, left = 2 * rng.randint(0, room), 2 * rng.randint(0, room)
            part = (slice(None), slice(top, top + self.side), slice(left, left + self.side))
            sources.append(self.latents.sources[crop][part])
            targets.append(whole[part])
            text = instruction(EDITS[number], rng)
            texts.append(varied(text, rng) if rng.random() < 0.3 else text)
        chance = torch.tensor([rng.random() for _ in range(size)])
        no_text, no_picture = dropped(chance, self.model.objective.drop)
        texts = ["" if gone else text for text, gone in zip(texts, no_text.tolist(), strict=True)]
        return {
            "source_latents": torch.from_numpy(np.stack(sources)).float(),
            "edited_latents": torch.from_numpy(np.stack(targets)).float(),
            "ids": token_ids(self.tokenizer, texts),
            "no_picture": no_picture,
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Nothing: pictures of the whole pipeline are looked at when it is put together."""
        return {}
