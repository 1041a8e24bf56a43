"""The kind of a checkpoint in one .safetensors file, from the names and shapes of its tensors.

Such files have the layout of the first Stable Diffusion (``ldm``), or of a single part of a model.
"""

from __future__ import annotations

import re

from . import kinds
from .header import Shapes
from .kinds import ModelKind, OtherKind

#: First convolution of the UNet, and its last one.
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
_LAST = "model.diffusion_model.out.2.weight"
_TEXT_KEYS = re.compile(r"^model\.diffusion_model\..*\.attn2\.to_k\.weight$")
#: Noise levels of CosXL, as scalars.
SIGMAS = {"sigma_max": "edm_vpred.sigma_max", "sigma_min": "edm_vpred.sigma_min"}
#: An empty tensor that marks models that predict v.
PREDICTS_V = "v_pred"
#: An empty tensor that marks models whose last noise level has no signal.
ZERO_TERMINAL = "ztsnr"

#: Kinds by a name of a tensor that only they have; the first that matches counts.
_MARKS: tuple[tuple[str, OtherKind], ...] = (
    (r"[._](lora_(up|down|[AB]|linear_layer)|lora\.(up|down)|hada_w1|lokr_w1)\b", kinds.LORA),
    (r"^lora_(unet|te)", kinds.LORA),
    (r"^(control_model\.|controlnet_|input_hint_block\.|zero_convs\.)", kinds.CONTROL_NET),
    (r"^(adapter\.)?body\.\d+\.", kinds.T2I_ADAPTER),
    (r"(^|\.)single_stream_modulation\.", OtherKind("a FLUX.2 model")),
    (r"(^|\.)double_blocks\.0\.img_attn\.", OtherKind("a FLUX model")),
    (r"(^|\.)joint_blocks\.0\.", OtherKind("a Stable Diffusion 3 model")),
    (r"(^|\.)transformer_blocks\.0\.attn\.add_[qk]_proj\.", OtherKind("a transformer model")),
    (r"^(model\.diffusion_model\.)?(txt_norm|txt_in\.text_norm)\.", OtherKind("a Qwen model")),
    (r"(^|\.)head\.modulation$", OtherKind("a Wan video model")),
    (r"^(string_to_param|emb_params|clip_[lg]$)", OtherKind("a textual inversion embedding")),
    (r"^edm_mean$", OtherKind("a Playground v2.5 model")),
)
#: Kinds by the start of a name, in files without the parts of a whole model.
_PARTS: tuple[tuple[str, OtherKind], ...] = (
    (r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid)", kinds.VAE),
    (r"^(down_blocks|input_blocks|model\.diffusion_model)\.", kinds.UNET),
    (r"^(text_model|cond_stage_model|conditioner|transformer\.text_model)\.", kinds.TEXT_ENCODER),
)
_SD2 = OtherKind(
    "a Stable Diffusion 2 model in one file, which is read as a diffusers folder only",
    "Convert it with diffusers' from_single_file and save_pretrained.",
)
_UNKNOWN = OtherKind("a file of tensors of an unknown kind")


def kind_of(shapes: Shapes) -> ModelKind | OtherKind:
    """The kind of a checkpoint with these tensors."""
    marked = _first_match(_MARKS, shapes)
    if marked is not None:
        return marked
    if FIRST not in shapes or not _has(shapes, "first_stage_model."):
        return _first_match(_PARTS, shapes) or _UNKNOWN
    taken, latent = (shapes[FIRST] + (0, 0))[1], (*shapes.get(_LAST, ()), 4)[0]
    if _has(shapes, "conditioner.embedders.1."):
        family: kinds.Family = "cosxl" if SIGMAS["sigma_max"] in shapes else "sdxl"
        return kinds.by_channels(family, taken, latent)
    if _has(shapes, "conditioner.embedders.0."):
        return kinds.REFINER
    if _has(shapes, "cond_stage_model.transformer."):
        return kinds.by_channels("sd", taken, latent)
    return _SD2 if _has(shapes, "cond_stage_model.model.") else kinds.UNET


def widths(shapes: Shapes) -> tuple[int, int]:
    """Width of the UNet's first convolution, and of the texts that it takes; 0 if not found."""
    texts = (shape[1] for name, shape in shapes.items() if _TEXT_KEYS.search(name) and shape[1:])
    return (*shapes.get(FIRST, ()), 0)[0], next(texts, 0)


def _has(shapes: Shapes, start: str) -> bool:
    return any(name.startswith(start) for name in shapes)


def _first_match(marks: tuple[tuple[str, OtherKind], ...], shapes: Shapes) -> OtherKind | None:
    for pattern, kind in marks:
        mark = re.compile(pattern)
        if any(mark.search(name) for name in shapes):
            return kind
    return None
