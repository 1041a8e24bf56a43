"""Temporal consistency of a video: change that follows the source's motion is not flicker.

All metrics here score a video without any edit best, and some score blur well. Compare them only
together with a metric of the edit itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..frame import Image
from ..temporal.flow import Motion, measured_flow, warp_image

#: Pairs of frames on each side of a seam that the seam is compared with.
_NEIGHBOURS = 3


def warp_error(first: Image, second: Image, motion: Motion) -> float:
    """Warp error of two consecutive frames: ``sum M |W(second) - first|^2 / sum M``.

    Pixel values are scaled to 0 to 1. W warps the second frame back along the motion of the source
    (not of the output). The mask M excludes pixels that the source's motion occludes, and counts
    each colour channel. Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018
    (https://arxiv.org/abs/1808.00449). Computed in float: in uint8, as in StreamV2V's script,
    negative differences wrap around. Papers usually report it times 1000.

    From 0 (steady) to 1. Takes no account of occluded pixels, and cannot detect a wrong flow or a
    missing edit. A copy of the source does not score 0, but what its own noise, changes of light
    and flow errors give.

    Args:
        first, second: frames t and t + 1, uint8 RGB of the same shape.
        motion: of the source, with frame t as target and frame t + 1 as reference.

    Raises:
        ValueError: the shapes of the frames differ.

    >>> still = Motion(np.zeros((64, 64, 2), np.float32), np.zeros((64, 64), bool))
    >>> dark, light = (np.full((64, 64, 3), v, np.uint8) for v in (0, 51))
    >>> round(warp_error(dark, light, still), 6)
    0.04
    """
    if first.shape != second.shape:
        raise ValueError(f"frames of two shapes, {first.shape} and {second.shape}")
    visible = ~motion.occluded
    if visible.shape != first.shape[:2]:
        size = (first.shape[1], first.shape[0])
        visible = cv2.resize(visible.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    if not visible.any():
        return 0.0
    difference = (warp_image(second, motion.flow) - first.astype(np.float32))[visible] / 255
    return float(np.square(difference).mean())


def video_flicker(first: Image, second: Image) -> float:
    """Mean absolute difference of two consecutive frames, 0 to 1.

    "Temporal flickering" of VBench (Huang et al., CVPR 2024, https://arxiv.org/abs/2311.17982) is
    1 minus the mean of this over a video: ``(255 - MAE) / 255``. Motion counts as flicker, so
    compare only outputs of the same source.

    Args:
        first, second: uint8 RGB of the same shape.
    """
    return float(np.abs(first.astype(np.float32) - second).mean() / 255)


class PairErrors(NamedTuple):
    """Warp error and flicker of frames t and t + 1, of the output and of the source."""

    output: float
    source: float
    output_flicker: float
    source_flicker: float


def pair_errors(sources: tuple[Image, Image], outputs: tuple[Image, Image]) -> PairErrors:
    """Measure two consecutive frames of both videos; computes the source's motion once.

    Args:
        sources, outputs: frames t and t + 1, uint8 RGB, all of the same shape.
    """
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
    """Warp error at chunk borders, divided by that of neighbouring pairs; 1 is no visible seam.

    ``sum of e(seam) / sum of mean e(neighbours)``. The neighbours are the three pairs on each side
    that are neither seams nor scene cuts, so that fast passages are not compared with slow ones.
    Seams that extend over several frames are not detected.

    Args:
        errors: warp errors; ``errors[t]`` is of frames t and t + 1.
        seams: first frames of chunks; a seam at frame b is measured in the pair b - 1, b.
        cuts: first frames of shots; seams there are not measured.

    Returns:
        the ratio; None without a seam, or without neighbours to compare with.

    >>> seam_ratio([1, 1, 3, 1, 1], seams=[3])
    3.0
    >>> seam_ratio([1, 1, 1], seams=[]) is None
    True
    """
    excluded = {seam - 1 for seam in seams} | {cut - 1 for cut in cuts}
    at_seams, around_seams = 0.0, 0.0
    for seam in sorted(set(seams) - set(cuts)):
        pair = seam - 1
        if not 0 <= pair < len(errors):
            continue
        near = [
            errors[n]
            for n in range(pair - _NEIGHBOURS, pair + _NEIGHBOURS + 1)
            if 0 <= n < len(errors) and n not in excluded
        ]
        if near:
            at_seams += errors[pair]
            around_seams += statistics.fmean(near)
    return at_seams / around_seams if around_seams else None
