"""Write a trained pipeline to a folder that ``--model`` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import OutputError
from ..models.catalog import DEFAULT_EDIT_SIZES, DEFAULTS_FILE, EDIT_SIZES_FILE, EditSizes
from ..storage.atomic import write_atomic


def save_pipeline(
    pipe: Any, output: Path, defaults: Mapping[str, int | float], edit_sizes: EditSizes
) -> None:
    """Write a diffusers folder.

    Args:
        pipe: a diffusers pipeline.
        output: the folder.
        defaults: default steps and scales of the model; no file is written if empty.
        edit_sizes: of the model; no file is written for those that every model has without one.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        pipe.save_pretrained(output)
        _share_weights(output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write the model: {error.strerror or error}",
            path=output,
            hint="Free disk space, then run the same command again.",
            survives="The last checkpoint is complete.",
        ) from None
    if defaults:
        write_atomic(output / DEFAULTS_FILE, (json.dumps(dict(defaults), indent=1) + "\n").encode())
    if edit_sizes != DEFAULT_EDIT_SIZES:
        data = msgspec.json.format(msgspec.json.encode(edit_sizes), indent=1)
        write_atomic(output / EDIT_SIZES_FILE, data + b"\n")


def _share_weights(folder: Path) -> None:
    """Give weight files the permissions of ordinary files.

    safetensors creates files that only their owner can read, but workers may run as another user.
    """
    # An ordinary file shows what the umask leaves; os.umask() itself can only be read by
    # changing it, for all threads of the process.
    mode = (folder / "model_index.json").stat().st_mode & 0o666
    for path in folder.rglob("*.safetensors"):
        path.chmod(mode)
