"""Train the bundled model's UNet and text encoder together, on latents of crops."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ip2p_batch.training.conditioning import dropout_masks
from ip2p_batch.training.denoising import DenoisingLoss
from ip2p_batch.training.instructions import sample_instruction
from ip2p_batch.training.tensors import tokenize
from ip2p_batch.training.trainer import Batch

from .crops import EDITS
from .latents import Latents
from .wording import vary_wording


class Example(NamedTuple):
    """A square of a crop, and the same square of one of its edits.

    Attributes:
        crop: number of the crop.
        top, left: position in latent pixels.
        source, target: latents, float16, shape ``(channels, side, side)``.
        text: the instruction.
    """

    crop: int
    top: int
    left: int
    source: npt.NDArray[np.float16]
    target: npt.NDArray[np.float16]
    text: str


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
        return self.collate(*self.draw(size, seed))

    def draw(self, size: int, seed: int) -> tuple[list[Example], list[float]]:
        """Draw examples, and for each a uniform random number that chooses its conditions."""
        rng = random.Random(seed)  # noqa: S311 - not used for security
        examples = [self._draw_one(rng) for _ in range(size)]
        return examples, [rng.random() for _ in range(size)]

    def _draw_one(self, rng: random.Random) -> Example:
        max_offset = (self.latents.sources.shape[-1] - self.side) // 2
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
        text = sample_instruction(EDITS[edit], rng)
        if rng.random() < 0.3:
            text = vary_wording(text, rng)
        return Example(crop, top, left, self.latents.sources[crop][part], target[part], text)

    def collate(self, examples: Sequence[Example], uniform: Sequence[float]) -> Batch:
        """Make a batch of examples, with some of their conditions dropped."""
        dropout = self.model.objective.conditioning_dropout
        drop_text, drop_image = dropout_masks(torch.tensor(uniform), dropout)
        texts = [
            "" if drop else example.text
            for example, drop in zip(examples, drop_text.tolist(), strict=True)
        ]
        return {
            "source_latents": torch.from_numpy(np.stack([e.source for e in examples])).float(),
            "edited_latents": torch.from_numpy(np.stack([e.target for e in examples])).float(),
            "ids": tokenize(self.tokenizer, texts),
            "drop_image": drop_image,
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Measure nothing; ``benchmarks.model`` measures the finished pipeline."""
        return {}
