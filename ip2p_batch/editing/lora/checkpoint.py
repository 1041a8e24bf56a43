"""The modules of a checkpoint in one file, under diffusers' names. Loads no torch.

Such files have the names of the original implementation of Stable Diffusion; their second text
encoder, in Stable Diffusion XL, has those of open_clip. Only names differ, except that open_clip
has the projections to queries, keys and values in one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...models.header import Shapes, read_shapes
from .keys import Part
from .modules import OUTSIDE, RESNET, Shape, module_shapes

_UNET = "model.diffusion_model."
#: Where the text encoders are in a file, as transformers' names follow.
_TEXT: tuple[tuple[str, Part], ...] = (
    ("cond_stage_model.transformer.", "text_encoder"),
    ("conditioner.embedders.0.transformer.", "text_encoder"),
)
_OPEN_CLIP = "conditioner.embedders.1.model."
_OPEN_CLIP_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_OPEN_CLIP_NAMES = {
    "mlp.c_fc.weight": "mlp.fc1.weight",
    "mlp.c_proj.weight": "mlp.fc2.weight",
    "attn.out_proj.weight": "self_attn.out_proj.weight",
}
_BLOCK = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.(?:(\d+)\.)?(.+)\.weight")
_RESNET_NAMES = {theirs: ours for ours, theirs in RESNET.items()}
_OUTSIDE_NAMES = {f"{theirs}.weight": ours for ours, theirs in OUTSIDE.items()}


def checkpoint_shapes(path: Path) -> dict[Part, dict[str, Shape]]:
    """The modules of a checkpoint, from its header; parts that are not in the file are left out.

    Raises:
        ModelError: as :func:`read_shapes`.
    """
    shapes = read_shapes(path)
    found: dict[Part, dict[str, Shape]] = {"unet": module_shapes(_unet(shapes))}
    for start, part in _TEXT:
        found.setdefault(part, {}).update(module_shapes(_with_prefix(shapes, start)))
    found["text_encoder_2"] = module_shapes(_open_clip(shapes))
    return {part: modules for part, modules in found.items() if modules}


def _with_prefix(shapes: Shapes, start: str) -> Iterator[tuple[str, Shape]]:
    for name, shape in shapes.items():
        if name.startswith(start):
            yield name.removeprefix(start), shape


def _unet(shapes: Shapes) -> Iterator[tuple[str, Shape]]:
    weights = dict(_with_prefix(shapes, _UNET))
    # The first level ends with the first downsampler: input_blocks.(layers + 1).0.op.
    ends = [int(found[1]) for found in map(_DOWNSAMPLER.match, weights) if found]
    per_level = min(ends, default=len(weights))
    for name, shape in weights.items():
        yield f"{_unet_module(name, per_level)}.weight", shape


_DOWNSAMPLER = re.compile(r"input_blocks\.(\d+)\.0\.op\.")


def _unet_module(name: str, per_level: int) -> str:
    """Diffusers' name of a UNet's module.

    Args:
        name: of its weight in the file.
        per_level: layers of a level, and one more.

    >>> _unet_module("input_blocks.4.1.proj_in.weight", 3)
    'down_blocks.1.attentions.0.proj_in'
    >>> _unet_module("output_blocks.2.1.conv.weight", 3)
    'up_blocks.0.upsamplers.0.conv'
    """
    match = _BLOCK.fullmatch(name)
    if name in _OUTSIDE_NAMES or match is None:
        return _OUTSIDE_NAMES.get(name, name.removesuffix(".weight"))
    side, number, entry, rest = match.groups()
    rest = _RESNET_NAMES.get(rest, rest)
    if side == "middle":
        rest = f"{entry}.{rest}" if entry else rest
        return f"mid_block.attentions.0.{rest}" if number == "1" else _middle(number, rest)
    block, layer = divmod(int(number) - (side == "input"), per_level)
    where = f"{'down' if side == 'input' else 'up'}_blocks.{block}"
    if rest == "op":
        return f"{where}.downsamplers.0.conv"
    if rest == "conv" and side == "output":
        return f"{where}.upsamplers.0.conv"
    return f"{where}.{'attentions' if entry == '1' else 'resnets'}.{layer}.{rest}"


def _middle(number: str, rest: str) -> str:
    """A module of one of the two resnets of the middle block."""
    return f"mid_block.resnets.{int(number) // 2}.{_RESNET_NAMES.get(rest, rest)}"


def _open_clip(shapes: Shapes) -> Iterator[tuple[str, Shape]]:
    for name, shape in _with_prefix(shapes, _OPEN_CLIP):
        match = _OPEN_CLIP_LAYER.fullmatch(name)
        if match is None:
            continue
        layer, rest = f"encoder.layers.{match[1]}", match[2]
        if rest == "attn.in_proj_weight":
            for letter in "qkv":
                yield f"{layer}.self_attn.{letter}_proj.weight", (shape[0] // 3, *shape[1:])
        elif rest in _OPEN_CLIP_NAMES:
            yield f"{layer}.{_OPEN_CLIP_NAMES[rest]}", shape
