"""Conditioning dropout as in the paper, and a UNet that learns to see a second picture."""

import pytest
import torch

from ip2p_batch.training.conditioning import dropped, widen

from .tiny_pipelines import pipeline


def test_each_kind_of_dropping_has_its_share():
    chance = (torch.arange(10_000) + 0.5) / 10_000
    no_text, no_picture = dropped(chance)
    kinds = {
        "text": no_text & ~no_picture, "both": no_text & no_picture,
        "picture": no_picture & ~no_text, "none": ~no_text & ~no_picture,
    }  # fmt: skip
    shares = {name: kind.float().mean().item() for name, kind in kinds.items()}
    assert shares == pytest.approx({"text": 0.05, "both": 0.05, "picture": 0.05, "none": 0.85})


def test_without_a_share_nothing_is_dropped_and_too_large_a_one_is_refused():
    no_text, no_picture = dropped(torch.rand(100), 0.0)
    assert not no_text.any() and not no_picture.any()
    with pytest.raises(ValueError, match="1/3"):
        dropped(torch.rand(3), 0.4)


def test_a_widened_unet_gives_what_it_gave_whatever_the_picture():
    unet = pipeline(unet_channels=4).unet
    noisy, other = torch.rand(1, 4, 16, 16), torch.rand(1, 4, 16, 16)
    text, step = torch.rand(1, 16, 16), torch.tensor(500)
    with torch.no_grad():
        before = unet(noisy, step, text).sample
        assert widen(unet) is unet
        after = unet(torch.cat([noisy, other], dim=1), step, text).sample
    assert torch.allclose(before, after, atol=1e-6)
    assert unet.config.in_channels == 8 and widen(unet).conv_in.in_channels == 8
    with pytest.raises(ValueError, match="8 channels"):
        widen(unet, 6)


def test_its_new_weights_learn():
    unet = widen(pipeline(unet_channels=4).unet).train()
    both = torch.rand(1, 8, 16, 16)
    unet(both, torch.tensor(500), torch.rand(1, 16, 16)).sample.square().mean().backward()
    assert unet.conv_in.weight.grad[:, 4:].abs().sum() > 0


def test_a_widened_unet_is_saved_and_loaded_as_such(tmp_path):
    from diffusers import UNet2DConditionModel

    unet = widen(pipeline(unet_channels=4).unet)
    unet.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert again.config.in_channels == 8
    assert torch.equal(again.conv_in.weight, unet.conv_in.weight)
