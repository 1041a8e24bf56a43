"""Refuse control nets whose hints cannot be made, before anything is read."""

from __future__ import annotations

from ..errors import RecipeError
from ..hints.kinds import check_kinds
from ..recipe import Recipe


def check_hints(recipe: Recipe) -> None:
    """Refuse what has no hints.

    Raises:
        RecipeError: a kind is neither made here nor given as images; or tiles, which have none.
    """
    check_kinds(recipe.control)
    if recipe.control and recipe.detail == "tiles":
        raise RecipeError(
            "--detail tiles draws without control nets and would undo them.",
            hint="Omit --detail tiles, or --control.",
        )
