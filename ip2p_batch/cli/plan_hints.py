"""Advice on a plan: what will work, but may not give what the user expects."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..models import catalog
from ..noise_schedule import DISTILLED
from . import formatting

if TYPE_CHECKING:
    from ..planning.request import PreparedJob
    from ..recipe import Recipe

#: With a shorter side below this, in pixels, an edit has little of the source to follow.
_SHORT_SIDE = 32
#: Largest text guidance scale that the authors of LCM-LoRA with InstructPix2Pix recommend.
_MOST_DISTILLED_SCALE = 3


def hints_on(prepared: PreparedJob) -> list[str]:
    """Advice on the edit size and on few steps, one line each."""
    recipe = prepared.job.recipe
    video = prepared.job.source.is_video
    return [
        *_size_above_training(recipe),
        *_narrow(prepared),
        *(_no_carryover(recipe) if video else []),
        *_distilled_scales(recipe),
    ]


def _size_above_training(recipe: Recipe) -> list[str]:
    if recipe.size == "auto":
        return []
    with suppress(ModelError):  # of a damaged table, which only --size auto needs
        most = catalog.edit_sizes(recipe.model).training_size
        if recipe.size > most:
            return [
                f"--size {recipe.size} is above the model's training size ({most} px): edits may"
                " get worse. --size auto stays within it."
            ]
    return []


def _narrow(prepared: PreparedJob) -> list[str]:
    """About long and narrow images, such as panoramas."""
    sizes = [(i.width, i.height) for i in prepared.items if i.error is None]
    sides = [prepared.job.edit_size(*size) * min(size) / max(size) for size in sizes]
    narrow = [side for side in sides if side < _SHORT_SIDE]
    if not narrow:
        return []
    images, shortest = formatting.plural(len(narrow), "image"), max(8, round(min(narrow)))
    return [
        f"{images} so long and narrow that the edit has a side of {shortest} px. A larger --size,"
        " or parts of the image, give more to edit."
    ]


def _no_carryover(recipe: Recipe) -> list[str]:
    """About a carryover that the recipe asks for and too few steps turn off."""
    if not recipe.carryover or recipe.edits_borders:
        return []
    steps = formatting.plural(recipe.num_inference_steps, "step")
    return [
        f"Carryover is off: of {steps}, frames would inherit one at most. More steps or a larger"
        " --carryover turn it on."
    ]


def _distilled_scales(recipe: Recipe) -> list[str]:
    """About the scales of LoRAs that were distilled to few steps, such as LCM-LoRA."""
    fits = recipe.image_guidance_scale == 1 and recipe.guidance_scale <= _MOST_DISTILLED_SCALE
    if recipe.scheduler not in DISTILLED or not recipe.lora or fits:
        return []
    return [
        f"LoRAs for --scheduler {recipe.scheduler} are made for --image-guidance-scale 1 and"
        f" --guidance-scale 1 to {_MOST_DISTILLED_SCALE}; {recipe.image_guidance_scale:g} and"
        f" {recipe.guidance_scale:g} may give artifacts."
    ]
