"""Write pipelines as checkpoints in one file: diffusers' names of weights to those of ``ldm``."""

import re
import struct
from pathlib import Path

import torch
from safetensors.torch import save_file

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_VAE_ATTENTION = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip
_OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def save_checkpoint(pipe, path, **extra):
    """Write ``pipe`` to ``path``; ``extra`` are further tensors."""
    tensors = {f"model.diffusion_model.{k}": v for k, v in _unet(pipe.unet).items()}
    tensors |= {f"first_stage_model.{k}": v for k, v in _vae(pipe.vae).items()}
    first = _text_model(pipe.text_encoder)
    if hasattr(pipe, "text_encoder_2"):
        tensors |= {f"conditioner.embedders.0.transformer.{k}": v for k, v in first.items()}
        second = _open_clip(pipe.text_encoder_2)
        tensors |= {f"conditioner.embedders.1.model.{k}": v for k, v in second.items()}
    else:
        tensors |= {f"cond_stage_model.transformer.{k}": v for k, v in first.items()}
    tensors |= extra
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, path)
    return path


def save_header(path, shapes):
    """Write a file with the header of a checkpoint with these shapes, and no weights."""
    entries = [
        f'"{name}":{{"dtype":"F16","shape":{list(shape)},"data_offsets":[0,0]}}'
        for name, shape in shapes.items()
    ]
    header = ("{" + ",".join(entries) + "}").encode()
    Path(path).write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def _unet(unet):
    per_block = unet.config.layers_per_block + 1
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]

    def rename(name):
        for ours, theirs in _UNET.items():
            if name.startswith(ours + "."):
                return theirs + name[len(ours) :]
        if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
            part, number, rest = found.groups()
            place = 1 if part == "attentions" else 2 * int(number)
            return f"middle_block.{place}.{_resnet(rest) if part == 'resnets' else rest}"
        found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
        side, block, part, number, rest = found.groups()
        at = int(block) * per_block + (side == "down")
        stem = "input_blocks" if side == "down" else "output_blocks"
        if part == "resnets":
            return f"{stem}.{at + int(number)}.0.{_resnet(rest)}"
        if part == "attentions":
            return f"{stem}.{at + int(number)}.1.{rest}"
        last = at + per_block - 1
        if side == "down":
            return f"{stem}.{last}.0.{rest.replace('conv', 'op')}"
        return f"{stem}.{last}.{2 if attends[int(block)] else 1}.{rest}"

    return {rename(name): value for name, value in unet.state_dict().items()}


def _resnet(rest):
    part, _, leaf = rest.partition(".")
    return f"{_RESNET[part]}.{leaf}"


def _vae(vae):
    blocks = len(vae.config.block_out_channels)
    result = {}
    for name, value in vae.state_dict().items():
        name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        if found := re.match(r"(\w+)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            whole, side, block, part, number, rest = found.groups()
            place = int(block) if side == "down" else blocks - 1 - int(block)
            own = f"block.{number}" if part == "resnets" else f"{side}sample"
            name = f"{whole}.{side}.{place}.{own}.{rest}"
        elif found := re.match(r"(\w+)\.mid_block\.resnets\.(\d)\.(.*)", name):
            whole, number, rest = found.groups()
            name = f"{whole}.mid.block_{int(number) + 1}.{rest}"
        elif found := re.match(r"(\w+)\.mid_block\.attentions\.0\.(.*)\.(\w+)", name):
            whole, part, leaf = found.groups()
            name = f"{whole}.mid.attn_1.{_VAE_ATTENTION[part]}.{leaf}"
            if part != "group_norm" and leaf == "weight":
                value = value[:, :, None, None]
        result[name] = value
    return result


def _text_model(encoder):
    """The names of transformers 4, with which checkpoints were written."""
    state = encoder.state_dict()
    return {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in state.items()}


def _open_clip(encoder):
    state = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    result = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "text_projection": state["text_projection.weight"].T,
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
    }
    for name, value in state.items():
        if not (found := re.match(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name)):
            continue
        layer, part, leaf = found.groups()
        stem = f"transformer.resblocks.{layer}"
        if part in _OPEN_CLIP:
            result[f"{stem}.{_OPEN_CLIP[part]}.{leaf}"] = value
        elif part == "self_attn.q_proj":
            three = [state[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            result[f"{stem}.attn.in_proj_{leaf}"] = torch.cat(three)
    return result
