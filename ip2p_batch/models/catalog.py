"""The bundled model, and what a model folder says of itself; reads files only, never torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError

#: Names of models that ship inside the package.
BUNDLED: Mapping[str, Path] = {"tiny": Path(__file__).parent / "tiny"}
#: A model folder may hold this file: its own defaults for steps, scales and size.
DEFAULTS_FILE = "ip2p_defaults.json"
#: The small autoencoder for previews of models with Stable Diffusion 1's latents (MIT licence).
TINY_VAE = "madebyollin/taesd"
#: A model folder may bring its own under this name, in diffusers' layout.
TINY_VAE_FOLDER = "tiny_vae"
_KEYS = {"num_inference_steps", "guidance_scale", "image_guidance_scale", "size", "scheduler"}


def locate(model: str) -> str:
    """A bundled name as its folder; an existing folder as its absolute path; else a hub id."""
    if model in BUNDLED:
        return str(BUNDLED[model])
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


def check_allowed(model: str, revision: str | None, allowed: Sequence[str] | None) -> None:
    """Refuse a model that ``IP2P_ALLOWED_MODELS`` does not list. Call it before loading.

    Args:
        allowed: what may be loaded; None is anything. An entry is a bundled name (``tiny``), a hub
            id (``owner/name``, or ``owner/name@revision`` for that revision alone), or the
            absolute path of a model folder, or of a folder that holds some.

    Raises:
        ModelError: it is not on the list.
    """
    if allowed is None:
        return
    place = locate(model)
    names = {entry for entry in allowed if not os.path.isabs(entry)}  # noqa: PTH117 - of texts
    if model in BUNDLED or not os.path.isdir(place):  # noqa: PTH112
        if names & {model.partition(":")[0], f"{model}@{revision}"}:
            return
    else:
        # What lies in the current folder under the name of a hub id is another model.
        real = Path(os.path.realpath(place))
        folders = (os.path.realpath(entry) for entry in allowed if entry not in names)
        if any(real.is_relative_to(folder) for folder in folders):
            return
    shown = model if revision is None else f"{model} (revision {revision})"
    raise ModelError(
        f"The model {shown} is not one that may be used here (IP2P_ALLOWED_MODELS).",
        hint=f"Use one of: {', '.join(allowed)}. Or add it to IP2P_ALLOWED_MODELS, for the command"
        " and for the workers.",
    )


def tiny_vae(model: str) -> tuple[str, str | None]:
    """Where the small autoencoder of ``model`` is: a folder or hub id, and the folder in it.

    Raises:
        ModelError: a bundled model has none.
    """
    place = Path(locate(model))
    if (place / TINY_VAE_FOLDER).is_dir():
        return str(place), TINY_VAE_FOLDER
    if model in BUNDLED:
        raise ModelError(
            f"--tiny-vae: the bundled model {model} has no smaller autoencoder than its own.",
            hint="Leave --tiny-vae out.",
        )
    return TINY_VAE, None


def check_tiny_vae(model: str, allowed: Sequence[str] | None) -> None:
    """Refuse a recipe with ``tiny_vae`` whose small autoencoder may not or cannot be had.

    Raises:
        ModelError: a bundled model has none, or ``IP2P_ALLOWED_MODELS`` does not list the hub's.
    """
    place, folder = tiny_vae(model)
    if folder is None:
        check_allowed(place, None, allowed)


def defaults(model: str) -> dict[str, Any]:
    """Recipe fields that ``model`` sets for itself; empty for hub ids and plain folders.

    Raises:
        ModelError: the folder's defaults file is not a JSON object of known fields.
    """
    path = Path(locate(model)) / DEFAULTS_FILE
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", hint="Mend or delete that file.") from None
    if not isinstance(values, dict) or not set(values) <= _KEYS:
        raise ModelError(
            f"{path} may set only {', '.join(sorted(_KEYS))}.", hint="Mend or delete that file."
        )
    return values
