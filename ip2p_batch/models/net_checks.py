"""Whether a control net fits an edit model, by their configurations alone. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError

Config = Mapping[str, Any]

#: diffusers' names of the classes that are loaded.
CONTROL_NET = "ControlNetModel"
ADAPTER = "T2IAdapter"

#: What the width of text embeddings says about a model.
_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
_WIDTHS = (320, 640, 1280, 1280)
_HINT = "Use a net that was trained for this model's base."


@dataclass(frozen=True, slots=True)
class Feature:
    """A tensor that an adapter makes, or a place in a UNet where one is added.

    Attributes:
        channels: its width.
        reduction: pixels of the image for each of its elements, along each axis.
    """

    channels: int
    reduction: int


def check_net(
    name: str, net: Config, model: str, unet: Config | None, vae: Config | None, *, caption: bool
) -> None:
    """Refuse a net that does not fit the edit model.

    Args:
        name: of the net, for messages.
        net: its ``config.json``.
        model: name of the edit model, for messages.
        unet, vae: its configurations; None: only the net is checked.
        caption: whether the net is given a text of its own.

    Raises:
        ModelError: one line that says why.
    """
    kind = net.get("_class_name")
    if kind == CONTROL_NET:
        _check_control_net(name, net)
    elif kind == ADAPTER:
        _check_adapter(name, net, caption=caption)
    else:
        raise ModelError(
            f"{name} is {_class_words(kind)}, neither a ControlNet nor a T2I-Adapter.",
            hint="Use one whose config.json has the class ControlNetModel or T2IAdapter.",
        )
    if unet is None or vae is None:
        return
    if kind == CONTROL_NET:
        _compare_control_net(name, net, model, unet, vae)
    else:
        _compare_adapter(name, net, model, unet, vae)


def _class_words(kind: object) -> str:
    return f"a {kind}" if isinstance(kind, str) else "of no known class"


def latent_factor(vae: Config) -> int:
    """Pixels of an image for each element of its latents, along each axis."""
    return 1 << (len(vae.get("block_out_channels", _WIDTHS)) - 1)


# -- ControlNet ---------------------------------------------------------------------------------


def _check_control_net(name: str, net: Config) -> None:
    if net.get("global_pool_conditions"):
        raise ModelError(
            f"{name} pools its residuals (a shuffle net), which is not supported.",
            hint="Use a net of another kind.",
        )
    channels = net.get("conditioning_channels", 3)
    if channels != 3:
        raise ModelError(
            f"{name} takes hints of {channels} channels; hints are RGB.", hint="Use another net."
        )
    for field in ("class_embed_type", "num_class_embeds", "encoder_hid_dim"):
        if net.get(field) is not None:
            raise ModelError(
                f"{name} needs conditions that an edit does not have ({field}).",
                hint="Use another net.",
            )


def _compare_control_net(name: str, net: Config, model: str, unet: Config, vae: Config) -> None:
    if _text_width(net) != _text_width(unet) or _embedding(net) != _embedding(unet):
        raise ModelError(
            f"{name} is for {_base(net)}; {model} is based on {_base(unet)}.", hint=_HINT
        )
    own, theirs = residual_channels(net), residual_channels(unet)
    if own != theirs:
        raise ModelError(
            f"{name} has layers of the widths {_listed(own)}; {model} has {_listed(theirs)}.",
            hint=_HINT,
        )
    channels, latents = int(net.get("in_channels", 4)), int(vae.get("latent_channels", 4))
    if channels != latents:
        copied = " It was made from the UNet of an edit model." if channels == 2 * latents else ""
        raise ModelError(
            f"{name} takes {channels} channels, not the {latents} noisy ones of {model}.{copied}",
            hint=_HINT,
        )
    embedding = net.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    _check_factor(name, 1 << (len(embedding) - 1), model, vae)


def _check_factor(name: str, own: int, model: str, vae: Config) -> None:
    if own != latent_factor(vae):
        raise ModelError(
            f"{name} reduces hints {own} times; the latents of {model} are {latent_factor(vae)}"
            " times smaller than the image.",
            hint=_HINT,
        )


def residual_channels(config: Config) -> list[int]:
    """Widths of the residuals of a ControlNet, or of a UNet's skips: down blocks, then middle."""
    widths = [int(w) for w in config.get("block_out_channels", _WIDTHS)]
    layers = config.get("layers_per_block", 2)
    counts = [int(n) for n in layers] if isinstance(layers, list | tuple) else [int(layers)]
    counts = counts if len(counts) == len(widths) else counts * len(widths)
    found = [widths[0]]
    for number, (width, count) in enumerate(zip(widths, counts, strict=True)):
        found += [width] * (count + (number < len(widths) - 1))
    return [*found, widths[-1]]


def _text_width(config: Config) -> Any:
    width = config.get("cross_attention_dim", 1280)
    return width[0] if isinstance(width, list | tuple) else width


def _embedding(config: Config) -> bool:
    """Whether a model has the additional conditions of SDXL."""
    return config.get("addition_embed_type") == "text_time"


def _base(config: Config) -> str:
    width = _text_width(config)
    return _BASES.get(width, f"a model with text embeddings of width {width}")


def _listed(widths: list[int]) -> str:
    return ", ".join(map(str, widths))


# -- T2I-Adapter --------------------------------------------------------------------------------


def _check_adapter(name: str, net: Config, *, caption: bool) -> None:
    channels = net.get("in_channels", 3)
    if channels not in (1, 3):
        raise ModelError(
            f"{name} takes hints of {channels} channels; hints are RGB.", hint="Use another net."
        )
    if net.get("adapter_type", "full_adapter") not in _FEATURES:
        raise ModelError(
            f"{name} is an adapter of the type {net.get('adapter_type')!r}, which is not known.",
            hint=f"Use one of the types {', '.join(_FEATURES)}.",
        )
    if caption:
        raise ModelError(
            f"{name} is a T2I-Adapter, which reads no text.", hint="Omit caption= in --control."
        )


def _compare_adapter(name: str, net: Config, model: str, unet: Config, vae: Config) -> None:
    made, places = adapter_features(net), unet_places(unet, latent_factor(vae))
    # The place in the middle block is optional.
    if len(made) >= len(places) - 1 and all(map(_fits, made, places)) and len(made) <= len(places):
        return
    if (net.get("adapter_type") == "full_adapter_xl") != _embedding(unet):
        own = _BASES[2048] if net.get("adapter_type") == "full_adapter_xl" else _BASES[768]
        raise ModelError(f"{name} is for {own}; {model} is based on {_base(unet)}.", hint=_HINT)
    raise ModelError(
        f"{name} makes features of {_sizes(made)}; {model} takes {_sizes(places[:-1])}.", hint=_HINT
    )


def _fits(made: Feature, place: Feature) -> bool:
    return made.channels == place.channels and place.reduction in (
        made.reduction,
        2 * made.reduction,
    )


def _sizes(features: list[Feature]) -> str:
    return ", ".join(f"{f.channels} channels at 1/{f.reduction}" for f in features)


def adapter_features(net: Config) -> list[Feature]:
    """The features that an adapter makes, in their order.

    The types are diffusers': ``full_adapter`` halves the sides before each block but the first,
    ``light_adapter`` has one block more, ``full_adapter_xl`` halves them before the third only.
    """
    channels = [int(c) for c in net.get("channels", _WIDTHS)]
    factor = int(net.get("downscale_factor", 8))
    widths, halvings = _FEATURES[str(net.get("adapter_type", "full_adapter"))](channels)
    return [Feature(c, factor << h) for c, h in zip(widths, halvings, strict=True)]


_FEATURES: Mapping[str, Any] = {
    "full_adapter": lambda c: (c, range(len(c))),
    "light_adapter": lambda c: ([*c, c[-1]], range(len(c) + 1)),
    "full_adapter_xl": lambda c: (c, [int(n >= 2) for n in range(len(c))]),
}


def unet_places(unet: Config, factor: int) -> list[Feature]:
    """Where diffusers' UNet adds the features of an adapter: one for each down block, and middle.

    A block with attention adds a feature before it halves the sides, one without after that.

    Args:
        factor: see :func:`latent_factor`.
    """
    widths = [int(w) for w in unet.get("block_out_channels", _WIDTHS)]
    types = unet.get("down_block_types", ["CrossAttn"] * (len(widths) - 1) + ["Down"])
    places = []
    for number, (width, kind) in enumerate(zip(widths, types, strict=True)):
        halved = number < len(widths) - 1
        before = "CrossAttn" in kind
        places.append(Feature(width, factor if before or not halved else 2 * factor))
        factor = 2 * factor if halved else factor
    return [*places, Feature(widths[-1], factor)]
