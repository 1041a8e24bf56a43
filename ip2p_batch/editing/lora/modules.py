"""The modules of a model that a LoRA may change, under every name that LoRA files have for them.

Loads no torch: shapes come from a loaded model or from the headers of its files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .keys import Part, without_text_model

Shape = tuple[int, ...]
#: Shapes of the weights by module; of linear layers and convolutions.
ModuleShapes = Mapping[str, Shape]
ModelShapes = Mapping[Part, ModuleShapes]

PARTS: tuple[Part, ...] = ("unet", "text_encoder", "text_encoder_2")
_WEIGHT = ".weight"


def module_shapes(weights: Iterable[tuple[str, Shape]]) -> dict[str, Shape]:
    """The modules of a part from the names and shapes of its weights."""
    return {
        without_text_model(name.removesuffix(_WEIGHT)): shape
        for name, shape in weights
        if name.endswith(_WEIGHT) and len(shape) in (2, 4)
    }


def folder_shapes(folder: Path) -> dict[Part, dict[str, Shape]]:
    """The modules of a model in diffusers' layout, from the headers of its weight files.

    Returns:
        Only the parts whose weights are there as safetensors files.
    """
    found: dict[Part, dict[str, Shape]] = {}
    for part in PARTS:
        shapes: dict[str, Shape] = {}
        for path in sorted((folder / part).glob("*.safetensors")):
            shapes.update(module_shapes(_header(path)))
        if shapes:
            found[part] = shapes
    return found


def _header(path: Path) -> list[tuple[str, Shape]]:
    """Names and shapes of the tensors in a file; empty if it cannot be read."""
    try:
        with safe_open(path, framework="numpy") as file:
            return [(name, tuple(file.get_slice(name).get_shape())) for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return []  # loading the model reports it


def names_of(modules: Iterable[str]) -> dict[str, str]:
    """Every name of these modules in LoRA files, with underscores, and the module that it means.

    Kohya's names replace the dots of ``down_blocks.0.attentions.1`` by underscores, which cannot be
    undone without the list of modules. For Stable Diffusion XL they have the names of the original
    implementation (``input_blocks_4_1``) instead of diffusers'. A name of two modules is left out.
    """
    modules = list(modules)
    layers = 1 + max((int(m[1]) for m in map(_FIRST_RESNETS.match, modules) if m), default=0)
    found: dict[str, str | None] = {}
    for module in modules:
        for name in {module, *original_names(module, layers)}:
            flat = flat_name(name)
            found[flat] = module if found.get(flat, module) == module else None
    return {name: module for name, module in found.items() if module is not None}


def flat_name(module: str) -> str:
    """A module's name with underscores only, as kohya writes it."""
    return module.replace(".", "_")


_FIRST_RESNETS = re.compile(r"down_blocks\.0\.resnets\.(\d+)\.")
_BLOCK = re.compile(
    r"(?P<side>down|mid|up)_blocks?(?:\.(?P<block>\d+))?"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def original_names(module: str, layers: int) -> tuple[str, ...]:
    """A UNet module's names in the original implementation of Stable Diffusion.

    Its ``input_blocks`` count through all layers: 0 is ``conv_in``, and each level has ``layers``
    blocks and a downsampler. Its ``output_blocks`` have one layer more on each level; an upsampler
    is the last entry of the level's last block, after the attention layers if there are any.

    Args:
        layers: ``layers_per_block`` of the UNet.

    >>> original_names("down_blocks.1.attentions.0.proj_in", 2)
    ('input_blocks.4.1.proj_in',)
    >>> original_names("up_blocks.0.upsamplers.0.conv", 2)
    ('output_blocks.2.1.conv', 'output_blocks.2.2.conv')
    """
    match = _BLOCK.fullmatch(module)
    if match is None:
        return (OUTSIDE.get(module, module),)
    side, kind, rest = match["side"], match["kind"], match["rest"]
    block, layer = int(match["block"] or 0), int(match["layer"])
    if kind == "resnets":
        rest = RESNET.get(rest, rest)
    if side == "mid":
        return (f"middle_block.{2 * layer + (kind == 'attentions')}.{rest}",)
    if kind == "downsamplers":
        return (f"input_blocks.{(layers + 1) * (block + 1)}.0.{'op' if rest == 'conv' else rest}",)
    if kind == "upsamplers":
        last = (layers + 1) * block + layers
        return (f"output_blocks.{last}.1.{rest}", f"output_blocks.{last}.2.{rest}")
    entry = int(kind == "attentions")
    if side == "down":
        return (f"input_blocks.{(layers + 1) * block + layer + 1}.{entry}.{rest}",)
    return (f"output_blocks.{(layers + 1) * block + layer}.{entry}.{rest}",)
