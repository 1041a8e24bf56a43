"""What CLIP sees in a video, where a CLIP model can be loaded."""

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

#: The model that InstructPix2Pix's own measurements use.
DEFAULT_CLIP = "openai/clip-vit-large-patch14"
_BATCH = 8

Vectors = npt.NDArray[np.float32]


class ClipScores(msgspec.Struct, frozen=True, kw_only=True):
    """Similarities of CLIP's embeddings; None where the captions for it were not given.

    Attributes:
        temporal_consistency: see :func:`metrics.temporal_consistency`; over the frames looked at.
        text_similarity: of output and its caption.
        directional_similarity: see :func:`metrics.directional_similarity`.
        frames: looked at, spread over the video.
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
        sources, outputs: uint8 RGB frames, in order.
        model: hub id or folder of a CLIP model in transformers' layout.
        source_caption, caption: what the source shows, and what the output should show.

    Raises:
        ModelError: the model cannot be loaded.
    """
    clip = _Clip(model)
    after = clip.images(outputs)
    text = clip.text(caption) if caption else None
    direction = None
    if text is not None and source_caption:
        before = clip.images(sources)
        direction = directional_similarity(before, after, clip.text(source_caption), text)
    return ClipScores(
        model=model,
        frames=len(outputs),
        temporal_consistency=temporal_consistency(after),
        text_similarity=None if text is None else text_similarity(after, text),
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
            self._pictures: Any = CLIPImageProcessorPil.from_pretrained(
                name, local_files_only=local
            )
        except Exception as error:  # transformers and the hub raise whatever they like
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"The CLIP model {name} cannot be loaded: {reason}",
                hint="Connect once to download it, give a folder with --clip, or leave --clip out.",
            ) from error

    def images(self, frames: Sequence[Image]) -> Vectors:
        found = []
        for at in range(0, len(frames), _BATCH):
            pixels = self._pictures(list(frames[at : at + _BATCH]), return_tensors="pt")
            found.append(self._embed(self._model.get_image_features, **pixels))
        return np.concatenate(found)

    def text(self, caption: str) -> Vectors:
        tokens = self._tokenizer(caption, truncation=True, return_tensors="pt")
        return np.asarray(self._embed(self._model.get_text_features, **tokens)[0])

    def _embed(self, features: Any, **inputs: Any) -> Vectors:
        import torch

        with torch.inference_mode():
            found = features(**inputs)
        # transformers 5 gives an output with the projected vector in it, 4 the vector itself.
        vector = getattr(found, "pooler_output", found).float().numpy()
        return np.asarray(vector, dtype=np.float32)
