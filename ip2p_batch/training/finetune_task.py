"""Training data and validation of fine-tuning: square crops of image pairs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..frame import Image
from ..media.contact_sheet import write_before_after
from ..media.images.reader import read_image
from .conditioning import dropout_masks
from .denoising import DenoisingLoss
from .pairs import Pair
from .tensors import images_to_tensor, tokenize
from .trainer import Batch

VALIDATION_FOLDER = "validation"
#: Sampling defaults of diffusers for models without defaults of their own.
_SAMPLING_DEFAULTS: Mapping[str, int | float] = {
    "num_inference_steps": 20,
    "guidance_scale": 7.5,
    "image_guidance_scale": 1.5,
}


class FineTuneTask:
    """Edits of a dataset's pairs; a :class:`~ip2p_batch.training.trainer.TrainingTask`.

    Pairs are drawn at random, not in turn, so that the pairs of a step depend on the step's seed
    alone, also after an interruption.

    Args:
        pipe: the pipeline to train, with its UNet prepared.
        model: the loss of its components.
        pairs, held_out: pairs to train on, and pairs to validate with.
        size: side of the crops in pixels.
        flip: mirror half of the crops.
        sampling: defaults of the base model for steps and scales, for validation.
        seed: seed of the validation's noise.
    """

    def __init__(
        self,
        pipe: Any,
        model: DenoisingLoss,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        *,
        size: int,
        flip: bool,
        sampling: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.pipe, self.model, self.pairs, self.held_out = pipe, model, pairs, held_out
        self.size, self.flip = size, flip
        self.sampling, self.seed = sampling, seed

    def batch(self, size: int, seed: int) -> Batch:
        rng = random.Random(seed)  # noqa: S311 - not used for security
        pairs = [rng.choice(self.pairs) for _ in range(size)]
        crops = [crop_pair(pair, self.size, rng, flip=self.flip) for pair in pairs]
        return self.collate(pairs, crops, [rng.random() for _ in range(size)])

    def collate(
        self,
        pairs: Sequence[Pair],
        crops: Sequence[tuple[Image, Image]],
        uniform: Sequence[float],
    ) -> Batch:
        """Make a batch of crops; each uniform random number chooses the conditions to drop."""
        drop_text, drop_image = dropout_masks(
            torch.tensor(uniform), self.model.objective.conditioning_dropout
        )
        texts = [
            "" if drop else pair.instruction
            for pair, drop in zip(pairs, drop_text.tolist(), strict=True)
        ]
        return {
            "source": images_to_tensor(np.stack([source for source, _ in crops])),
            "edited": images_to_tensor(np.stack([edited for _, edited in crops])),
            "ids": tokenize(self.pipe.tokenizer, texts),
            "drop_image": drop_image,
        }

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Edit the held-out pairs; write a contact sheet and return the PSNR in dB.

        The sheet shows source and target on the left, the model's output on the right.
        """
        if not self.held_out:
            return {}
        rows, squared_errors = [], []
        for pair in self.held_out:
            source, target = crop_pair(pair, self.size, None)
            output = edit_once(self.pipe, source, pair.instruction, self.seed, self.sampling)
            rows.append((np.hstack([source, target]), output))
            squared_errors.append(np.square(output.astype(np.float32) - target).mean())
        write_before_after(
            rows,
            folder / VALIDATION_FOLDER / f"step-{step:07d}.png",
            title=f"Step {step}: source and target, output",
            captions=[pair.instruction for pair in self.held_out],
        )
        mean_squared_error = max(float(np.mean(squared_errors)), 1e-6)
        return {"validation_psnr": 10 * float(np.log10(255**2 / mean_squared_error))}


def crop_pair(
    pair: Pair, size: int, rng: random.Random | None, *, flip: bool = False
) -> tuple[Image, Image]:
    """Cut the same square out of both images, which are scaled to a shorter side of ``size``.

    Args:
        pair: paths of the two images.
        size: side of the square in pixels.
        rng: draws the position and the mirroring; None cuts the center.
        flip: mirror half of the squares.

    Returns:
        Source and edited square, shape ``(size, size, 3)``.

    Raises:
        SourceError: an image cannot be read.
    """
    images = [read_image(Path(path)) for path in (pair.input, pair.edited)]
    height, width = images[0].shape[:2]
    scale = size / min(height, width)
    scaled_size = (max(size, round(width * scale)), max(size, round(height * scale)))
    max_left, max_top = scaled_size[0] - size, scaled_size[1] - size
    left = max_left // 2 if rng is None else rng.randint(0, max_left)
    top = max_top // 2 if rng is None else rng.randint(0, max_top)
    mirror = rng is not None and flip and rng.random() < 0.5
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    squares = []
    for image in images:
        scaled = cv2.resize(image, scaled_size, interpolation=interpolation)
        square = scaled[top : top + size, left : left + size]
        squares.append(np.ascontiguousarray(square[:, ::-1] if mirror else square))
    return squares[0], squares[1]


def edit_once(
    pipe: Any, image: Image, instruction: str, seed: int, sampling: Mapping[str, Any]
) -> Image:
    """Edit one image with diffusers' own pipeline.

    Args:
        pipe: a pipeline with all components on one device.
        image: the source; sides are multiples of 8.
        instruction: the edit instruction.
        seed: seed of the noise.
        sampling: ``num_inference_steps``, ``guidance_scale`` and ``image_guidance_scale``; 20,
            7.5 and 1.5 where missing.
    """
    from PIL import Image as Pillow

    pipe.set_progress_bar_config(disable=True)
    dtype = pipe.vae.dtype
    with torch.autocast(pipe.unet.device.type, dtype=dtype, enabled=dtype != torch.float32):
        output = pipe(
            instruction,
            image=Pillow.fromarray(image),
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="np",
            **{name: sampling.get(name, value) for name, value in _SAMPLING_DEFAULTS.items()},
        ).images[0]
    return np.ascontiguousarray((output * 255 + 0.5).astype(np.uint8))
