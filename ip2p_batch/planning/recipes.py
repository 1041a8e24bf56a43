"""Fill in a recipe from a preset and from the defaults of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RecipeError
from ..models import catalog, presets
from ..recipe import DEFAULT_MODEL, Recipe


def resolve_recipe(*layers: Mapping[str, Any]) -> Recipe:
    """A recipe from layers of explicit values; the rest comes from the model folder.

    A layer may name a ``preset`` in addition to recipe fields. The preset of the last layer that
    names one counts: its values win over the layers before, those of its own layer over it. So
    ``--preset`` wins over a recipe file, and a field in the file over a preset in the file.

    A model folder may hold ``ip2p_defaults.json``: the bundled model needs fewer steps and other
    scales than the large one. They come before all layers, the defaults of Recipe before these.

    Args:
        layers: the last one wins, such as a recipe file and then options.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the model folder's own defaults or presets are damaged.
    """
    given = {name: value for layer in layers for name, value in layer.items()}
    model = given.get("model") or DEFAULT_MODEL
    known = isinstance(model, str)
    merged = dict(catalog.defaults(model)) if known else {}
    by = max((n for n, layer in enumerate(layers) if layer.get("preset")), default=None)
    for number, layer in enumerate(layers):
        if number == by and known:
            merged |= preset_values(layer["preset"], model)
        merged |= {name: value for name, value in layer.items() if name != "preset"}
    return Recipe.from_dict({"instruction": "", **merged})


def preset_values(name: object, model: str) -> dict[str, Any]:
    """The recipe fields of a preset for ``model``.

    Raises:
        RecipeError: there is no such preset.
        ModelError: the model folder's presets are damaged.
    """
    if name not in presets.PRESETS:
        raise RecipeError(
            f"preset is {name!r}; it must be one of: {', '.join(presets.PRESETS)}.",
            hint="Change --preset, or preset in the recipe file.",
        )
    return presets.values(str(name), model)


def recipe_for(
    model: str, instruction: str = "", *, preset: presets.Preset | None = None, **fields: Any
) -> Recipe:
    """A recipe for ``model`` with the model's own defaults where ``fields`` sets nothing.

    Args:
        model: ``tiny`` (bundled), a diffusers folder, or a hub id.
        preset: ``fast``, ``balanced`` or ``quality``; its values win over the model's defaults.
        fields: any field of :class:`~ip2p_batch.recipe.Recipe`, such as ``size=768`` or
            ``size="auto"``. They win over the preset.

    Raises:
        RecipeError: a value is unknown or out of range.
        ModelError: the model folder's own defaults or presets are damaged.
    """
    return resolve_recipe({"model": model, "instruction": instruction, "preset": preset, **fields})
