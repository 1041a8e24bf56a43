"""The names of tensors in LoRA files: which module of which part each one changes.

Three families are in use: kohya's scripts write ``lora_unet_..._to_q.lora_down.weight``, diffusers
and peft write ``unet....to_q.lora_A.weight``, and older diffusers wrote
``....processor.to_q_lora.down.weight``. Loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Part = Literal["unet", "text_encoder", "text_encoder_2"]
Role = Literal["down", "up", "alpha"]


@dataclass(frozen=True)
class LoraKey:
    """What a tensor of a LoRA file is.

    Attributes:
        part: the part of the pipeline that it changes.
        module: the module, with dots; kohya's names have underscores instead.
        role: ``down`` is A of W + B A, ``up`` is B, ``alpha`` its number.
    """

    part: Part
    module: str
    role: Role


#: Beginnings of kohya's names.
_KOHYA: dict[str, Part] = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
#: Beginnings of the names of diffusers and peft.
_DOTTED: dict[str, Part] = {
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
_TEXT_ENCODER = ("text_model.", "encoder.layers.")
#: Ends of names, after the module.
_ENDS = re.compile(
    r"""(?P<module>.+?)
    (?: \.lora_(?P<peft>[AB])(?:\.[^.]+)?\.weight
      | \.lora_(?P<kohya>down|up)\.weight
      | \.lora(?:_linear_layer)?\.(?P<diffusers>down|up)\.weight
      | (?:\.processor)?\.(?P<layer>to_(?:q|k|v|out))_lora\.(?P<processor>down|up)\.weight
      | (?:\.lora)?\.(?P<alpha>alpha)
    )""",
    re.VERBOSE,
)
_ROLES: dict[str, Role] = {"A": "down", "B": "up", "down": "down", "up": "up", "alpha": "alpha"}
#: Layers of old attention processors, as a UNet and a text encoder call them.
_UNET_LAYERS = {"to_out": "to_out.0"}
_TEXT_LAYERS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}

#: Parts of the names of other kinds of adapters, and what they are.
_OTHER_KINDS = (
    (r"hada_", "LoHa"),
    (r"lokr_", "LoKr"),
    (r"dora_scale|lora_magnitude_vector", "DoRA"),
    (r"lora_mid", "LoCon with a Tucker decomposition"),
    (r"boft_|oft_", "OFT"),
    (r"on_input$", "IA3"),
    (r"lora_embedding_", "LoRA of embeddings"),
    (r"\.(diff|diff_b|w_norm|b_norm)$", "LoRA with whole differences of weights"),
    (r"^bundle_emb", "LoRA with embeddings"),
    (r"\.lora_B(\.[^.]+)?\.bias$", "LoRA with biases"),
)
#: Beginnings of names in adapters for diffusion transformers.
_TRANSFORMERS = (
    "transformer.", "lora_transformer_", "double_blocks", "single_blocks",
    "lora_unet_double_blocks", "lora_unet_single_blocks", "lora_unet_joint_blocks",
    "transformer_blocks.",
    "lora_te3_", "text_encoder_3.",
)  # fmt: skip
#: Beginnings of names in whole models.
_WHOLE_MODELS = (
    "model.diffusion_model.", "cond_stage_model.", "first_stage_model.", "conv_in.", "down_blocks.",
    "controlnet_cond_embedding.", "control_model.", "adapter.",
)  # fmt: skip


def read_key(name: str) -> LoraKey | None:
    """What the tensor of this name is; None if it is no part of a LoRA that can be merged.

    >>> read_key("lora_unet_mid_block_resnets_0_conv1.lora_down.weight")
    LoraKey(part='unet', module='mid_block_resnets_0_conv1', role='down')
    >>> read_key("unet.mid_block.attentions.0.proj_in.lora_B.weight")
    LoraKey(part='unet', module='mid_block.attentions.0.proj_in', role='up')
    """
    part, rest = _part_of(name)
    match = _ENDS.fullmatch(rest)
    if match is None:
        return None
    found = match.groupdict()
    role = next(_ROLES[found[k]] for k in _ROLE_GROUPS if found[k] is not None)
    module = found["module"]
    if (layer := found["layer"]) is not None:
        layers = _UNET_LAYERS if part == "unet" else _TEXT_LAYERS
        module += f".{layers.get(layer, layer)}"
    return LoraKey(part, without_text_model(module), role)


_ROLE_GROUPS = ("peft", "kohya", "diffusers", "processor", "alpha")


def _part_of(name: str) -> tuple[Part, str]:
    """The part of a name, and the rest of it."""
    for start, part in _KOHYA.items():
        if name.startswith(start):
            return part, name.removeprefix(start)
    rest = name.removeprefix("base_model.model.")
    for start, part in _DOTTED.items():
        if rest.startswith(start):
            return part, rest.removeprefix(start)
    return ("text_encoder" if rest.startswith(_TEXT_ENCODER) else "unet"), rest


def without_text_model(module: str) -> str:
    """A module of a text encoder without the level that transformers had before version 5.

    >>> without_text_model("text_model.encoder.layers.0"), without_text_model("text_model_encoder")
    ('encoder.layers.0', 'encoder')
    """
    return module.removeprefix("text_model.").removeprefix("text_model_")


def other_kind(names: Iterable[str]) -> str | None:
    """What a file with these tensors is, if it is a known adapter that cannot be merged."""
    names = list(names)
    for pattern, kind in _OTHER_KINDS:
        if any(re.search(pattern, name) for name in names):
            return kind
    return None


def is_for_transformer(names: Iterable[str]) -> bool:
    """Whether an adapter changes a diffusion transformer, such as FLUX or Stable Diffusion 3."""
    return any(name.removeprefix("base_model.model.").startswith(_TRANSFORMERS) for name in names)


def is_whole_model(names: Iterable[str]) -> bool:
    """Whether a file without a LoRA holds a model or a control net."""
    return any(name.startswith(_WHOLE_MODELS) for name in names)
