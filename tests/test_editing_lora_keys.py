"""Names of tensors in LoRA files."""

import pytest

from ip2p_batch.editing.lora.keys import LoraKey, other_kind, read_key

_ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (
            "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight",
            LoraKey("unet", "down_blocks_0_resnets_0_conv1", "down"),
        ),
        ("lora_unet_conv_out.alpha", LoraKey("unet", "conv_out", "alpha")),
        (
            "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
            LoraKey("text_encoder", "encoder_layers_0_mlp_fc1", "up"),
        ),
        (
            "lora_te2_text_model_encoder_layers_31_mlp_fc1.lora_up.weight",
            LoraKey("text_encoder_2", "encoder_layers_31_mlp_fc1", "up"),
        ),
        (f"unet.{_ATTENTION}.to_q.lora_A.weight", LoraKey("unet", f"{_ATTENTION}.to_q", "down")),
        (
            f"base_model.model.{_ATTENTION}.to_out.0.lora_B.default.weight",
            LoraKey("unet", f"{_ATTENTION}.to_out.0", "up"),
        ),
        (
            f"base_model.model.unet.{_ATTENTION}.to_v.lora_B.weight",
            LoraKey("unet", f"{_ATTENTION}.to_v", "up"),
        ),
        (f"unet.{_ATTENTION}.to_k.lora.down.weight", LoraKey("unet", f"{_ATTENTION}.to_k", "down")),
        (
            f"{_ATTENTION}.processor.to_out_lora.up.weight",
            LoraKey("unet", f"{_ATTENTION}.to_out.0", "up"),
        ),
        (f"unet.{_ATTENTION}.to_q.alpha", LoraKey("unet", f"{_ATTENTION}.to_q", "alpha")),
        (
            "text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_linear_layer.up.weight",
            LoraKey("text_encoder", "encoder.layers.3.self_attn.q_proj", "up"),
        ),
        (
            "text_encoder.text_model.encoder.layers.3.self_attn.to_q_lora.down.weight",
            LoraKey("text_encoder", "encoder.layers.3.self_attn.q_proj", "down"),
        ),
        (
            "text_encoder_2.text_model.encoder.layers.3.mlp.fc2.lora_A.weight",
            LoraKey("text_encoder_2", "encoder.layers.3.mlp.fc2", "down"),
        ),
        (
            "base_model.model.text_model.encoder.layers.1.mlp.fc2.lora_A.weight",
            LoraKey("text_encoder", "encoder.layers.1.mlp.fc2", "down"),
        ),
        ("down_blocks.0.resnets.0.conv1.weight", None),
        ("lora_unet_conv_out.hada_w1_a", None),
    ],
)
def test_a_name_says_which_matrix_of_which_module_it_is(name, key):
    assert read_key(name) == key


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (".hada_w1_a", "LoHa"),
        (".lokr_w1", "LoKr"),
        (".dora_scale", "DoRA"),
        (".lora_magnitude_vector.weight", "DoRA"),
        (".lora_mid.weight", "LoCon with a Tucker decomposition"),
        (".oft_blocks", "OFT"),
        (".diff_b", "LoRA with whole differences of weights"),
        (".lora_B.default.bias", "LoRA with biases"),
        (".lora_down.weight", None),
        (".diffuser.lora_A.weight", None),
    ],
)
def test_other_kinds_of_adapters_are_known_by_their_names(end, kind):
    assert other_kind(["lora_unet_conv_out.alpha", f"lora_unet_conv_out{end}"]) == kind
