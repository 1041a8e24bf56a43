"""The files of a depth estimator. Loads no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import ModelError
from ..models.hub import is_hub_id
from ..recipe_parts import Control
from ..storage.atomic import known_digest

#: The estimator where the recipe names none: Depth Anything V2 (Yang et al., NeurIPS 2024), the
#: size whose licence is Apache-2.0.
DEFAULT_MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
#: The name of this kind of hints.
KIND = "depth"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def estimator_of(net: Control) -> str | None:
    """The folder or hub id of the estimator that makes a net's hints; None if none does."""
    if net.kind != KIND or net.hints is not None:
        return None
    return net.preprocessor or DEFAULT_MODEL


def check_estimator(place: str) -> None:
    """Refuse a folder without an estimator's files.

    Raises:
        ModelError: names what is missing.
    """
    folder = Path(place)
    if not folder.is_absolute():
        if is_hub_id(place):
            return
        raise ModelError(
            f"{place} is no folder of a depth estimator, and no hub id.",
            hint="Name one by --control depth,preprocessor=MODEL.",
        )
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(
                f"{place} is no depth estimator: it has no {name}.",
                hint="It needs the layout of transformers and safetensors weights.",
            )


def estimator_digest(place: str | None) -> str:
    """SHA-256 of an estimator's files; empty for a hub id, which its name identifies, and for None.

    Raises:
        ModelError: a file cannot be read.
    """
    if place is None or not Path(place).is_absolute():
        return ""
    try:
        digests = [known_digest(Path(place) / name) for name in (_CONFIG, _WEIGHTS)]
    except OSError as error:
        raise ModelError(f"{place} cannot be read: {error.strerror}.") from None
    return hashlib.sha256("".join(digests).encode()).hexdigest()
