"""Metrics of similarity, sharpness and temporal consistency: pure functions."""

from .clip_metrics import directional_similarity, temporal_consistency, text_similarity
from .image_metrics import edit_strength, psnr, ssim
from .sharpness import EdgeMatch, edge_f1, edge_match, gradient_energy
from .temporal_metrics import PairErrors, pair_errors, seam_ratio, video_flicker, warp_error

__all__ = [
    "EdgeMatch",
    "PairErrors",
    "directional_similarity",
    "edge_f1",
    "edge_match",
    "edit_strength",
    "gradient_energy",
    "pair_errors",
    "psnr",
    "seam_ratio",
    "ssim",
    "temporal_consistency",
    "text_similarity",
    "video_flicker",
    "warp_error",
]
