"""Compare an output with its source at the source's full size: sharpness, edges, structure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import cv2
import msgspec
import numpy as np

from ..frame import Image
from .image_metrics import ssim
from .sharpness import edge_match, gradient_energy


class FullSizeScore(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of an image, or their means over several, at the source's full size.

    Attributes:
        gradient_energy, source_gradient_energy: see :func:`sharpness.gradient_energy`.
        sharpness: ``gradient_energy / source_gradient_energy``: 1 is as sharp as the source, less
            is blurred, more has noise, drawn lines or higher contrast. None for a source without
            any gradient.
        edge_f1, edge_precision, edge_recall: edges of the output against those of the source, 0 to
            1; see :func:`sharpness.edge_match`.
        ssim: SSIM of luma of output and source, -1 to 1.
    """

    gradient_energy: float
    source_gradient_energy: float
    sharpness: float | None
    edge_f1: float
    edge_precision: float
    edge_recall: float
    ssim: float


def full_size_score(source: Image, output: Image) -> FullSizeScore:
    """Compare an output with its source.

    Args:
        source: uint8 RGB.
        output: uint8 RGB; one of another size is scaled to the source's size, as a viewer would.
            Images with a side below the 11 pixels of SSIM's window are enlarged to that.
    """
    size = (max(11, source.shape[1]), max(11, source.shape[0]))
    source, output = scale(source, size), scale(output, size)
    edges = edge_match(output, source)
    energy, source_energy = gradient_energy(output), gradient_energy(source)
    return FullSizeScore(
        gradient_energy=energy,
        source_gradient_energy=source_energy,
        sharpness=energy / source_energy if source_energy else None,
        edge_f1=edges.f1,
        edge_precision=edges.precision,
        edge_recall=edges.recall,
        ssim=ssim(output, source),
    )


def mean_score(scores: Sequence[FullSizeScore]) -> FullSizeScore:
    """Means of at least one score; the sharpness is the ratio of the mean gradient energies."""
    means = {
        name: statistics.fmean(getattr(score, name) for score in scores)
        for name in FullSizeScore.__struct_fields__
        if name != "sharpness"
    }
    energy, source_energy = means["gradient_energy"], means["source_gradient_energy"]
    return FullSizeScore(**means, sharpness=energy / source_energy if source_energy else None)


def scale(image: Image, size: tuple[int, int]) -> Image:
    """Scale to ``(width, height)``: bicubic where a side grows, else by areas."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    grows = size[0] > width or size[1] > height
    method = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
