"""LoRA files that do not fit are refused in one line that names the reason."""

import re

import pytest
import torch

from ip2p_batch.editing.lora.files import read_header
from ip2p_batch.editing.lora.matching import match
from ip2p_batch.editing.lora.modules import PARTS, module_shapes
from ip2p_batch.errors import ModelError

from .lora_files import dotted, factors, kohya, save
from .tiny_pipelines import pipeline

_TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture(scope="module")
def pipe():
    return pipeline()


@pytest.fixture(scope="module")
def shapes(pipe):
    found = {}
    for part in PARTS:
        if (module := getattr(pipe, part, None)) is not None:
            state = module.state_dict()
            found[part] = module_shapes((name, tuple(value.shape)) for name, value in state.items())
    return found


def pair(name, down=(3, 16), up=(32, 3)):
    return {f"{name}.lora_A.weight": torch.ones(down), f"{name}.lora_B.weight": torch.ones(up)}


def kohya_pair(name, down=(3, 16), up=(32, 3)):
    return {f"{name}.lora_down.weight": torch.ones(down), f"{name}.lora_up.weight": torch.ones(up)}


#: Tensors, metadata, and what the error says after the file's name.
CASES = {
    "conv_in": (
        pair("unet.conv_in", (3, 4, 3, 3), (16, 3, 1, 1)),
        {},
        "changes conv_in, which in InstructPix2Pix has other channels",
    ),
    "conv_in of kohya": (
        kohya_pair("lora_unet_input_blocks_0_0", (3, 4, 3, 3), (16, 3, 1, 1)),
        {},
        "changes conv_in",
    ),
    "another width": (
        pair(f"unet.{_TO_K}", (3, 20)),
        {},
        f"has another width: its {_TO_K} is 32 x 20, the model's 32 x 16",
    ),
    "SD 2": (pair(f"unet.{_TO_K}", (3, 1024)), {}, "is for Stable Diffusion 2: its"),
    "SDXL": (pair(f"unet.{_TO_K}", (3, 2048)), {}, "is for Stable Diffusion XL: its"),
    "SDXL by a module that is not there": (
        kohya_pair("lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k", (3, 2048)),
        {},
        "is for Stable Diffusion XL, and the model's UNet has no input_blocks_8_1",
    ),
    "SDXL by its second text encoder": (
        kohya_pair("lora_te2_text_model_encoder_layers_0_mlp_fc1"),
        {},
        "is for Stable Diffusion XL: it changes a second text encoder",
    ),
    "a kernel of another size": (
        pair("unet.conv_out", (3, 16, 1, 1), (4, 3, 1, 1)),
        {},
        "has another width: its conv_out is 4 x 16 x 1 x 1, the model's 4 x 16 x 3 x 3",
    ),
    "an unknown module": (
        pair("unet.mid_block.attentions.7.proj_in"),
        {},
        "does not fit: the model's UNet has no mid_block.attentions.7.proj_in",
    ),
    "an unknown module of the text encoder": (
        pair("text_encoder.encoder.layers.11.mlp.fc1"),
        {},
        "does not fit: the model's text encoder has no encoder.layers.11.mlp.fc1",
    ),
    "FLUX": (
        pair("transformer.single_transformer_blocks.0.attn.to_q"),
        {},
        "is for a diffusion transformer",
    ),
    "FLUX of kohya": (
        kohya_pair("lora_unet_double_blocks_0_img_attn_proj"),
        {},
        "is for a diffusion transformer",
    ),
    "LoHa": (
        {"lora_unet_conv_out.hada_w1_a": torch.ones(2, 2)},
        {},
        "is of the kind LoHa, which is not supported",
    ),
    "DoRA": (
        pair(f"unet.{_TO_K}") | {f"unet.{_TO_K}.dora_scale": torch.ones(2)},
        {},
        "is of the kind DoRA",
    ),
    "DoRA by its configuration": (
        pair(f"unet.{_TO_K}"),
        {"lora_adapter_metadata": {"unet.use_dora": True}},
        "is of the kind DoRA",
    ),
    "a checkpoint": (
        {"model.diffusion_model.out.2.weight": torch.ones(2, 2)},
        {},
        "holds a whole model, not a LoRA",
    ),
    "a UNet": ({"conv_in.weight": torch.ones(2, 2)}, {}, "holds a whole model, not a LoRA"),
    "anything": ({"embedding": torch.ones(2, 2)}, {}, "is not a LoRA: no name is known"),
    "more than a LoRA": (
        pair(f"unet.{_TO_K}") | {"emb.weight": torch.ones(2)},
        {},
        "has tensors that belong to no LoRA, 1 in all: emb.weight",
    ),
    "half a pair": (
        {f"unet.{_TO_K}.lora_A.weight": torch.ones(3, 16)},
        {},
        f"has no second matrix for {_TO_K}",
    ),
    "matrices of two ranks": (
        pair(f"unet.{_TO_K}", (3, 16), (32, 4)),
        {},
        f"is damaged: its matrices for {_TO_K} are 3 x 16 and 32 x 4",
    ),
    "a vector as alpha": (
        pair(f"unet.{_TO_K}") | {f"unet.{_TO_K}.alpha": torch.ones(5)},
        {},
        "is damaged",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(shapes, tmp_path, case):
    tensors, metadata, reason = CASES[case]
    path = save(tmp_path / "look.safetensors", tensors, **metadata)
    with pytest.raises(ModelError, match=re.escape(f"The LoRA {path} {reason}")) as caught:
        match(read_header(path), shapes)
    assert "\n" not in str(caught.value) and caught.value.hint


def test_a_file_that_fits_names_the_weights_that_it_changes(pipe, shapes, tmp_path):
    path = save(tmp_path / "look.safetensors", kohya(factors(pipe.unet), alpha=1))
    changes = match(read_header(path), shapes)
    assert {change.module for change in changes} == set(factors(pipe.unet))
    assert all(change.alpha is not None and change.part == "unet" for change in changes)


def test_without_the_model_only_the_names_are_checked(pipe, tmp_path):
    wide = save(tmp_path / "wide.safetensors", pair(f"unet.{_TO_K}", (3, 2048)))
    assert [change.module for change in match(read_header(wide), None)] == [_TO_K]
    conv_in = {"conv_in": (torch.ones(3, 4, 3, 3), torch.ones(16, 3, 1, 1))}
    path = save(tmp_path / "in.safetensors", dotted(conv_in))
    with pytest.raises(ModelError, match="changes conv_in"):
        match(read_header(path), None)
