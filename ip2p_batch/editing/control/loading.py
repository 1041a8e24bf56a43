"""Load control nets, and keep the last ones loaded."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import ModelError
from ...models import control_nets, net_checks
from ...recipe_parts import Control
from ..compute_profile import digest
from .batch import Net
from .nets import Adapter, ControlNet

#: Loads the diffusers model of a part of the recipe.
LoadNet = Callable[[Control], Any]
#: Nets that stay loaded if the next recipe has others.
MAX_NETS = 4


class NetCache:
    """The control nets of one editor: loaded at first use, and kept between sessions.

    Args:
        load: loads a net.
        pipe: the edit model; nets that do not fit it are refused.
        model: its name, for messages.
    """

    def __init__(
        self, load: LoadNet, pipe: Any, model: str, device: str, dtype: torch.dtype
    ) -> None:
        self._load = load
        self._pipe = pipe
        self._model = model
        self._device = device
        self._dtype = dtype
        self._nets: OrderedDict[tuple[str, str | None, str | None], tuple[Net, str]] = OrderedDict()

    def get(self, controls: Sequence[Control]) -> list[Net]:
        """The nets of a recipe, in its order.

        Raises:
            ModelError: a net cannot be loaded, or does not fit the model.
        """
        return [net for net, _ in self._entries(controls)]

    def digest(self, controls: Sequence[Control]) -> str:
        """Digest of the weights of a recipe's nets; empty without nets.

        Raises:
            ModelError: as :meth:`get`.
        """
        return "-".join(weights for _, weights in self._entries(controls))

    def _entries(self, controls: Sequence[Control]) -> list[tuple[Net, str]]:
        entries = []
        for control in controls:
            key = (control.kind, control.model, control.revision)
            if key not in self._nets:
                self._nets[key] = self._loaded(control)
            else:  # this recipe may give it a caption
                self._check(control, self._nets[key][0].net)
            self._nets.move_to_end(key)
            entries.append(self._nets[key])
        while len(self._nets) > max(MAX_NETS, len(controls)):
            self._nets.popitem(last=False)
        return entries

    def _loaded(self, control: Control) -> tuple[Net, str]:
        net = self._load(control)
        self._check(control, net)
        net.to(self._dtype)
        weights = digest({"net": net})
        unet, factor = self._pipe.unet.config, net_checks.latent_factor(self._pipe.vae.config)
        try:
            if type(net).__name__ == net_checks.ADAPTER:
                return Adapter(net, unet, factor, self._device, self._dtype), weights
            return ControlNet(net, self._device, self._dtype), weights
        except torch.OutOfMemoryError:
            raise ModelError(
                f"The control net {_name(control)} does not fit into the memory of {self._device}.",
                hint="Free the device, or use fewer control nets or --dtype float16.",
            ) from None

    def _check(self, control: Control, net: Any) -> None:
        net_checks.check_net(
            _name(control),
            {**net.config, "_class_name": type(net).__name__},
            self._model,
            self._pipe.unet.config,
            self._pipe.vae.config,
            caption=control.caption is not None,
        )


def _name(control: Control) -> str:
    return control.model or control.kind


def load_net(model: str, control: Control) -> Any:
    """Load a net through diffusers, weights from safetensors only.

    Args:
        model: the edit model, for nets in its folder.

    Raises:
        ModelError: there is no such net, it cannot be downloaded, or it is of another class.
    """
    import diffusers

    place = control_nets.locate(model, control.kind, control.model)
    try:
        if control_nets.is_hub_id(place):
            place = _downloaded(place, control.revision)
        config = control_nets.read_config(place)
        assert config is not None
        net_checks.check_net(place, config, model, None, None, caption=control.caption is not None)
        weights = control_nets.weights_file(Path(place))
        variant = "fp16" if ".fp16." in weights.name else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(diffusers, str(config["_class_name"])).from_pretrained(
                place, variant=variant, use_safetensors=True, local_files_only=True
            )
    except ModelError:
        raise
    except Exception as error:  # diffusers and the hub raise errors of any type
        text = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The control net {_name(control)} cannot be loaded: {text}",
            hint="Give a folder in diffusers' layout with safetensors weights, or a hub id.",
        ) from error


def _downloaded(net: str, revision: str | None) -> str:
    """The folder of a net's configuration and weights in the cache of the hub's client."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    config = hf_hub_download(net, control_nets.CONFIG, revision=revision)
    for number, name in enumerate(control_nets.WEIGHTS):
        try:
            hf_hub_download(net, name, revision=revision)
            break
        except EntryNotFoundError:
            if number == len(control_nets.WEIGHTS) - 1:
                raise
    return str(Path(config).parent)
