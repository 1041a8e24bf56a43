"""Where control nets are, and what their files say. Reads configuration files; loads no torch.

A net is a folder in diffusers' layout with ``config.json`` and safetensors weights. The folder of
an edit model may have nets of its own::

    <model folder>/control/<kind>/    a ControlNet for hints of this kind
    <model folder>/adapter/<kind>/    a T2I-Adapter for hints of this kind
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import ModelError
from . import catalog, hub

#: Folders in a model folder; each has a folder for each kind of hints. They are also the names by
#: which ``--control KIND:NAME`` takes one of them.
CONTROL_FOLDER = "control"
ADAPTER_FOLDER = "adapter"
#: Types of control nets, as ``train --control-type`` names them.
NetType = Literal["controlnet", "t2i-adapter"]
NET_TYPES: tuple[NetType, ...] = get_args(NetType)
#: Names of the weights in a net's folder, the preferred one first.
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
CONFIG = "config.json"
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_HINT = "Name one with --control KIND:MODEL, a folder in diffusers' layout or a hub id."
#: Parts of a file of weights that its digest covers: evenly spaced blocks of so many bytes.
_BLOCKS = 256
_BLOCK = 4096

Config = Mapping[str, Any]


def absolute(net: str | None) -> str | None:
    """A net's name with an absolute path, if it is a folder; other names are returned unchanged."""
    if net is None or net in (CONTROL_FOLDER, ADAPTER_FOLDER):
        return net
    folder = Path(net).expanduser()
    return str(folder.absolute()) if folder.is_dir() else net


def locate(model: str, kind: str, net: str | None) -> str:
    """The folder or hub id of a net.

    Args:
        model: the edit model, for nets in its own folder.
        kind: of the hints.
        net: a folder, a hub id, ``control`` or ``adapter`` for the net of this kind in the edit
            model's folder; None: the first of these two that is there.

    Returns:
        An absolute path, or a hub id.

    Raises:
        ModelError: there is no such folder, and it is no hub id.
    """
    if net in (None, CONTROL_FOLDER, ADAPTER_FOLDER):
        return _own_net(model, kind, net)
    assert net is not None
    place = absolute(net)
    assert place is not None
    if Path(place).is_absolute() and Path(place).is_dir():
        return place
    if Path(place).exists() or not hub.is_hub_id(net):
        raise ModelError(f"{net} is no folder of a control net, and no hub id.", hint=_HINT)
    return net


def _own_net(model: str, kind: str, folder: str | None) -> str:
    place = Path(catalog.locate(model))
    if _NAME.fullmatch(kind):
        for name in (CONTROL_FOLDER, ADAPTER_FOLDER) if folder is None else (folder,):
            if (place / name / kind / CONFIG).is_file():
                return str(place / name / kind)
    sort = "T2I-Adapter" if folder == ADAPTER_FOLDER else "control net"
    raise ModelError(f"The model {model} has no {sort} of its own for {kind!r}.", hint=_HINT)


def is_hub_id(place: str) -> bool:
    """Whether a result of :func:`locate` is a hub id."""
    return not Path(place).is_absolute()


def is_bundled(place: str) -> bool:
    """Whether a result of :func:`locate` belongs to a bundled model."""
    return any(Path(place).is_relative_to(folder) for folder in catalog.BUNDLED.values())


def check_allowed(net: str, revision: str | None, allowed: Sequence[str] | None) -> None:
    """As :func:`catalog.check_allowed`, of a result of :func:`locate`."""
    if not is_bundled(net):  # with a bundled model, which was checked
        catalog.check_allowed(net, revision, allowed)


def read_config(place: str, revision: str | None = None) -> Config | None:
    """The configuration of a net.

    Args:
        place: a result of :func:`locate`.

    Returns:
        None for a hub id that is not downloaded.

    Raises:
        ModelError: a folder has no configuration or no safetensors weights.
    """
    folder = Path(place)
    if is_hub_id(place):
        cached = hub.downloaded(place, CONFIG, revision)
        return None if cached is None else _read(cached)
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{place} is no control net: it has no {CONFIG}.", hint=_HINT)
    weights_file(folder)
    return _read(folder / CONFIG)


def weights_file(folder: Path) -> Path:
    """The file of a net's weights.

    Raises:
        ModelError: there is none in safetensors format.
    """
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if found:
        return found[0]
    others = sorted(p.name for p in folder.glob("diffusion_pytorch_model*"))
    has = f"only {', '.join(others)}" if others else "no weights"
    raise ModelError(
        f"{folder} has {has}; a control net needs {WEIGHTS[0]}.",
        hint="Save it again with diffusers' save_pretrained(safe_serialization=True).",
    )


def model_configs(model: str, revision: str | None = None) -> tuple[Config, Config] | None:
    """The configurations of an edit model's UNet and VAE; None if they are not known here.

    Raises:
        ModelError: the model's file is damaged.
    """
    folder = catalog.config_folder(model) or catalog.known_configs(model)
    paths = []
    for part in ("unet", "vae"):
        path = None if folder is None else folder / part / CONFIG
        if folder is None:
            path = hub.downloaded(model, f"{part}/{CONFIG}", revision)
        if path is None or not path.is_file():
            return None
        paths.append(path)
    return _read(paths[0]), _read(paths[1])


def digest(folder: Path) -> str:
    """Hash a net's configuration and weights to 64 hexadecimal digits.

    Of the weights it covers the size, the header, which has names and shapes, and evenly spaced
    blocks: training changes nearly all values, and hashing gigabytes would delay planning.

    Raises:
        ModelError: the folder has no weights, or they cannot be read.
    """
    sha256 = hashlib.sha256()
    weights = weights_file(folder)
    try:
        sha256.update((folder / CONFIG).read_bytes())
        size = weights.stat().st_size
        sha256.update(f"{weights.name} {size}".encode())
        with weights.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            sha256.update(file.read(min(header, size)))
            for at in range(0, size, max(_BLOCK, size // _BLOCKS)):
                file.seek(at)
                sha256.update(file.read(_BLOCK))
    except OSError as error:
        raise ModelError(f"{weights} cannot be read: {error.strerror}.") from None
    return sha256.hexdigest()


def _read(path: Path) -> Config:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object.")
    return value
