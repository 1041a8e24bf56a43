"""Fill in a recipe from the defaults of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models import catalog
from ..recipe import DEFAULT_MODEL, Recipe


def resolve_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe from explicit values; the rest comes from the model folder, then from Recipe.

    A model folder may hold ``ip2p_defaults.json``: the bundled model needs fewer steps and other
    scales than the large one.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the model folder's own defaults are damaged.
    """
    model = values.get("model") or DEFAULT_MODEL
    defaults = catalog.defaults(model) if isinstance(model, str) else {}
    return Recipe.from_dict({"instruction": "", **defaults, **values})


def recipe_for(model: str, instruction: str = "", **fields: Any) -> Recipe:
    """A recipe for ``model`` with the model's own defaults where ``fields`` sets nothing.

    Args:
        model: ``tiny`` (bundled), a diffusers folder, or a hub id.
        fields: any field of :class:`~ip2p_batch.recipe.Recipe`, such as ``size=768`` or
            ``size="auto"``.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the model folder's own defaults are damaged.
    """
    return resolve_recipe({"model": model, "instruction": instruction, **fields})
