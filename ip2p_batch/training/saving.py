"""Write a trained pipeline to a folder that ``--model`` loads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ..errors import OutputError
from ..models.catalog import DEFAULTS_FILE
from ..models.edit_sizes import DEFAULT_EDIT_SIZES, EDIT_SIZES_FILE, EditSizes
from ..models.presets import PRESETS_FILE
from ..storage.atomic import write_atomic


@contextmanager
def reporting_write_errors(
    path: Path, what: str, survives: str = "The last checkpoint is complete."
) -> Iterator[None]:
    """Report a file system's error in the block as one line.

    Args:
        path: what is written.
        what: its name in the message.
        survives: what is kept.

    Raises:
        OutputError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot write the {what}: {error.strerror or error}",
            path=path,
            hint="Free disk space, then run the same command again.",
            survives=survives,
        ) from None


def save_pipeline(
    pipe: Any,
    output: Path,
    defaults: Mapping[str, int | float],
    edit_sizes: EditSizes,
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Write a diffusers folder.

    Args:
        pipe: a diffusers pipeline.
        output: the folder.
        defaults: default steps and scales of the model; no file is written if empty.
        edit_sizes: of the model; no file is written for those that every model has without one.
        presets: of the model, by name; no file is written if empty.

    Raises:
        OutputError: the folder cannot be written.
    """
    with reporting_write_errors(output, "model"):
        pipe.save_pretrained(output)
        share(output.rglob("*.safetensors"), output / "model_index.json")
    if defaults:
        write_atomic(output / DEFAULTS_FILE, _json(defaults))
    if presets:
        write_atomic(output / PRESETS_FILE, _json(presets))
    if edit_sizes != DEFAULT_EDIT_SIZES:
        data = msgspec.json.format(msgspec.json.encode(edit_sizes), indent=1)
        write_atomic(output / EDIT_SIZES_FILE, data + b"\n")


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(values), indent=1) + "\n").encode()


def save_adapters(unet: Any, path: Path) -> None:
    """Write the adapters of a UNet as a LoRA that ``--lora`` and diffusers read.

    The names are those of diffusers and peft. Alpha is in peft's configuration in the metadata,
    where diffusers looks for it: it refuses these names with tensors of alpha.

    Args:
        unet: a UNet with one adapter of peft.
        path: of a .safetensors file.

    Raises:
        OutputError: the file cannot be written.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    config = next(iter(unet.peft_config.values())).to_dict()
    tensors = {}
    for name, value in get_peft_model_state_dict(unet).items():
        tensors[f"unet.{name}"] = value.detach().cpu().contiguous()
    known = {f"unet.{key}": value for key, value in config.items()}
    text = json.dumps(known, default=_as_list, sort_keys=True)
    write_atomic(path, save(tensors, {"format": "pt", "lora_adapter_metadata": text}))


def _as_list(value: Any) -> Any:
    """A value of peft's configuration that JSON does not have."""
    return sorted(value) if isinstance(value, set) else str(value)


def share(weights: Iterable[Path], ordinary: Path) -> None:
    """Give files of weights the permissions of an ordinary file.

    safetensors creates files that only their owner can read, but workers may run as another user.
    """
    # An ordinary file shows what the umask leaves; os.umask() itself can only be read by
    # changing it, for all threads of the process.
    mode = ordinary.stat().st_mode & 0o666
    for path in weights:
        path.chmod(mode)
