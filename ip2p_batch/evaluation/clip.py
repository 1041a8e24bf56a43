"""Embed frames and captions with a CLIP model, and compute the similarities of a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..frame import Image
from . import directional_similarity, temporal_consistency, text_similarity

#: The model that the InstructPix2Pix paper measures with.
DEFAULT_CLIP = "openai/clip-vit-large-patch14"
#: Frames per forward pass.
_BATCH = 8

#: Embeddings, shape ``(count, width)`` or ``(width,)``.
Vectors = npt.NDArray[np.float32]


class ClipScores(msgspec.Struct, frozen=True, kw_only=True):
    """Similarities of CLIP embeddings, each -1 to 1; None without the captions for it.

    Attributes:
        model: hub id or folder of the CLIP model.
        frames: number of frames that were embedded, spread evenly over the video.
        temporal_consistency: see :func:`clip_metrics.temporal_consistency`.
        text_similarity: see :func:`clip_metrics.text_similarity`.
        directional_similarity: see :func:`clip_metrics.directional_similarity`.
    """

    model: str
    frames: int
    temporal_consistency: float
    text_similarity: float | None = None
    directional_similarity: float | None = None


def compute_clip_scores(
    sources: Sequence[Image],
    outputs: Sequence[Image],
    *,
    model: str = DEFAULT_CLIP,
    source_caption: str = "",
    caption: str = "",
) -> ClipScores:
    """Embed frames and captions, and compare them.

    Args:
        sources, outputs: the same frames of source and output, in order, uint8 RGB; at least two.
        model: hub id or folder of a CLIP model in transformers' layout.
        source_caption, caption: what the source shows, and what the output should show; empty:
            leave out the similarities that need it.

    Raises:
        ModelError: the model cannot be loaded.
    """
    clip = _Clip(model)
    output_vectors = clip.images(outputs)
    text = clip.text(caption) if caption else None
    direction = None
    if text is not None and source_caption:
        source_vectors = clip.images(sources)
        direction = directional_similarity(
            source_vectors, output_vectors, clip.text(source_caption), text
        )
    return ClipScores(
        model=model,
        frames=len(outputs),
        temporal_consistency=temporal_consistency(output_vectors),
        text_similarity=None if text is None else text_similarity(output_vectors, text),
        directional_similarity=direction,
    )


class _Clip:
    def __init__(self, name: str) -> None:
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        from ..editing.loading import quiet_libraries

        quiet_libraries()
        local = Path(name).is_dir()
        try:
            self._model: Any = CLIPModel.from_pretrained(
                name, local_files_only=local, use_safetensors=True
            ).eval()
            self._tokenizer: Any = CLIPTokenizer.from_pretrained(name, local_files_only=local)
            self._processor: Any = CLIPImageProcessorPil.from_pretrained(
                name, local_files_only=local
            )
        except Exception as error:  # transformers and the hub raise any exception
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"The CLIP model {name} cannot be loaded: {reason}",
                hint="Connect once to download it, or give a folder with --clip, or remove --clip.",
            ) from error

    def images(self, frames: Sequence[Image]) -> Vectors:
        embeddings = []
        for start in range(0, len(frames), _BATCH):
            pixels = self._processor(list(frames[start : start + _BATCH]), return_tensors="pt")
            embeddings.append(self._embed(self._model.get_image_features, **pixels))
        return np.concatenate(embeddings)

    def text(self, caption: str) -> Vectors:
        tokens = self._tokenizer(caption, truncation=True, return_tensors="pt")
        return np.asarray(self._embed(self._model.get_text_features, **tokens)[0])

    def _embed(self, features: Any, **inputs: Any) -> Vectors:
        import torch

        with torch.inference_mode():
            result = features(**inputs)
        # transformers 5 returns an object that holds the projected vector; 4 returns the vector.
        vector = getattr(result, "pooler_output", result).float().numpy()
        return np.asarray(vector, dtype=np.float32)
