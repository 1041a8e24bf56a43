"""Check the LoRAs of a recipe before anything is queued, from the headers of files."""

from __future__ import annotations

from pathlib import Path

from ..editing.lora import files
from ..editing.lora.matching import match
from ..editing.lora.modules import ModelShapes, folder_shapes
from ..errors import ModelError
from ..models import catalog
from ..recipe import Recipe

#: Editors without weights, also with options: ``identity:slow=1``.
_NO_WEIGHTS = "identity"


def check_loras(recipe: Recipe) -> None:
    """Check that every LoRA of a recipe can be merged into its model.

    A model or LoRA on the hub that was not downloaded yet is checked when it is loaded.

    Raises:
        ModelError: a file is not there, is no LoRA of a supported kind, or does not fit the model.
    """
    if not recipe.lora:
        return
    if recipe.model.partition(":")[0] == _NO_WEIGHTS:
        raise ModelError(
            f"--model {recipe.model} has no weights for --lora.", hint="Leave out --lora."
        )
    shapes = _model_shapes(recipe)
    for lora in recipe.lora:
        path = files.local_file(lora) or files.cached_file(lora)
        if path is not None:
            match(files.read_header(path), shapes)


def _model_shapes(recipe: Recipe) -> ModelShapes | None:
    """The shapes of the model's weights, if its folder is on this machine."""
    folder = Path(catalog.locate(recipe.model))
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            index = try_to_load_from_cache(
                recipe.model, "model_index.json", revision=recipe.revision
            )
        except HFValidationError:
            return None
        if not isinstance(index, str):
            return None
        folder = Path(index).parent
    return folder_shapes(folder) or None
