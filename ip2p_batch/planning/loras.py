"""Check the LoRAs of a recipe before anything is queued, from the headers of files."""

from __future__ import annotations

from pathlib import Path

from ..editing.lora import files
from ..editing.lora.checkpoint import checkpoint_shapes
from ..editing.lora.matching import check_text_width, match
from ..editing.lora.modules import ModelShapes, folder_shapes
from ..errors import ModelError
from ..models import catalog, control_nets, hub
from ..recipe import Recipe


def check_loras(recipe: Recipe) -> None:
    """Check that every LoRA of a recipe can be merged into its model.

    Models and LoRAs on the hub that were not downloaded yet are checked when they are loaded.

    Raises:
        ModelError: a file is not there, is no LoRA of a supported kind, or does not fit the model.
    """
    if not recipe.lora:
        return
    if recipe.model.partition(":")[0] == catalog.IDENTITY:
        raise ModelError(
            f"--model {recipe.model} has no weights for --lora.", hint="Leave out --lora."
        )
    shapes, width = _model_shapes(recipe), _text_width(recipe)
    for lora in recipe.lora:
        path = files.local_file(lora) or files.cached_file(lora)
        if path is None:
            continue
        header = files.read_header(path)
        match(header, shapes)
        if width is not None:
            check_text_width(header, width)


def _model_shapes(recipe: Recipe) -> ModelShapes | None:
    """The shapes of the model's weights, if it is on this machine."""
    place = Path(catalog.locate(recipe.model))
    if place.is_file():
        return checkpoint_shapes(place)
    if not place.is_dir():
        found = hub.downloaded(recipe.model, "model_index.json", recipe.revision)
        if found is None:
            return None
        place = found.parent
    return folder_shapes(place) or None


def _text_width(recipe: Recipe) -> int | None:
    """The width of the text embedding that the model's UNet takes; None if it is not known."""
    configs = control_nets.model_configs(recipe.model, recipe.revision)
    width = None if configs is None else configs[0].get("cross_attention_dim")
    return width if isinstance(width, int) else None
