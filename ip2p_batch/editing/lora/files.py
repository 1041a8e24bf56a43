"""Find the file of a LoRA and read its header. Loads no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open

from ...errors import ModelError
from ...models import catalog, hub
from ...recipe_parts import Lora
from ...storage.atomic import known_digest
from .modules import Shape

SUFFIX = ".safetensors"
#: Suffixes of files that hold pickles, which can run code when they are loaded.
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
#: Names that diffusers and peft give to the only file of a LoRA on the hub.
_HUB_NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
#: Peft's configuration next to ``adapter_model.safetensors``.
_PEFT_CONFIG = "adapter_config.json"
#: diffusers keeps peft's configuration under this name in a file's metadata.
_DIFFUSERS_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class LoraFile:
    """The header of a LoRA file.

    Attributes:
        path: of the file.
        tensors: shapes by name.
        metadata: texts in the file.
        config: peft's configuration, from the metadata or from the file next to it; its keys start
            with ``unet.`` and the like in the metadata. Empty without one.
    """

    path: Path
    tensors: Mapping[str, Shape]
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def local_file(lora: Lora) -> Path | None:
    """The file of a LoRA on this machine, by its absolute path; None for one on the hub.

    Raises:
        ModelError: there is no such file or folder, the folder has none or several files, the file
            can hold pickles, or an option is for the hub.
    """
    place = Path(lora.model).expanduser().absolute()
    if lora.revision is not None and place.exists():
        raise ModelError(
            f"The LoRA {place} is on this machine; revision={lora.revision} is for the hub.",
            hint=f"Leave out revision={lora.revision}.",
        )
    if place.is_dir():
        return _file_in(place, lora)
    if place.is_file():
        if lora.file is not None:
            raise ModelError(
                f"The LoRA {place} is a file; file={lora.file} is for folders and the hub.",
                hint=f"Leave out file={lora.file}.",
            )
        check_suffix(place)
        return place
    if hub.is_hub_id(lora.model) and place.suffix not in (SUFFIX, *_PICKLES):
        return None
    raise ModelError(
        f"There is no LoRA {lora.model}: no such file or folder.",
        hint="Give a .safetensors file, a folder with one, or a hub id such as owner/name.",
    )


def _file_in(folder: Path, lora: Lora) -> Path:
    if lora.file is not None:
        path = folder / lora.file
        if not path.is_file() or ".." in Path(lora.file).parts or Path(lora.file).is_absolute():
            raise ModelError(
                f"The LoRA folder {folder} has no file {lora.file}.", hint="Check file=."
            )
        check_suffix(path)
        return path
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelError(
            f"The LoRA folder {folder} has no {SUFFIX} file.",
            hint="Give the file itself, or a folder that has it.",
        )
    raise ModelError(
        f"The LoRA folder {folder} has {len(found)} {SUFFIX} files.",
        hint=f"Name one: --lora {folder}/{found[0].name}.",
    )


def check_suffix(path: Path) -> None:
    """Refuse a file that is no safetensors file by its name; a name without a suffix may be one.

    The hub's cache keeps files under names without a suffix, to which links lead.

    Raises:
        ModelError: gives the reason.
    """
    suffix = path.suffix.lower()
    if suffix in (SUFFIX, ""):
        return
    if suffix in _PICKLES:
        raise ModelError(
            f"The LoRA {path} is a {suffix} file: a pickle, which can run code when it is loaded.",
            hint=f"Only {SUFFIX} files are read. Most LoRAs are offered as one, too.",
        )
    raise ModelError(
        f"The LoRA {path} is not a {SUFFIX} file.", hint=f"Only {SUFFIX} files are read."
    )


def cached_file(lora: Lora) -> Path | None:
    """The file of a LoRA on the hub, if it was downloaded to this machine before; else None."""
    for name in (lora.file,) if lora.file is not None else _HUB_NAMES:
        if (found := hub.downloaded(lora.model, name, lora.revision)) is not None:
            return found
    return None


def hub_file(lora: Lora) -> Path:
    """The file of a LoRA on the hub; it is downloaded if needed.

    Raises:
        ModelError: the hub cannot be reached or has no such LoRA, or it has several files.
    """
    if lora.file is not None:
        check_suffix(Path(lora.file))
    cached = cached_file(lora)
    if cached is not None and lora.digest is not None and file_digest(cached) == lora.digest:
        return cached
    try:
        return _download(lora)
    except ModelError:
        raise
    except Exception as error:  # the hub's client and its libraries raise errors of any type
        if cached is not None:
            return cached
        raise _explain(lora, error) from error


def _download(lora: Lora) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import hf_hub_download, list_repo_files

    name = lora.file
    if name is None:
        listed = list_repo_files(lora.model, revision=lora.revision)
        names = [file for file in listed if file.endswith(SUFFIX)]
        usual = [file for file in names if file in _HUB_NAMES]
        if len(names) != 1 and len(usual) != 1:
            raise ModelError(
                f"The LoRA {lora.model} has {len(names) or 'no'} {SUFFIX} files on the hub.",
                hint=f"Name one: --lora {lora.model},file={names[0]}."
                if names
                else f"Only {SUFFIX} files are read.",
            )
        name = names[0] if len(names) == 1 else usual[0]
    return Path(hf_hub_download(lora.model, name, revision=lora.revision))


def _explain(lora: Lora, error: Exception) -> ModelError:
    name = type(error).__name__
    if name in ("RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"):
        return ModelError(
            f"The model hub has no LoRA {lora.model} that may be downloaded.",
            hint="Check the name and revision=.",
        )
    if name in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        return ModelError(
            f"The LoRA {lora.model} has no file {lora.file} on the hub.", hint="Check file=."
        )
    return ModelError(
        f"The LoRA {lora.model} is not on this machine, and the model hub cannot be reached.",
        hint="Check the name; connect once to download it, or give a .safetensors file.",
    )


def read_header(path: Path) -> LoraFile:
    """Read names, shapes and metadata of a LoRA file; its weights are not read.

    Raises:
        ModelError: it is not a safetensors file, or cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except OSError as error:
        raise ModelError(f"The LoRA {path} cannot be read: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise ModelError(
            f"The LoRA {path} is not a safetensors file: {' '.join(str(error).split())[:200]}.",
            hint="Download it again.",
        ) from None
    config = _object(metadata.get(_DIFFUSERS_METADATA, ""))
    if not config and path.with_name(_PEFT_CONFIG).is_file():
        try:
            config = _object(path.with_name(_PEFT_CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            config = {}
    return LoraFile(path, tensors, metadata, config)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; it is remembered as long as the file is not changed.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return known_digest(path)
    except OSError as error:
        raise ModelError(f"The LoRA {path} cannot be read: {error.strerror}.") from None


def check_digest(path: Path, lora: Lora) -> None:
    """Check that a file is the one that a recipe or job was made with.

    Raises:
        ModelError: it has another content.
    """
    if lora.digest is not None and (found := file_digest(path)) != lora.digest:
        raise ModelError(
            f"The LoRA {path} has changed: its SHA-256 starts with {found[:12]}, that of the recipe"
            f" with {lora.digest[:12]}.",
            hint="Put the file back, or run the command again with this one.",
        )


def pinned(lora: Lora) -> Lora:
    """A LoRA with the digest of its file, if that is on this machine, and an absolute path.

    Raises:
        ModelError: as :func:`local_file` and :func:`check_digest`.
    """
    path = local_file(lora)
    if path is None:
        if (cached := cached_file(lora)) is None:
            return lora
        check_digest(cached, lora)
        return msgspec.structs.replace(lora, digest=file_digest(cached))
    check_digest(path, lora)
    digest = file_digest(path)
    return msgspec.structs.replace(lora, model=str(path), file=None, digest=digest)


def check_allowed(lora: Lora, allowed: Sequence[str] | None) -> None:
    """Check that ``IP2P_ALLOWED_MODELS`` lists a LoRA: its hub id, or a folder that has its file.

    Raises:
        ModelError: it is not on the list.
    """
    if allowed is None:
        return
    place = Path(lora.model).expanduser()
    names = {lora.model, f"{lora.model}@{lora.revision}"}
    catalog.check_listed("LoRA", lora.model, names, str(place) if place.exists() else None, allowed)
