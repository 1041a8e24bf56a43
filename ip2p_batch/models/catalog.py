"""Bundled models, model folders and the models that are allowed. Reads files; loads no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError

#: Models in this package: their names and folders.
BUNDLED: Mapping[str, Path] = {"tiny": Path(__file__).parent / "tiny"}
#: File in a model folder with its own defaults for steps, scales and size; optional.
DEFAULTS_FILE = "ip2p_defaults.json"
#: Small autoencoder for previews, for models with the latents of Stable Diffusion 1 (MIT licence).
TINY_VAE = "madebyollin/taesd"
#: Folder of a small autoencoder in a model folder, in diffusers' layout; optional.
TINY_VAE_FOLDER = "tiny_vae"
_DEFAULTS = {
    "num_inference_steps",
    "guidance_scale",
    "image_guidance_scale",
    "size",
    "scheduler",
}


def locate(model: str) -> str:
    """The absolute path of a bundled model or of a model folder; a hub id is returned unchanged."""
    if model in BUNDLED:
        return str(BUNDLED[model])
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


def check_allowed(model: str, revision: str | None, allowed: Sequence[str] | None) -> None:
    """Check that ``IP2P_ALLOWED_MODELS`` lists a model. Call it before the model is loaded.

    Args:
        allowed: the entries of the list; None allows any model. An entry is a bundled name
            (``tiny``), a hub id (``owner/name``, or ``owner/name@revision`` for one revision), or
            the absolute path of a model folder or of a folder of model folders.

    Raises:
        ModelError: the model is not on the list.
    """
    if allowed is None:
        return
    place = locate(model)
    names = {entry for entry in allowed if not os.path.isabs(entry)}  # noqa: PTH117 - of texts
    if model in BUNDLED or not os.path.isdir(place):  # noqa: PTH112
        if names & {model.partition(":")[0], f"{model}@{revision}"}:
            return
    else:
        # A folder with the name of a hub id in the current folder is another model.
        real = Path(os.path.realpath(place))
        folders = (os.path.realpath(entry) for entry in allowed if entry not in names)
        if any(real.is_relative_to(folder) for folder in folders):
            return
    shown = model if revision is None else f"{model} (revision {revision})"
    raise ModelError(
        f"The model {shown} is not allowed here (IP2P_ALLOWED_MODELS).",
        hint=f"Use one of: {', '.join(allowed)}. Or add the model to IP2P_ALLOWED_MODELS, for this"
        " command and for the workers.",
    )


def tiny_vae(model: str) -> tuple[str, str | None]:
    """Locate the small autoencoder of ``model``.

    Returns:
        A folder or hub id, and the name of the autoencoder's folder in it, or None.

    Raises:
        ModelError: a bundled model has no small autoencoder.
    """
    place = Path(locate(model))
    if (place / TINY_VAE_FOLDER).is_dir():
        return str(place), TINY_VAE_FOLDER
    if model in BUNDLED:
        raise ModelError(
            f"--tiny-vae: the bundled model {model} has no smaller autoencoder than its own.",
            hint="Leave out --tiny-vae.",
        )
    return TINY_VAE, None


def check_tiny_vae(model: str, allowed: Sequence[str] | None) -> None:
    """Check that the small autoencoder of ``model`` exists and is allowed.

    Raises:
        ModelError: a bundled model has none, or ``IP2P_ALLOWED_MODELS`` does not list it.
    """
    place, folder = tiny_vae(model)
    if folder is None:
        check_allowed(place, None, allowed)


def defaults(model: str) -> dict[str, Any]:
    """The recipe fields for which ``model`` has its own defaults; empty for hub ids.

    Raises:
        ModelError: the folder's defaults file is not a JSON object of known fields.
    """
    path = Path(locate(model)) / DEFAULTS_FILE
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}", hint="Fix or delete that file.") from None
    if not isinstance(values, dict) or not set(values) <= _DEFAULTS:
        raise ModelError(
            f"{path} may set only {', '.join(sorted(_DEFAULTS))}.",
            hint="Fix or delete that file.",
        )
    return values
