"""Latents of crops, made once: an epoch without them would spend its time in the encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ip2p_batch.storage.atomic import atomic_path
from ip2p_batch.training.tensors import as_tensor

from .crops import Crops


class Latents:
    """Latents on disk, float16, not scaled.

    Attributes:
        sources: shape ``(crops, channels, side, side)``.
        edited: shape ``(crops, edits, channels, side, side)``.
        edits: numbers into :data:`~training.tiny.crops.EDITS`.
    """

    def __init__(self, folder: Path, edits: npt.NDArray[np.int64]) -> None:
        self.sources: npt.NDArray[np.float16] = np.load(folder / "sources.npy", mmap_mode="r")
        self.edited: npt.NDArray[np.float16] = np.load(folder / "edited.npy", mmap_mode="r")
        self.edits = edits

    def __len__(self) -> int:
        return len(self.sources)


@torch.no_grad()
def make_latents(
    vae: Any,
    crops: Crops,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Latents:
    """Encode every crop and edit; a folder that holds latents already is read."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sources.npy").exists():
        count, per_crop = crops.edits.shape
        side = crops.sources.shape[1]
        shape = vae.encode(torch.zeros(1, 3, side, side)).latents.shape[1:]
        sources = np.empty((count, *shape), np.float16)
        edited = np.empty((count, per_crop, *shape), np.float16)
        for at in range(count):
            pictures = np.concatenate([crops.sources[at][None], crops.edited[at]])
            values = as_tensor(pictures).contiguous(memory_format=torch.channels_last)
            # The decoder is trained to bear more noise than bf16's rounding adds.
            with torch.autocast("cpu", torch.bfloat16):
                latents = vae.encode(values).latents.half().numpy()
            sources[at], edited[at] = latents[0], latents[1:]
            progress(at + 1, count)
        for name, array in (("edited", edited), ("sources", sources)):  # the last makes it whole
            with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, array)
    return Latents(folder, crops.edits)
