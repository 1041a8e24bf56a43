"""Similarities of CLIP embeddings; pure functions that load no model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]


def temporal_consistency(images: Vectors) -> float:
    """Mean cosine similarity of consecutive frames ("Tem-Con"), -1 to 1.

    Follows Fairy (Wu et al., CVPR 2024, https://arxiv.org/abs/2312.13834). "CLIPFrame" of TGVE is
    the mean over all pairs of frames, which is a different value. Still videos and missing edits
    score best. Good methods differ little: 0.972 and 0.974 where people preferred one method over
    the other by 73 to 16.

    Args:
        images: one embedding per frame, shape ``(frames, width)``, at least two frames.
    """
    unit = _unit(images)
    return float((unit[1:] * unit[:-1]).sum(-1).mean())


def text_similarity(images: Vectors, caption: Vectors) -> float:
    """Mean cosine similarity of frames and a caption, -1 to 1; usual values are 0.2 to 0.35.

    Args:
        images: embeddings of frames, shape ``(frames, width)``.
        caption: embedding of what they should show, shape ``(width,)``.
    """
    return float((_unit(images) @ _unit(caption)).mean())


def directional_similarity(
    sources: Vectors, outputs: Vectors, source_caption: Vectors, caption: Vectors
) -> float:
    """Whether images change as their captions do: mean cos(I1 - I0, T1 - T0), -1 to 1.

    StyleGAN-NADA (Gal et al., 2022, https://arxiv.org/abs/2108.00946), computed as InstructPix2Pix
    does: all four embeddings are scaled to length 1 before they are subtracted. The size of the
    change has no influence.

    Args:
        sources, outputs: embeddings of frames in the same order, shape ``(frames, width)``.
        source_caption, caption: embeddings of what the source shows and what the output should
            show, shape ``(width,)``.
    """
    change = _unit(_unit(outputs) - _unit(sources))
    target = _unit(_unit(caption) - _unit(source_caption))
    return float((change @ target).mean())


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))
