"""Convolutions that oneDNN computes wrongly in bfloat16 give what float32 gives."""

import pytest
import torch

from ip2p_batch.editing.onednn_workaround import NarrowSafeConv2d, install

from .tiny_pipelines import pipeline


def strided(padding=1, bias=True):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(128, 64, 3, 2, padding, bias=bias))
    model.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
    install(model)
    return model


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("padding", "width"), [(1, 1), (1, 2), (0, 3), (0, 4), (1, 3), (1, 8)])
def test_narrow_outputs_equal_those_of_float32(padding, width, bias):
    model = strided(padding, bias)
    picture = torch.randn(3, 128, 16, width).to(torch.bfloat16, memory_format=torch.channels_last)
    outputs = [model(picture.clone()) for _ in range(4)]
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    expected = strided(padding, bias).float()(picture.float())
    assert outputs[0].dtype is torch.bfloat16
    torch.testing.assert_close(outputs[0].float(), expected, rtol=0.02, atol=0.02)


def test_only_strided_convolutions_change_and_parameters_keep_their_names():
    unet = pipeline().unet
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    install(unet)
    for module in unet.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert isinstance(module, NarrowSafeConv2d) == (module.stride[1] > 1)
    after = unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
