"""LoRA files in every format of names, with random matrices for the modules of a model."""

import json

import torch
from safetensors.torch import save_file

#: What LCM-LoRA changes: attention, convolutions, time embeddings, up- and downsamplers.
LCM_TARGETS = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj",
)  # fmt: skip
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def factors(part, targets=ATTENTION, rank=3, seed=0):
    """``{module: (A, B)}`` for the modules of a torch module whose names end with ``targets``."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, module in part.named_modules():
        if not any(name == t or name.endswith(f".{t}") for t in targets):
            continue
        shape = module.weight.shape
        kernel = (1, 1) if len(shape) == 4 else ()
        down = torch.randn((rank, *shape[1:]), generator=generator) / 4
        up = torch.randn((shape[0], rank, *kernel), generator=generator) / 4
        found[name] = (down, up)
    return found


def kohya(found, alpha=None, start="lora_unet_"):
    """``lora_unet_mid_block_..._to_q.lora_down.weight``."""
    tensors = {}
    for module, (down, up) in found.items():
        name = start + module.replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(float(alpha))
    return tensors


def dotted(found, start="unet.", ends=(".lora_A.weight", ".lora_B.weight")):
    """``unet.mid_block....to_q.lora_A.weight``, or other ends."""
    return {
        f"{start}{module}{end}": matrix
        for module, matrices in found.items()
        for end, matrix in zip(ends, matrices, strict=True)
    }


def processors(found):
    """``unet.mid_block....attn1.processor.to_q_lora.down.weight``, of old diffusers."""
    tensors = {}
    for module, matrices in found.items():
        attention, _, layer = module.removesuffix(".0").rpartition(".")
        for side, matrix in zip(("down", "up"), matrices, strict=True):
            tensors[f"unet.{attention}.processor.{layer}_lora.{side}.weight"] = matrix
    return tensors


def save(path, tensors, **metadata):
    """Write a file; metadata that are no texts are written as JSON."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(path), texts or None)
    return path
