"""The bundled model, and what a model folder says of itself; reads files only, never torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError

#: Names of models that ship inside the package.
BUNDLED: Mapping[str, Path] = {"tiny": Path(__file__).parent / "tiny"}
#: A model folder may hold this file: its own defaults for steps, scales and size.
DEFAULTS_FILE = "ip2p_defaults.json"
_KEYS = {"num_inference_steps", "guidance_scale", "image_guidance_scale", "size", "scheduler"}


def locate(model: str) -> str:
    """A bundled name as its folder; an existing folder as its absolute path; else a hub id."""
    if model in BUNDLED:
        return str(BUNDLED[model])
    folder = Path(model).expanduser()
    return str(folder.absolute()) if folder.is_dir() else model


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
