"""Presets: named sets of recipe fields that trade speed for fidelity. Reads files; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ModelError
from . import catalog

Preset = Literal["fast", "balanced", "quality"]
PRESETS: tuple[str, ...] = get_args(Preset)
#: File in a model folder with presets of its own; optional. Those that it lacks are the general
#: ones, which suit Stable Diffusion 1.5.
PRESETS_FILE = "ip2p_presets.json"
_GENERAL = Path(__file__).parent / "presets.json"
#: Recipe fields that a preset may set.
_FIELDS = {
    "num_inference_steps",
    "scheduler",
    "guidance_scale",
    "image_guidance_scale",
    "guidance_interval",
    "deepcache_interval",
    "size",
    "detail",
    "lora",
}


def values(name: str, model: str) -> dict[str, Any]:
    """The recipe fields of a preset for ``model``.

    Args:
        name: one of :data:`PRESETS`.

    Raises:
        ModelError: the folder's presets file is damaged.
    """
    general = _read(_GENERAL)
    return {**general, **own(model)}[name]


def own(model: str) -> dict[str, dict[str, Any]]:
    """The presets of a model folder by name; empty for hub ids.

    Raises:
        ModelError: the folder's presets file is damaged.
    """
    folder = Path(catalog.locate(model))
    path = folder / PRESETS_FILE
    if not path.is_file():
        return {}
    return {name: _with_paths(fields, folder) for name, fields in _read(path).items()}


def _with_paths(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The fields; LoRAs in the model folder by their absolute paths."""
    if "lora" not in fields:
        return fields
    loras = [
        {**lora, "model": str(folder / lora["model"])}
        if (folder / str(lora.get("model"))).exists()
        else lora
        for lora in fields["lora"]
    ]
    return {**fields, "lora": loras}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    content = catalog.read_json(path)
    problem = _problem(content)
    if problem:
        raise ModelError(f"{path}: {problem}.", hint="Fix or delete that file.")
    return dict(content)


def _problem(content: object) -> str:
    """What is wrong with a presets file; empty if nothing is."""
    if not isinstance(content, dict) or not set(content) <= set(PRESETS):
        return f"a presets file has an object of {', '.join(PRESETS)}"
    for name, fields in content.items():
        if not isinstance(fields, dict) or not set(fields) <= _FIELDS:
            return f"the preset {name} may set only {', '.join(sorted(_FIELDS))}"
        loras = fields.get("lora", [])
        if not isinstance(loras, list) or not all(isinstance(lora, Mapping) for lora in loras):
            return f"lora of the preset {name} is not a list of objects"
    return ""
