"""Add LoRAs to the weights of a loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ...errors import ModelError
from ...recipe_parts import Lora
from . import files
from .keys import Part
from .matching import Change, match
from .modules import PARTS, module_shapes


def weight_change(down: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
    """The change of a weight, scale * B A, in float32.

    Equation 3 of "LoRA: Low-Rank Adaptation of Large Language Models" (Hu et al., ICLR 2022):
    W + (alpha / rank) B A. For a convolution, A is a convolution to ``rank`` channels and B one of
    1x1 (LoCon, "Navigating Text-To-Image Customization", Yeh et al., ICLR 2024), whose product is
    that of the matrices of their flattened kernels.

    Args:
        down: A, shape ``(rank, in)`` or ``(rank, in, height, width)``.
        up: B, shape ``(out, rank)`` or ``(out, rank, 1, 1)``.
        scale: weight of the LoRA, times alpha / rank.

    Returns:
        Shape ``(out, in)``, or ``(out, in * height * width)`` for a convolution.
    """
    return scale * (up.float().flatten(1) @ down.float().flatten(1))


def merge_loras(pipe: Any, loras: Sequence[Lora]) -> None:
    """Add LoRAs to the weights of a pipeline, in place.

    The changes of all LoRAs are summed in float32 with the weight, which is then cast to its own
    type once. A LoRA with weight 0 is checked and changes no bit.

    Raises:
        ModelError: a file cannot be found, downloaded or read, is not the one of the recipe, does
            not fit, or holds values that are not finite.
    """
    if not loras:
        return
    shapes = {part: module_shapes(_weights(pipe, part)) for part in PARTS if _has(pipe, part)}
    total: dict[tuple[Part, str], torch.Tensor] = {}
    for lora in loras:
        path = files.local_file(lora) or files.hub_file(lora)
        files.check_digest(path, lora)
        changes = match(files.read_header(path), shapes)
        if lora.weight != 0:
            _add(total, path, changes, lora.weight)
    for (part, module), change in total.items():
        weight = _module(getattr(pipe, part), module).weight
        merged = weight.data.float() + change.reshape(weight.shape).to(weight.device)
        weight.data.copy_(merged)


def _add(
    total: dict[tuple[Part, str], torch.Tensor], path: Path, changes: list[Change], weight: float
) -> None:
    """Add the changes of one file to the sum."""
    with safe_open(path, framework="pt") as file:
        for change in changes:
            scale = change.scale
            down, up = (file.get_tensor(name) for name in (change.down, change.up))
            if change.alpha is not None:
                scale = float(file.get_tensor(change.alpha)) / down.shape[0]
            delta = weight_change(down, up, weight * scale)
            if not bool(delta.isfinite().all()):
                raise ModelError(
                    f"The LoRA {path} holds values for {change.module} that are not finite.",
                    hint="Download it again, or use a smaller weight.",
                )
            at = (change.part, change.module)
            total[at] = total[at] + delta if at in total else delta


def _has(pipe: Any, part: Part) -> bool:
    return isinstance(getattr(pipe, part, None), torch.nn.Module)


def _weights(pipe: Any, part: Part) -> list[tuple[str, tuple[int, ...]]]:
    state = getattr(pipe, part).state_dict()
    return [(name, tuple(tensor.shape)) for name, tensor in state.items()]


def _module(part: Any, module: str) -> Any:
    """A module by its name, also under the level that transformers had before version 5."""
    for name in (module, f"text_model.{module}"):
        try:
            return part.get_submodule(name)
        except AttributeError:
            continue
    raise AssertionError(module)
