"""How steady a video is: what moves along the source's motion may move, all else is flicker.

Every figure here rewards doing nothing, and some reward blur. None means anything without a
measure of the edit beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..frame import Image
from ..temporal.flow import Motion, measured_flow, warp_image

#: Pairs to each side of a seam that it is compared with.
_NEIGHBOURS = 3


def warp_error(first: Image, second: Image, motion: Motion) -> float:
    """Warp error of a pair of neighbouring frames: ``sum M |W(second) - first|^2 / sum M``.

    Pixels from 0 to 1, the mask M counts each colour channel, W moves the second frame back along
    the SOURCE's motion, M leaves out what the source's motion hides. Lai et al., "Learning Blind
    Video Temporal Consistency", ECCV 2018; in float: the same on uint8 wraps around and means
    nothing (StreamV2V's script). Usually told times 1000.

    From 0 (steady) to 1. Blind to what is occluded, to flow that is wrong, and to whether there
    is an edit at all; a copy of the source scores what its own noise, light and flow errors give.

    Args:
        first, second: frames t and t + 1 of one shape.
        motion: of the source, target frame t, reference frame t + 1.

    >>> still = Motion(np.zeros((64, 64, 2), np.float32), np.zeros((64, 64), bool))
    >>> dark, light = (np.full((64, 64, 3), v, np.uint8) for v in (0, 51))
    >>> round(warp_error(dark, light, still), 6)
    0.04
    """
    if first.shape != second.shape:
        raise ValueError(f"frames of two shapes, {first.shape} and {second.shape}")
    seen = ~motion.occluded
    if seen.shape != first.shape[:2]:
        size = (first.shape[1], first.shape[0])
        seen = cv2.resize(seen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if not seen.any():
        return 0.0
    gap = (warp_image(second, motion.flow) - first.astype(np.float32))[seen] / 255
    return float(np.square(gap).mean())


def video_flicker(first: Image, second: Image) -> float:
    """Mean absolute difference of a pair, 0 to 1.

    VBench's "temporal flickering" (Huang et al., CVPR 2024) of a video is one less the mean of
    this: ``(255 - MAE) / 255``. Takes motion for flicker: compare only outputs of one source.
    """
    return float(np.abs(first.astype(np.float32) - second).mean() / 255)


class PairErrors(NamedTuple):
    """Of a pair of frames t and t + 1: warp error of output and source, flicker of both."""

    output: float
    source: float
    output_flicker: float
    source_flicker: float


def pair_errors(sources: tuple[Image, Image], outputs: tuple[Image, Image]) -> PairErrors:
    """All pair measures of one pair, with the source's motion computed once."""
    motion = measured_flow(*sources)
    return PairErrors(
        output=warp_error(*outputs, motion),
        source=warp_error(*sources, motion),
        output_flicker=video_flicker(*outputs),
        source_flicker=video_flicker(*sources),
    )


def seam_ratio(
    errors: Sequence[float], seams: Collection[int], cuts: Collection[int] = ()
) -> float | None:
    """Warp error at chunk borders against that of the pairs around them; 1 is no seam.

    ``sum of e(seam) / sum of mean e(its neighbours)``, where the neighbours are the three pairs on
    either side that are neither seams nor scene cuts. Local, because a border in a fast passage
    says nothing about a slow one. Blind to seams that take several frames.

    Args:
        errors: ``errors[t]`` belongs to the frames t and t + 1.
        seams: first frames of chunks; a seam at frame b lies in the pair b - 1, b.
        cuts: first frames of shots; nothing is measured there.

    Returns:
        None where there is no seam, or nothing around it to compare with.

    >>> seam_ratio([1, 1, 3, 1, 1], seams=[3])
    3.0
    >>> seam_ratio([1, 1, 1], seams=[]) is None
    True
    """
    left_out = {b - 1 for b in seams} | {c - 1 for c in cuts}
    at, around = 0.0, 0.0
    for seam in sorted(set(seams) - set(cuts)):
        pair = seam - 1
        if not 0 <= pair < len(errors):
            continue
        near = [
            errors[n]
            for n in range(pair - _NEIGHBOURS, pair + _NEIGHBOURS + 1)
            if 0 <= n < len(errors) and n not in left_out
        ]
        if near:
            at += errors[pair]
            around += statistics.fmean(near)
    return at / around if around else None
