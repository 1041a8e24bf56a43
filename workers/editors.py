"""Which editor a recipe's model means."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ip2p_batch import models
from ip2p_batch.edit.editor import Editor, IdentityEditor
from ip2p_batch.errors import ModelError
from ip2p_batch.recipe import Recipe
from ip2p_batch.settings import Settings

#: Gives frames back as they are, to time and to test everything but the model.
#: ``identity:slow=0.05`` takes that many seconds a frame.
IDENTITY = "identity"


def editor_for(recipe: Recipe, settings: Settings) -> Editor:
    """Load the editor for ``recipe`` on this worker's device.

    Raises:
        ModelError: it cannot be found or loaded, or is not on the list of ``IP2P_MODELS``.
        OutsideRoots: it is a folder that this worker may not use.
    """
    models.check_allowed(recipe.model, recipe.revision, settings.models)
    if recipe.fast_vae:
        models.check_fast_vae(recipe.model, settings.models)
    name, _, option = recipe.model.partition(":")
    if name == IDENTITY:
        return _identity(option)
    # Here, not above: seconds of imports that no other process should pay for.
    from ip2p_batch.edit.loading import load_editor

    model = recipe.model
    if model not in models.BUNDLED and Path(model).expanduser().is_dir():
        folder = settings.roots.allow(models.locate(model))
        for part in (*folder.glob("*"), *folder.glob("*/*")):
            settings.roots.allow(part)  # a link among the files leads no further, either
        model = str(folder)
    return load_editor(
        model,
        revision=recipe.revision,
        dtype=recipe.dtype,
        device=settings.device,
        threads=settings.threads,
        cache=settings.cache,
    )


def _identity(option: str) -> IdentityEditor:
    if not option:
        return IdentityEditor()
    key, _, value = option.partition("=")
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1
    if key != "slow" or seconds < 0:
        raise ModelError(f"{IDENTITY}:{option} is not known.", hint=f"Use {IDENTITY}:slow=SECONDS.")

    @contextmanager
    def slow() -> Iterator[None]:
        time.sleep(seconds)
        yield

    def gate() -> AbstractContextManager[object]:
        return slow()

    return IdentityEditor(gate=gate)
