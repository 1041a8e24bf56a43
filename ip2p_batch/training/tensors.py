"""Pictures and sentences as the models take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def as_tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """uint8 pictures, shape ``(batch, height, width, 3)``, as values -1 to 1, channels first."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def token_ids(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Numbers of the texts' tokens, filled up to the tokenizer's length.

    Args:
        tokenizer: of CLIP's class.
        texts: one an example; what is longer than the tokenizer's length is cut.

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
