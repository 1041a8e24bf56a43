"""Convert images and texts to the tensors that the models take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def images_to_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Convert uint8 images, shape ``(batch, height, width, 3)``, to float32 values in [-1, 1].

    Returns:
        Shape ``(batch, 3, height, width)``.
    """
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def tokenize(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Return the token ids of ``texts``, padded or truncated to the tokenizer's length.

    Args:
        tokenizer: a ``CLIPTokenizer``.
        texts: one text per example.

    Returns:
        int64, shape ``(batch, tokens)``.
    """
    ids: torch.Tensor = tokenizer(
        texts,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids
