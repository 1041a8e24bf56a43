"""Latents of the crops, encoded once; else most of the training time would go to encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ip2p_batch.storage.atomic import atomic_path
from ip2p_batch.training.tensors import images_to_tensor

from .crops import Crops


class Latents:
    """Memory-mapped latents, float16, unscaled.

    Attributes:
        sources: shape ``(crops, channels, side, side)``.
        edited: shape ``(crops, edits, channels, side, side)``.
        edits: indices into :data:`~training.tiny.crops.EDITS`.
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
    """Encode all crops and edits, or read the latents that ``folder`` already contains.

    Args:
        vae: the trained autoencoder.
        crops: images to encode.
        folder: folder of the latents.
        progress: called with the number of crops done and of all crops.

    Raises:
        OutputError: ``folder`` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "sources.npy").exists():
        count, per_crop = crops.edits.shape
        side = crops.sources.shape[1]
        shape = vae.encode(torch.zeros(1, 3, side, side)).latents.shape[1:]
        sources = np.empty((count, *shape), np.float16)
        edited = np.empty((count, per_crop, *shape), np.float16)
        for crop in range(count):
            images = np.concatenate([crops.sources[crop][None], crops.edited[crop]])
            values = images_to_tensor(images).contiguous(memory_format=torch.channels_last)
            # The decoder is trained on more noise than bf16 rounding adds.
            with torch.autocast("cpu", torch.bfloat16):
                latents = vae.encode(values).latents.half().numpy()
            sources[crop], edited[crop] = latents[0], latents[1:]
            progress(crop + 1, count)
        # `sources` is written last: a folder with it is complete.
        for name, array in (("edited", edited), ("sources", sources)):
            with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, array)
    return Latents(folder, crops.edits)
