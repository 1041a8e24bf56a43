"""The classes of diffusers' pipelines that are loaded."""

from __future__ import annotations

from typing import Any

from ..models.kinds import ModelKind


def pipeline_class(kind: ModelKind) -> tuple[Any, dict[str, Any]]:
    """The class of a kind's InstructPix2Pix pipeline, and its options."""
    import diffusers

    if kind.family == "sd":
        options: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
        return diffusers.StableDiffusionInstructPix2PixPipeline, options
    options = {"add_watermarker": False, "is_cosxl_edit": kind.family == "cosxl"}
    return diffusers.StableDiffusionXLInstructPix2PixPipeline, options
