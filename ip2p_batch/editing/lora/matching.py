"""Compare a LoRA file with a model: which weights it changes, or why it does not fit.

Works on names and shapes only, so planning and loading make the same checks. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ...errors import ModelError
from . import keys
from .files import LoraFile
from .keys import Part
from .modules import ModelShapes, Shape, flat_name, names_of

#: Stable Diffusion by the width of its text embedding, which ``attn2.to_k`` takes.
_BASES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
#: Layers of the UNet that take the text embedding.
_TEXT_LAYERS = ("attn2_to_k", "attn2_to_v")
_KINDS = "Only LoRA and LoCon files are merged."
_FITTING = "Use a LoRA for the model's own base, which is Stable Diffusion 1 for most."


@dataclass(frozen=True)
class Change:
    """The change of one weight: W + weight * scale * B A.

    Attributes:
        part, module: the weight.
        down, up: the tensors A and B in the file.
        alpha: the tensor of alpha; None without one.
        scale: alpha / rank where the file has no tensor of alpha.
    """

    part: Part
    module: str
    down: str
    up: str
    alpha: str | None
    scale: float


def match(file: LoraFile, model: ModelShapes | None) -> list[Change]:
    """The changes that a LoRA makes, in the order of its file.

    Args:
        model: shapes of the model's weights; None or a part that is missing is not compared, and
            its modules keep the names of the file.

    Raises:
        ModelError: the file is no LoRA, is of another kind, or does not fit the model.
    """
    changes = []
    names = {part: names_of(shapes) for part, shapes in (model or {}).items()}
    for (part, module), tensors in _grouped(file).items():
        down, up = tensors.get("down"), tensors.get("up")
        if down is None or up is None:
            missing = "first" if down is None else "second"
            _refuse(file, f"has no {missing} matrix for {module}", "Download it again.")
        found = _find(file, part, module, names)
        if part == "unet" and found in ("conv_in", "input_blocks_0_0", "input_blocks.0.0"):
            _refuse(
                file,
                "changes conv_in, which in InstructPix2Pix has other channels: it also takes the"
                " source",
                "Use a LoRA without conv_in; hardly any has it.",
            )
        rank = _check_shapes(file, found, tensors, (model or {}).get(part, {}).get(found))
        scale = _configured_scale(file.config, part, found, rank)
        changes.append(Change(part, found, down, up, tensors.get("alpha"), scale))
    return changes


def _grouped(file: LoraFile) -> Mapping[tuple[Part, str], dict[str, str]]:
    """The tensors of each module by their roles.

    Raises:
        ModelError: as :func:`match`.
    """
    grouped: dict[tuple[Part, str], dict[str, str]] = {}
    unknown = []
    for name in file.tensors:
        key = keys.read_key(name)
        if key is None:
            unknown.append(name)
        else:
            grouped.setdefault((key.part, key.module), {})[key.role] = name
    kind = keys.other_kind(file.tensors)
    if kind is None and any(file.config.get(k) for k in file.config if k.endswith("use_dora")):
        kind = "DoRA"
    if kind is not None:
        _refuse(
            file,
            f"is of the kind {kind}, which is not supported",
            _KINDS,
        )
    if keys.is_for_transformer(file.tensors):
        _refuse(file, "is for a diffusion transformer, such as FLUX or Stable Diffusion 3")
    if not grouped or all("down" not in tensors for tensors in grouped.values()):
        whole = keys.is_whole_model(file.tensors)
        what = "holds a whole model, not a LoRA" if whole else "is not a LoRA: no name is known"
        _refuse(file, what, "Give a whole model with --model." if whole else _FITTING)
    if unknown:
        _refuse(
            file,
            f"has tensors that belong to no LoRA, {len(unknown)} in all: {unknown[0][:100]}",
            _KINDS,
        )
    return grouped


def _find(file: LoraFile, part: Part, module: str, names: Mapping[Part, Mapping[str, str]]) -> str:
    """The model's own name of a module."""
    if part not in names:
        if names and part == "text_encoder_2":
            _refuse(file, "is for Stable Diffusion XL: it changes a second text encoder")
        return module
    found = names[part].get(flat_name(module))
    if found is None:
        base = _base_of(file)
        which = "UNet" if part == "unet" else part.replace("_", " ")
        lacks = f"the model's {which} has no {module[:100]}"
        _refuse(file, f"is for {base}, and {lacks}" if base else f"does not fit: {lacks}")
    return found


def _check_shapes(
    file: LoraFile, module: str, tensors: Mapping[str, str], weight: Shape | None
) -> int:
    """The rank of a change, whose matrices fit each other and the model's weight."""
    down, up = (file.tensors[tensors[role]] for role in ("down", "up"))
    alpha = file.tensors[tensors["alpha"]] if "alpha" in tensors else ()
    if not _are_factors(down, up) or math.prod(alpha) != 1:
        _refuse(
            file,
            f"is damaged: its matrices for {module} are {_text(down)} and {_text(up)}",
            "Download it again.",
        )
    if weight is not None and not _fits(down, up, weight):
        base = _base_of(file)
        takes = f"its {module} is {up[0]} x {_text(down[1:])}, the model's {_text(weight)}"
        _refuse(file, f"is for {base}: {takes}" if base else f"has another width: {takes}")
    return down[0]


def _are_factors(down: Shape, up: Shape) -> bool:
    """Whether B A can be computed: A is (rank, in[, kernel]), B is (out, rank[, 1, 1])."""
    dimensions = {len(down), len(up)} <= {2, 4}
    return dimensions and down[0] == up[1] > 0 and math.prod(up[2:]) == 1


def _fits(down: Shape, up: Shape, weight: Shape) -> bool:
    """Whether B A has the shape of a weight; a 1x1 convolution is a linear layer."""
    kernels = [shape[2:] if math.prod(shape[2:]) != 1 else () for shape in (down, weight)]
    return up[0] == weight[0] and down[1] == weight[1] and kernels[0] == kernels[1]


def _configured_scale(config: Mapping[str, Any], part: Part, module: str, rank: int) -> float:
    """The scale of peft's configuration: alpha / rank, for rsLoRA alpha / sqrt(rank); else 1."""
    own = {k.removeprefix(f"{part}."): v for k, v in config.items()}
    alpha: Any = own.get("lora_alpha", rank)
    patterns = own.get("alpha_pattern")
    for name, value in (patterns if isinstance(patterns, dict) else {}).items():
        plain = keys.without_text_model(str(name).removeprefix("^"))
        if module == plain or module.endswith(f".{plain}"):
            alpha = value
    if not isinstance(alpha, int | float):
        return 1.0
    return float(alpha) / (math.sqrt(rank) if own.get("use_rslora") else rank)


def check_text_width(file: LoraFile, width: int) -> None:
    """Refuse a LoRA for a base with another text embedding, where only its width is known.

    Args:
        width: ``cross_attention_dim`` of the model's UNet.

    Raises:
        ModelError: names the base, if it is known.
    """
    own = _text_width(file)
    if own is not None and own != width:
        base = _BASES.get(own, "another base")
        _refuse(file, f"is for {base}: it takes text embeddings of width {own}, the model {width}")


def _base_of(file: LoraFile) -> str:
    """The model family that a LoRA was made for; empty if that cannot be known."""
    parts = {key.part for key in map(keys.read_key, file.tensors) if key is not None}
    if "text_encoder_2" in parts:
        return _BASES[2048]
    return _BASES.get(_text_width(file) or 0, "")


def _text_width(file: LoraFile) -> int | None:
    """The width of the text embedding that a LoRA's UNet takes; None if it does not show."""
    for name, shape in file.tensors.items():
        key = keys.read_key(name)
        if key is None or key.role != "down" or key.part != "unet" or len(shape) < 2:
            continue
        if flat_name(key.module).endswith(_TEXT_LAYERS):
            return shape[1]
    return None


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _refuse(file: LoraFile, what: str, hint: str = _FITTING) -> NoReturn:
    raise ModelError(f"The LoRA {file.path} {what}.", hint=hint)
