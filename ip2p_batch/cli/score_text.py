"""Scores as text: one row for each measure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import formatting

if TYPE_CHECKING:
    from ..evaluation.clip import ClipScores
    from ..evaluation.full_size import FullSizeScore
    from ..evaluation.images import ImagesScore
    from ..evaluation.video import Score

_HEAD = ("MEASURE", "VALUE", "")
#: Images that are listed one by one; --json lists all.
_LISTED = 20

Row = tuple[str, str, str]


def describe_video(score: Score, clip_scores: ClipScores | None) -> list[str]:
    """The scores of a video as text."""
    seam = "-" if score.seam_ratio is None else f"{score.seam_ratio:.3f}"
    rows: list[Row] = [
        (
            "warp error x 1000",
            f"{score.warp_error:.3f}",
            "0 is steady, along the source's motion",
        ),
        ("  of the source", f"{score.source_warp_error:.3f}", ""),
        ("  added by the edit", f"{score.excess:+.3f}", ""),
        (
            "seam ratio",
            seam,
            f"at {formatting.plural(len(score.seams), 'chunk border')}; 1 is no seam",
        ),
        (
            "flicker (VBench)",
            f"{score.flicker:.4f}",
            f"1 is a still image; source {score.source_flicker:.4f}",
        ),
        (
            f"SSIM at {score.width}x{score.height}",
            f"{score.source_ssim:.3f}",
            "1 has the structure of the source",
        ),
        *_full_size_rows(score.full_size, f"at {score.source_width}x{score.source_height}"),
    ]
    if clip_scores is not None:
        rows += _clip_rows(clip_scores)
    cuts = formatting.plural(len(score.cuts), "cut")
    head = f"{formatting.plural(score.frames, 'frame')} at {score.width}x{score.height}, {cuts}"
    return [head, "", *formatting.table(_HEAD, rows)]


def describe_images(score: ImagesScore) -> list[str]:
    """The scores of images as text: the means, and each image unless there are many."""
    count = len(score.images)
    first = score.images[0]
    size = f"{first.width}x{first.height}" if count == 1 else "their full size, means"
    head = f"{formatting.plural(count, 'image')} at {size}"
    lines = [head, "", *formatting.table(_HEAD, list(_full_size_rows(score.mean, "at full size")))]
    if 1 < count <= _LISTED:
        rows = [
            (
                image.name,
                f"{image.width}x{image.height}",
                _ratio(image.scores.sharpness),
                f"{image.scores.edge_f1:.3f}",
                f"{image.scores.ssim:.3f}",
            )
            for image in score.images
        ]
        lines += ["", *formatting.table(("IMAGE", "SIZE", "SHARPNESS", "EDGE F1", "SSIM"), rows)]
    if score.left_out:
        noun = formatting.plural(len(score.left_out), "image")
        lines += ["", f"{noun} not compared:", *score.left_out[:_LISTED]]
    return lines


def _full_size_rows(score: FullSizeScore, where: str) -> Iterator[Row]:
    yield f"SSIM {where}", f"{score.ssim:.3f}", ""
    yield f"sharpness {where}", _ratio(score.sharpness), "1 is as sharp as the source"
    energies = f"mean slope of luma; source {score.source_gradient_energy:.4f}"
    yield "  gradient energy", f"{score.gradient_energy:.4f}", energies
    yield f"edge F1 {where}", f"{score.edge_f1:.3f}", "1 has exactly the edges of the source"
    yield "  precision", f"{score.edge_precision:.3f}", "lowered by noise and new lines"
    yield "  recall", f"{score.edge_recall:.3f}", "lowered by blur"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _clip_rows(scores: ClipScores) -> Iterator[Row]:
    for name, value in (
        ("CLIP: frame to frame", scores.temporal_consistency),
        ("CLIP: to the caption", scores.text_similarity),
        ("CLIP: direction", scores.directional_similarity),
    ):
        if value is not None:
            yield name, f"{value:.3f}", f"over {formatting.plural(scores.frames, 'frame')}"
