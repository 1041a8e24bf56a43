"""What kind of model a file or folder holds. Reads configuration files; loads no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import catalog

#: Suffixes of checkpoints in one file, as other programs use them.
_ONE_FILE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
#: The model of the InstructPix2Pix paper on the hub.
_AUTHORS_MODEL = "timbrooks/instruct-pix2pix"
#: Also ``identity:slow=0.1`` and the like, of tests.
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?|identity:[\w=.]+", re.ASCII)
#: Name of half precision weights on the hub.
HALF_PRECISION = "fp16"


def check_supported(model: str) -> None:
    """Refuse a model on this machine whose kind is not supported. Hub ids are not looked up.

    Raises:
        ModelError: a checkpoint in one file, another file, a Stable Diffusion XL model, or a
            relative path of a folder that is not there.
    """
    place = Path(catalog.locate(model)) if model else Path()
    # Only workers may have a folder that is named by its absolute path.
    if not place.is_absolute() and not place.is_file() and not _HUB_ID.fullmatch(model):
        raise ModelError(
            f"There is no model folder {model!r}.",
            hint=f"Give a diffusers folder, or a hub id such as {_AUTHORS_MODEL}; --model tiny is "
            "bundled and needs no download.",
        )
    if place.is_file():
        raise _not_a_folder(place)
    if _is_xl(place):
        raise ModelError(
            f"{model} is a Stable Diffusion XL model; only models based on Stable Diffusion 1 and 2"
            " are supported.",
            hint=f"Use a model such as {_AUTHORS_MODEL}.",
        )


def weights_variant(folder: Path) -> str | None:
    """The variant of the weights to load: ``fp16`` where a part has no others, else None."""
    for part in ("unet", "vae", "text_encoder"):
        names = {path.name for path in (folder / part).glob("*.safetensors")}
        if names and all(f".{HALF_PRECISION}." in name for name in names):
            return HALF_PRECISION
    return None


def _not_a_folder(path: Path) -> ModelError:
    if path.suffix.lower() not in _ONE_FILE:
        return ModelError(
            f"{path} is a file, not a model folder.",
            hint=f"Give a diffusers folder or a hub id such as {_AUTHORS_MODEL}.",
        )
    return ModelError(
        f"{path} is a checkpoint in one file; only folders in diffusers' layout are read.",
        hint=f"The authors' checkpoint is {_AUTHORS_MODEL} on the hub. Convert another one with"
        " diffusers' StableDiffusionInstructPix2PixPipeline.from_single_file and save_pretrained.",
    )


def _is_xl(folder: Path) -> bool:
    index = _read(folder / "model_index.json")
    second = index.get("text_encoder_2")
    # The UNet of SDXL takes the image size and a second text embedding as additional input.
    embedding = _read(folder / "unet" / "config.json").get("addition_embed_type")
    named = "XL" in str(index.get("_class_name"))
    return named or embedding == "text_time" or (isinstance(second, list) and any(second))


def _read(path: Path) -> dict[str, Any]:
    """An object of a configuration file; empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
