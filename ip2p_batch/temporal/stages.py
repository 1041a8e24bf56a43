"""The temporal filters that a recipe asks for."""

from __future__ import annotations

from ..recipe import Recipe
from ..threads import CpuPool
from .deflicker import Deflicker
from .filter import TemporalFilter
from .pipeline import Stage


def stages_for(recipe: Recipe, cpu_pool: CpuPool | None = None) -> list[Stage]:
    """Create the recipe's stages; the sum of their radii is ``recipe.temporal_radius``.

    Args:
        cpu_pool: threads for the temporal filter; None: the caller's thread.
    """
    stages: list[Stage] = []
    if recipe.temporal_filter:
        stages.append(TemporalFilter(recipe.temporal_filter, cpu_pool))
    if recipe.deflicker:
        stages.append(Deflicker(recipe.deflicker))
    return stages
