"""Refuse control nets whose hints cannot be made, before anything is read."""

from __future__ import annotations

from pathlib import Path

from ..errors import RecipeError
from ..hints.depth_model import estimator_digest, estimator_of
from ..hints.kinds import check_kinds
from ..models import catalog
from ..recipe import Recipe
from ..settings import Settings


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


def depth_digests(recipe: Recipe) -> tuple[str, ...]:
    """The digests of depth estimators that are folders, one text for each net.

    Raises:
        ModelError: a file of one cannot be read.
    """
    return tuple(estimator_digest(estimator_of(net)) for net in recipe.control)


def check_estimators_allowed(recipe: Recipe, settings: Settings, *, roots: bool) -> None:
    """Check that the depth estimators of a recipe may be loaded.

    Args:
        roots: check folders against ``IP2P_ALLOWED_ROOTS``, too, as workers do.

    Raises:
        ModelError: ``IP2P_ALLOWED_MODELS`` does not name one.
        OutsideRoots: one is a folder that workers may not use.
    """
    for place in filter(None, map(estimator_of, recipe.control)):
        catalog.check_allowed(place, None, settings.allowed_models)
        if roots and Path(place).is_absolute():
            settings.allowed_roots.allow_folder(place)
