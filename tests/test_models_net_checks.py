"""Control nets that do not fit a model are refused by their configurations, in one line."""

import json
import warnings

import pytest
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel

from ip2p_batch.errors import ModelError
from ip2p_batch.models import catalog, net_checks

UNET = {
    "in_channels": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
}
VAE = {"latent_channels": 4, "block_out_channels": [128, 256, 512, 512]}
UNET_XL = {
    **UNET,
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "addition_embed_type": "text_time",
}
NET = {"_class_name": "ControlNetModel", **UNET, "in_channels": 4}
NET_XL = {**UNET_XL, "_class_name": "ControlNetModel", "in_channels": 4}
ADAPTER = {"_class_name": "T2IAdapter", "channels": [320, 640, 1280, 1280]}
LIGHT = {"_class_name": "T2IAdapter", "channels": [320, 640, 1280], "adapter_type": "light_adapter"}
ADAPTER_XL = {**ADAPTER, "adapter_type": "full_adapter_xl", "downscale_factor": 16}


def check(net, unet=UNET, vae=VAE, caption=False):
    net_checks.check_net("NET", net, "MODEL", unet, vae, caption=caption)


@pytest.mark.parametrize(
    ("net", "unet"),
    [
        (NET, UNET),
        (ADAPTER, UNET),
        (LIGHT, UNET),
        ({**ADAPTER, "in_channels": 1}, UNET),
        (NET_XL, UNET_XL),
        (ADAPTER_XL, UNET_XL),
    ],
)
def test_nets_of_the_models_base_fit(net, unet):
    check(net, unet)
    check(net, None, None)


SD2 = {"cross_attention_dim": 1024}


@pytest.mark.parametrize(
    ("net", "unet", "message"),
    [
        (NET_XL, UNET, "NET is for Stable Diffusion XL; MODEL is based on Stable Diffusion 1."),
        (NET, UNET_XL, "NET is for Stable Diffusion 1; MODEL is based on Stable Diffusion XL."),
        ({**NET, **SD2}, UNET, "NET is for Stable Diffusion 2; MODEL is based on"),
        (ADAPTER_XL, UNET, "NET is for Stable Diffusion XL; MODEL is based on Stable Diffusion 1."),
        (ADAPTER, UNET_XL, "NET is for Stable Diffusion 1; MODEL is based on Stable Diffusion XL."),
        (
            {**NET, "in_channels": 8},
            UNET,
            "NET takes 8 channels, not the 4 noisy ones of MODEL. It was made from the UNet of",
        ),
        ({**NET, "in_channels": 9}, UNET, "NET takes 9 channels, not the 4 noisy ones of MODEL."),
        (
            {**NET, "layers_per_block": 1},
            UNET,
            "NET has layers of the widths 320, 320, 320, 640, 640, 1280, 1280, 1280, 1280; MODEL",
        ),
        (
            {**NET, "conditioning_embedding_out_channels": [16, 32, 96]},
            UNET,
            "NET reduces hints 4 times; the latents of MODEL are 8 times smaller than the image.",
        ),
        ({**NET, "global_pool_conditions": True}, UNET, "NET pools its residuals"),
        ({**NET, "conditioning_channels": 6}, UNET, "NET takes hints of 6 channels; hints are RGB"),
        ({**NET, "num_class_embeds": 6}, UNET, "NET needs conditions that an edit does not have"),
        ({"_class_name": "ControlNetUnionModel"}, UNET, "NET is a ControlNetUnionModel, neither a"),
        ({}, UNET, "NET is of no known class, neither a ControlNet nor a T2I-Adapter."),
        ({**ADAPTER, "in_channels": 64}, UNET, "NET takes hints of 64 channels; hints are RGB."),
        ({**ADAPTER, "adapter_type": "new"}, UNET, "NET is an adapter of the type 'new'"),
        (
            {**ADAPTER, "channels": [160, 320, 640, 640]},
            UNET,
            "NET makes features of 160 channels at 1/8, 320 channels at 1/16, 640 channels at",
        ),
        (
            {**ADAPTER, "downscale_factor": 16},
            UNET,
            "NET makes features of 320 channels at 1/16,",
        ),
    ],
)
def test_nets_that_do_not_fit_are_refused_in_words(net, unet, message):
    with pytest.raises(ModelError) as error:
        check(net, unet)
    assert error.value.message.startswith(message)
    assert "\n" not in str(error.value)
    assert error.value.hint


def test_what_an_edit_cannot_give_is_refused_without_the_model():
    for net in ({**NET, "global_pool_conditions": True}, {"_class_name": "Other"}):
        with pytest.raises(ModelError):
            check(net, None, None)
    with pytest.raises(ModelError, match="NET is a T2I-Adapter, which reads no text"):
        check(ADAPTER, caption=True)
    check(NET, caption=True)


def bundled():
    folder = catalog.BUNDLED["tiny"]
    return [json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae")]


def test_the_widths_and_places_are_those_of_diffusers_classes():
    """Of the bundled model: a ControlNet from its UNet, and an adapter of its widths."""
    unet_config, vae = bundled()
    names = (
        *("block_out_channels", "down_block_types", "cross_attention_dim", "attention_head_dim"),
        *("norm_num_groups", "resnet_time_scale_shift"),
    )
    net = ControlNetModel(
        **{name: unet_config[name] for name in names},
        in_channels=12,
        layers_per_block=1,
        conditioning_embedding_out_channels=(8, 16, 32),
    )
    adapter = T2IAdapter(channels=unet_config["block_out_channels"], downscale_factor=4)
    for own in (net, adapter):
        config = {**own.config, "_class_name": type(own).__name__}
        net_checks.check_net("NET", config, "tiny", unet_config, vae, caption=False)
    down, mid = net(
        torch.zeros(1, 12, 16, 16),
        1,
        torch.zeros(1, 5, 128),
        torch.zeros(1, 3, 64, 64),
        return_dict=False,
    )
    assert [t.shape[1] for t in (*down, mid)] == net_checks.residual_channels(unet_config)
    features = [(f.shape[1], 64 // f.shape[2]) for f in adapter(torch.zeros(1, 3, 64, 64))]
    made = net_checks.adapter_features(adapter.config)
    assert features == [(f.channels, f.reduction) for f in made]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = UNet2DConditionModel.from_config(unet_config)
    seen = []
    for block in unet.down_blocks:
        block.register_forward_hook(lambda _, __, output: seen.append(output))
    unet(torch.zeros(1, 24, 16, 16), 1, torch.zeros(1, 5, 128))
    places = net_checks.unet_places(unet_config, 4)
    for place, (hidden, skips), block in zip(places[:4], seen, unet.down_blocks, strict=True):
        before = getattr(block, "has_cross_attention", False)
        shown = skips[len(block.resnets) - 1] if before else hidden
        assert (place.channels, place.reduction) == (shown.shape[1], 64 // shown.shape[2])


@pytest.mark.parametrize("kind", ["light_adapter", "full_adapter_xl", "full_adapter"])
def test_the_features_of_all_kinds_of_adapters_are_known(kind):
    net = T2IAdapter(channels=[8, 16, 16], adapter_type=kind, downscale_factor=4, num_res_blocks=1)
    features = [(f.shape[1], 64 // f.shape[2]) for f in net(torch.zeros(1, 3, 64, 64))]
    made = net_checks.adapter_features(net.config)
    assert features == [(f.channels, f.reduction) for f in made]
