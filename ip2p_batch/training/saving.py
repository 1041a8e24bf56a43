"""Writing a trained model to a folder that ``--model`` loads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..models.catalog import DEFAULTS_FILE
from ..storage.atomic import write_atomic


def save_pipeline(pipe: Any, output: Path, defaults: Mapping[str, int | float]) -> None:
    """Write all parts in diffusers' form, and the model's own defaults where it has some.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        pipe.save_pretrained(output)
        for path in output.rglob("*.safetensors"):
            # They come readable by their owner alone; workers may run under another name.
            path.chmod(0o666 & ~_umask())
    except OSError as error:
        raise OutputError(
            f"{output}: the model cannot be written: {error.strerror or error}",
            path=output,
            hint="Make room and give the same command again: the last checkpoint is whole.",
        ) from None
    if defaults:
        write_atomic(output / DEFAULTS_FILE, (json.dumps(dict(defaults), indent=1) + "\n").encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
