"""Conditioning dropout as in the paper, and the UNet's second image input."""

import pytest
import torch

from ip2p_batch.training.conditioning import dropout_masks, widen_unet_input

from .tiny_pipelines import pipeline


def test_each_dropout_case_gets_its_fraction():
    uniform = (torch.arange(10_000) + 0.5) / 10_000
    drop_text, drop_image = dropout_masks(uniform)
    kinds = {
        "text": drop_text & ~drop_image, "both": drop_text & drop_image,
        "picture": drop_image & ~drop_text, "none": ~drop_text & ~drop_image,
    }  # fmt: skip
    fractions = {name: kind.float().mean().item() for name, kind in kinds.items()}
    assert fractions == pytest.approx({"text": 0.05, "both": 0.05, "picture": 0.05, "none": 0.85})


def test_a_fraction_of_zero_drops_nothing_and_too_large_a_fraction_is_refused():
    drop_text, drop_image = dropout_masks(torch.rand(100), 0.0)
    assert not drop_text.any() and not drop_image.any()
    with pytest.raises(ValueError, match="1/3"):
        dropout_masks(torch.rand(3), 0.4)


def test_widening_does_not_change_the_output():
    unet = pipeline(unet_channels=4).unet
    noisy, other = torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16)
    text, step = torch.rand(1, 16, 16), torch.tensor(500)
    with torch.no_grad():
        before = unet(noisy, step, text).sample
        assert widen_unet_input(unet) is unet
        after = unet(torch.cat([noisy, other], dim=1), step, text).sample
    assert torch.allclose(before, after, atol=1e-6)
    assert unet.config.in_channels == 8 and widen_unet_input(unet).conv_in.in_channels == 8
    with pytest.raises(ValueError, match="8 input channels"):
        widen_unet_input(unet, 6)


def test_the_new_weights_get_gradients():
    unet = widen_unet_input(pipeline(unet_channels=4).unet).train()
    both = torch.rand(1, 8, 16, 16)
    unet(both, torch.tensor(500), torch.rand(1, 16, 16)).sample.square().mean().backward()
    assert unet.conv_in.weight.grad[:, 4:].abs().sum() > 0


def test_a_widened_unet_survives_saving_and_loading(tmp_path):
    from diffusers import UNet2DConditionModel

    unet = widen_unet_input(pipeline(unet_channels=4).unet)
    unet.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert again.config.in_channels == 8
    assert torch.equal(again.conv_in.weight, unet.conv_in.weight)
