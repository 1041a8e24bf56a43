"""Metrics of image similarity and temporal consistency: pure functions of pixels or embeddings."""

from .clip_metrics import directional_similarity, temporal_consistency, text_similarity
from .image_metrics import edit_strength, psnr, ssim
from .temporal_metrics import PairErrors, pair_errors, seam_ratio, video_flicker, warp_error

__all__ = [
    "PairErrors",
    "directional_similarity",
    "edit_strength",
    "pair_errors",
    "psnr",
    "seam_ratio",
    "ssim",
    "temporal_consistency",
    "text_similarity",
    "video_flicker",
    "warp_error",
]
