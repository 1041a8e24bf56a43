"""How alike pictures are, and how steady a video is: plain functions of pixels, no weights."""

from .motion import PairErrors, pair_errors, seam_ratio, video_flicker, warp_error
from .semantic import directional_similarity, temporal_consistency, text_similarity
from .stills import edit_strength, psnr, ssim

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
