"""The modules of a model under the names that LoRA files have for them."""

import re
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.editing.lora.keys import read_key
from ip2p_batch.editing.lora.modules import (
    flat_name,
    folder_shapes,
    module_shapes,
    names_of,
    original_names,
)
from ip2p_batch.models.catalog import BUNDLED

#: What differs from the defaults of diffusers' UNet, which are those of Stable Diffusion 1.
KINDS: dict[str, dict[str, Any]] = {
    "sd1": {"in_channels": 8, "cross_attention_dim": 768},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def modules_of(kind):
    with torch.device("meta"):  # shapes only: no memory and no time
        state = UNet2DConditionModel(**KINDS[kind]).state_dict()
    return list(module_shapes((name, tuple(value.shape)) for name, value in state.items()))


MODULES = {kind: modules_of(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_survives_kohyas_underscores(kind):
    modules = MODULES[kind]
    names = names_of(modules)
    assert len(modules) > 250
    assert [names[flat_name(module)] for module in modules] == modules


@given(st.sampled_from([(k, m) for k, modules in MODULES.items() for m in modules]))
def test_a_module_is_found_by_each_of_its_names(found):
    kind, module = found
    names = names_of(MODULES[kind])
    for name in (module, *original_names(module, 2)):
        key = read_key(f"lora_unet_{flat_name(name)}.lora_up.weight")
        assert names[key.module] == module


@given(st.lists(st.from_regex(r"[ab](_[ab01])?(\.[ab0](_[ab])?)?", fullmatch=True), unique=True))
def test_a_name_with_two_meanings_is_left_out(modules):
    names = names_of(modules)
    for module in modules:
        same = [m for m in modules if flat_name(m) == flat_name(module)]
        assert names.get(flat_name(module)) == (module if len(same) == 1 else None)


#: Facts of the original implementation's configuration of Stable Diffusion 1 and XL.
@pytest.mark.parametrize(
    ("kind", "original", "module"),
    [
        ("sd1", "input_blocks.0.0", "conv_in"),
        ("sd1", "input_blocks.1.1.proj_in", "down_blocks.0.attentions.0.proj_in"),
        ("sd1", "input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv"),
        ("sd1", "input_blocks.4.0.skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
        ("sd1", "input_blocks.11.0.out_layers.3", "down_blocks.3.resnets.1.conv2"),
        ("sd1", "middle_block.0.emb_layers.1", "mid_block.resnets.0.time_emb_proj"),
        ("sd1", "middle_block.1.proj_out", "mid_block.attentions.0.proj_out"),
        ("sd1", "output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv"),
        ("sd1", "output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv"),
        ("sd1", "output_blocks.11.0.in_layers.2", "up_blocks.3.resnets.2.conv1"),
        ("sd1", "time_embed.2", "time_embedding.linear_2"),
        ("sd1", "out.2", "conv_out"),
        ("sdxl", "input_blocks.4.1.transformer_blocks.1.attn2.to_k",
         "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k"),
        ("sdxl", "input_blocks.8.1.proj_in", "down_blocks.2.attentions.1.proj_in"),
        ("sdxl", "output_blocks.2.2.conv", "up_blocks.0.upsamplers.0.conv"),
        ("sdxl", "output_blocks.3.1.proj_out", "up_blocks.1.attentions.0.proj_out"),
        ("sdxl", "label_emb.0.2", "add_embedding.linear_2"),
    ],
)  # fmt: skip
def test_names_of_the_original_implementation_are_known(kind, original, module):
    assert names_of(MODULES[kind])[flat_name(original)] == module


def test_shapes_of_a_folder_are_those_of_its_weights():
    from ip2p_batch.editing.loading import load_pipeline

    pipe = load_pipeline("tiny", dtype=torch.float32)
    shapes = folder_shapes(BUNDLED["tiny"])
    assert set(shapes) == {"unet", "text_encoder"}
    for part, modules in shapes.items():
        state = getattr(pipe, part).state_dict()
        loaded = module_shapes((name, tuple(value.shape)) for name, value in state.items())
        assert modules == loaded
    assert not any(re.search("norm|bias", module) for module in shapes["text_encoder"])
