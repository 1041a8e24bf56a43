"""Similarities of CLIP embeddings; pure functions, whatever model made the embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating]


def temporal_consistency(images: Vectors) -> float:
    """Mean cosine of consecutive frames' embeddings ("Tem-Con"), -1 to 1.

    As in Fairy (Wu et al., CVPR 2024). TGVE's "CLIPFrame" is the mean over all pairs: another
    figure. Rewards still clips and no edit at all, and hardly tells good methods apart (.972 to
    .974 where people preferred one to the other by 73 to 16).

    Args:
        images: one embedding a frame, shape ``(frames, width)``, at least two frames.
    """
    unit = _unit(images)
    return float((unit[1:] * unit[:-1]).sum(-1).mean())


def text_similarity(images: Vectors, caption: Vectors) -> float:
    """Mean cosine of frames and a caption of what they should show, -1 to 1; 0.2 to 0.35 is usual.

    Args:
        images: shape ``(frames, width)``.
        caption: shape ``(width,)``.
    """
    return float((_unit(images) @ _unit(caption)).mean())


def directional_similarity(
    sources: Vectors, outputs: Vectors, source_caption: Vectors, caption: Vectors
) -> float:
    """Whether pictures changed as their captions did: mean cos(I1 - I0, T1 - T0), -1 to 1.

    Gal et al. (StyleGAN-NADA, 2022); as InstructPix2Pix measures it: all four embeddings are
    scaled to length 1 before the differences are taken. Blind to how much was changed.

    Args:
        sources, outputs: shape ``(frames, width)``, frame by frame.
        source_caption, caption: shape ``(width,)``, of the source and of the wanted result.
    """
    change = _unit(_unit(outputs) - _unit(sources))
    wanted = _unit(_unit(caption) - _unit(source_caption))
    return float((change @ wanted).mean())


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))
