"""What kind of model a file or folder holds. Reads configuration and headers; loads no torch."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import kinds, one_file
from .header import read_shapes
from .kinds import ModelKind, OtherKind

#: Suffixes of checkpoints whose format is Python's pickle.
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
#: Folders with the weights of a model.
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
#: Name of half precision weights on the hub.
HALF_PRECISION = "fp16"
#: Largest configuration file that is read, in bytes.
_CONFIG_LIMIT = 4 << 20
#: Classes of parts, by the ``_class_name`` of a folder's ``config.json``.
_PART_CLASSES = {
    "ControlNetModel": kinds.CONTROL_NET,
    "T2IAdapter": kinds.T2I_ADAPTER,
    "AutoencoderKL": kinds.VAE,
    "AutoencoderTiny": kinds.VAE,
    "UNet2DConditionModel": kinds.UNET,
}
#: Files in a folder that holds a LoRA.
_LORA_FILES = ("adapter_config.json", "pytorch_lora_weights.safetensors")


def kind_at(place: Path) -> ModelKind | OtherKind | None:
    """The kind of the model in a file or folder; None if the folder does not say.

    Raises:
        ModelError: the file is a pickle or damaged, or is no model.
    """
    return _kind_of_file(place) if place.is_file() else _kind_of_folder(place)


def check_edits(model: str, place: Path) -> ModelKind | None:
    """The kind of a model that is to edit.

    Args:
        model: as the user gave it, for messages.

    Raises:
        ModelError: it cannot edit.
    """
    kind = kind_at(place)
    if isinstance(kind, ModelKind) and not kind.edits:
        raise ModelError(kinds.TEXT_TO_IMAGE.message(model), hint=kinds.TEXT_TO_IMAGE.hint)
    if isinstance(kind, OtherKind):
        raise ModelError(kind.message(model), hint=kind.hint)
    return kind


def check_trains(model: str, place: Path) -> ModelKind | None:
    """The kind of a model that is to be trained.

    Raises:
        ModelError: it cannot be trained.
    """
    kind = kind_at(place)
    if isinstance(kind, OtherKind):
        raise ModelError(kind.message(model), hint=kind.hint)
    if kind is not None and kind.family != "sd":
        raise ModelError(
            f"{model} is a Stable Diffusion XL model; only models based on Stable Diffusion 1 and 2"
            " can be trained.",
            hint=f"Use a base model such as {kinds.AUTHORS_MODEL}.",
        )
    return kind


def weights_variant(folder: Path) -> str | None:
    """The variant of the weights to load: ``fp16`` where a part has no others, else None."""
    for part in _PARTS:
        weights = list((folder / part).glob("*.safetensors"))
        if weights and all(map(_is_half, weights)):
            return HALF_PRECISION
    return None


def weights_files(place: Path) -> list[Path]:
    """The files whose weights are loaded: a checkpoint itself, or those in a folder."""
    if place.is_file():
        return [place]
    variant = weights_variant(place)
    files = []
    for part in _PARTS:
        weights = sorted((place / part).glob("*.safetensors"))
        half = [path for path in weights if _is_half(path)]
        full = [path for path in weights if not _is_half(path)]
        files += half if variant and half else full
    return files


def _is_half(path: Path) -> bool:
    # Shards are named .fp16-00001-of-00002 or -00001-of-00002.fp16.
    return re.search(rf"\.{HALF_PRECISION}[.-]", path.name) is not None


def read_config(path: Path) -> dict[str, Any]:
    """The object in a configuration file; empty if there is none or it is damaged."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(_CONFIG_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def block_channels(part: Path, default: tuple[int, ...]) -> tuple[int, ...]:
    """Channels of a UNet's or VAE's blocks, from the finest to the coarsest.

    Args:
        part: folder of the UNet or VAE.
        default: returned where its ``config.json`` does not say.
    """
    channels = read_config(part / "config.json").get("block_out_channels")
    if isinstance(channels, list) and channels and all(type(c) is int for c in channels):
        return tuple(channels)
    return default


def text_width(part: Path) -> int:
    """Width of the text embeddings that the UNet in a folder takes; 0 if it does not say."""
    width = read_config(part / "config.json").get("cross_attention_dim")
    return width if isinstance(width, int) else 0


def _kind_of_file(path: Path) -> ModelKind | OtherKind:
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ModelError(
            f"{path} is not read: {suffix} files are pickles, which can run any code.",
            hint="Convert it to .safetensors on a machine that you can lose: docs/control.md, "
            '"Checkpoints". The authors\' own checkpoint exists as .safetensors in'
            f" {kinds.AUTHORS_MODEL}.",
        )
    if suffix != ".safetensors":
        raise ModelError(
            f"{path} is a file, not a model.",
            hint="Give a .safetensors checkpoint, a diffusers folder or a hub id such as"
            f" {kinds.AUTHORS_MODEL}.",
        )
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    return _kind_of_checkpoint(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=16)
def _kind_of_checkpoint(path: Path, *_: int) -> ModelKind | OtherKind:
    """Remembered as long as the file is not changed: planning asks several times."""
    return one_file.kind_of(read_shapes(path))


def _kind_of_folder(folder: Path) -> ModelKind | OtherKind | None:
    index = read_config(folder / "model_index.json")
    if not index:
        return _kind_of_part(folder)
    name = str(index.get("_class_name"))
    unet = read_config(folder / "unet" / "config.json")
    if "unet" not in index and ("transformer" in index or "prior" in index):
        return OtherKind(f"a model of another kind ({_shown(name)})")
    if "controlnet" in index:
        return kinds.CONTROL_NET
    if not isinstance(unet.get("in_channels"), int):
        return None
    latent = read_config(folder / "vae" / "config.json").get("latent_channels", 4)
    family = _family(folder, index, unet)
    if family is None:
        return kinds.REFINER
    return kinds.by_channels(family, unet["in_channels"], latent)


def _family(folder: Path, index: dict[str, Any], unet: dict[str, Any]) -> kinds.Family | None:
    """The family of a folder with a UNet; None for a refiner."""
    second = index.get("text_encoder_2")
    has_second = isinstance(second, list) and any(second)
    # The UNet of SDXL takes the image size and a second text embedding as additional input.
    if not (has_second or unet.get("addition_embed_type") == "text_time"):
        return "sd"
    first = index.get("text_encoder")
    if not (isinstance(first, list) and any(first)):
        return None
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    continuous = "sigma_data" in scheduler or scheduler.get("timestep_type") == "continuous"
    return "cosxl" if continuous or index.get("is_cosxl_edit") is True else "sdxl"


def _kind_of_part(folder: Path) -> OtherKind | None:
    """The kind of a folder without ``model_index.json``."""
    part = _PART_CLASSES.get(str(read_config(folder / "config.json").get("_class_name")))
    if part is None and any((folder / name).is_file() for name in _LORA_FILES):
        return kinds.LORA
    return part


def _shown(name: str) -> str:
    return re.sub(r"[^\w.]", "?", name, flags=re.ASCII)[:60]
