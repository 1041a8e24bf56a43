"""Models by name: bundled, local and on the hub; and those that are allowed. Loads no torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ModelError
from . import layout, one_file
from .edit_sizes import EDIT_SIZES_FILE, EditSizes
from .header import read_shapes
from .kinds import AUTHORS_MODEL, FACTS, Family, ModelKind

#: Models in this package: their names and folders.
BUNDLED: Mapping[str, Path] = {"tiny": Path(__file__).parent / "tiny"}
#: The editor that returns frames unchanged, and needs no model.
IDENTITY = "identity"
#: File in a model folder with its own defaults for steps, scales and size; optional.
DEFAULTS_FILE = "ip2p_defaults.json"
#: Configuration of the models that come in one file, by family, in diffusers' layout.
CONFIGS: Mapping[Family, Path] = {
    "sd": Path(__file__).parent / "configs/sd1",
    "sdxl": Path(__file__).parent / "configs/sdxl",
    "cosxl": Path(__file__).parent / "configs/sdxl",
}
#: Models on the hub that are not based on Stable Diffusion 1 or 2.
_HUB_FAMILIES: Mapping[str, Family] = {"diffusers/sdxl-instructpix2pix-768": "sdxl"}
#: Also ``identity:slow=0.1`` and the like, of tests.
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?|identity:[\w=.]+", re.ASCII)
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
    """The absolute path of a bundled or local model; a hub id is returned unchanged."""
    if model in BUNDLED:
        return str(BUNDLED[model])
    place = Path(model).expanduser()
    return str(place.absolute()) if place.exists() else model


def is_local(model: str) -> bool:
    """Whether ``model`` is bundled, or a file or folder on this machine."""
    return Path(locate(model)).exists()


def config_folder(model: str) -> Path | None:
    """The folder with the configuration of a local model, in diffusers' layout; else None.

    For a checkpoint in one file, that is a folder of this package.

    Raises:
        ModelError: the file is damaged or no model.
    """
    place = Path(locate(model))
    if place.is_file():
        return CONFIGS[family(model)]
    return place if place.is_dir() else None


def known_configs(model: str) -> Path | None:
    """The folder with the configuration of a hub id that this package knows; None for others."""
    if model == AUTHORS_MODEL:
        return CONFIGS["sd"]
    return CONFIGS[_HUB_FAMILIES[model]] if model in _HUB_FAMILIES else None


def check_supported(model: str, check: Callable[[str, Path], object] = layout.check_edits) -> None:
    """Refuse a model on this machine whose kind cannot edit. Hub ids are not looked up.

    Args:
        check: :func:`.layout.check_edits`, or :func:`.layout.check_trains` for a base model.

    Raises:
        ModelError: it is of another kind, or a relative path of what is not there.
    """
    place = Path(locate(model)) if model else Path()
    # Only workers may have a model that is named by its absolute path.
    if not place.is_absolute() and not _HUB_ID.fullmatch(model):
        raise ModelError(
            f"There is no model {model!r}.",
            hint=f"Give a diffusers folder, a .safetensors checkpoint, or a hub id such as"
            f" {AUTHORS_MODEL}; --model tiny is bundled and needs no download.",
        )
    if place.is_absolute():
        check(model, place)
    if place.is_file():
        _check_width(model, place)


def _check_width(model: str, place: Path) -> None:
    """Refuse a checkpoint whose UNet is not as wide as the configuration in this package."""
    config = CONFIGS[family(model)] / "unet"
    found = one_file.widths(read_shapes(place))
    expected = (layout.block_channels(config, (0,))[0], layout.text_width(config))
    if found != expected:
        raise ModelError(
            f"{model} has another architecture than Stable Diffusion: layers of width {found[0]}"
            f" and texts of width {found[1]}, not {expected[0]} and {expected[1]}.",
            hint="Give the model as a diffusers folder, which has its own configuration.",
        )


def family(model: str) -> Family:
    """The family of ``model``: from its files, or for hub ids, from a list; else ``sd``.

    Raises:
        ModelError: its file is damaged or no model.
    """
    if not is_local(model):
        return _HUB_FAMILIES.get(model, "sd")
    kind = layout.kind_at(Path(locate(model)))
    return kind.family if isinstance(kind, ModelKind) else "sd"


def check_allowed(model: str, revision: str | None, allowed: Sequence[str] | None) -> None:
    """Check that ``IP2P_ALLOWED_MODELS`` lists a model. Call it before the model is loaded.

    Args:
        allowed: the entries of the list; None allows any model. An entry is a bundled name
            (``tiny``), a hub id (``owner/name``, or ``owner/name@revision`` for one revision), or
            the absolute path of a model's folder or file, or of a folder of models.

    Raises:
        ModelError: the model is not on the list.
    """
    if allowed is None:
        return
    found = locate(model)
    is_name = model in BUNDLED or not os.path.exists(found)  # noqa: PTH110
    place = None if is_name else found
    shown = model if revision is None else f"{model} (revision {revision})"
    check_listed("model", shown, {model.partition(":")[0], f"{model}@{revision}"}, place, allowed)


def check_listed(
    noun: str, shown: str, names: Set[str], place: str | None, allowed: Sequence[str]
) -> None:
    """Check that ``IP2P_ALLOWED_MODELS`` lists something that is to be loaded.

    Args:
        noun, shown: what it is, and its name, for the message.
        names: by which the list may have it; they count if it has no ``place``.
        place: its file or folder on this machine.
        allowed: the entries of the list, as for :func:`check_allowed`.

    Raises:
        ModelError: it is not on the list.
    """
    listed = {entry for entry in allowed if not os.path.isabs(entry)}  # noqa: PTH117 - of texts
    if place is None:
        if listed & names:
            return
    else:
        # A folder or file with the name of a hub id in the current folder is another model.
        real = Path(os.path.realpath(place))
        folders = (os.path.realpath(entry) for entry in allowed if entry not in listed)
        if any(real.is_relative_to(folder) for folder in folders):
            return
    raise ModelError(
        f"The {noun} {shown} is not allowed here (IP2P_ALLOWED_MODELS).",
        hint=f"Use one of: {', '.join(allowed)}. Or add the {noun} to IP2P_ALLOWED_MODELS, for this"
        " command and for the workers.",
    )


def tiny_vae(model: str) -> tuple[str, str | None]:
    """Locate the small autoencoder of ``model``.

    Returns:
        A folder or hub id, and the name of the autoencoder's folder in it, or None.

    Raises:
        ModelError: a bundled model has no small autoencoder, or the model is damaged.
    """
    place = Path(locate(model))
    if (place / TINY_VAE_FOLDER).is_dir():
        return str(place), TINY_VAE_FOLDER
    if model in BUNDLED:
        raise ModelError(
            f"--tiny-vae: the bundled model {model} has no smaller autoencoder than its own.",
            hint="Leave out --tiny-vae.",
        )
    return FACTS[family(model)].tiny_vae, None


def check_tiny_vae(model: str, allowed: Sequence[str] | None) -> None:
    """Check that the small autoencoder of ``model`` exists and is allowed.

    Raises:
        ModelError: a bundled model has none, or ``IP2P_ALLOWED_MODELS`` does not list it.
    """
    place, folder = tiny_vae(model)
    if folder is None:
        check_allowed(place, None, allowed)


def defaults(model: str) -> dict[str, Any]:
    """The recipe fields for which ``model`` or its family has its own defaults.

    Raises:
        ModelError: the folder's defaults file is not a JSON object of known fields, or the model is
            damaged.
    """
    path = Path(locate(model)) / DEFAULTS_FILE
    if not path.is_file():
        return dict(FACTS[family(model)].defaults)
    values = read_json(path)
    if not isinstance(values, dict) or not set(values) <= _DEFAULTS:
        raise ModelError(
            f"{path} may set only {', '.join(sorted(_DEFAULTS))}.",
            hint="Fix or delete that file.",
        )
    return values


def read_json(path: Path) -> Any:
    """The content of a file that a model folder may have.

    Raises:
        ModelError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}", hint="Fix or delete that file.") from None


def scheduler_config(model: str) -> dict[str, Any]:
    """The scheduler's configuration of a model; empty for other hub ids and a damaged file."""
    try:
        folder = config_folder(model) or known_configs(model)
    except ModelError:
        return {}
    if folder is None:
        return {}
    return layout.read_config(folder / "scheduler" / "scheduler_config.json")


def edit_sizes(model: str) -> EditSizes:
    """The edit sizes of ``model``: from its folder, else the training size of its family.

    Raises:
        ModelError: the folder's table or the model is damaged.
    """
    path = Path(locate(model)) / EDIT_SIZES_FILE
    if not path.is_file():
        return EditSizes.unmeasured(FACTS[family(model)].training_size)
    try:
        return msgspec.json.decode(path.read_bytes(), type=EditSizes)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} is not a table of edit sizes: {error}.",
            hint="Fix or delete that file, or set --size to a number of pixels.",
        ) from None
