"""T2I-Adapters: their features are added in the UNet's down blocks as diffusers does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ip2p_batch.editing.control.nets import Adapter, hint_tensor
from ip2p_batch.editing.control.residuals import Residuals
from ip2p_batch.editing.deepcache import DeepCacheUNet
from ip2p_batch.errors import ModelError

from . import control_nets
from .control_nets import adapter, control_net, hinted
from .test_editing_control import controlled, diffusers_edit, edited, same, tensor
from .test_editing_deepcache import inputs
from .tiny_pipelines import attending_unet, frames, pipeline


def attending_pipeline():
    """With attention in the first block, as Stable Diffusion has."""
    pipe = pipeline()
    torch.manual_seed(2)
    pipe.unet = attending_unet(layers=1)
    with torch.no_grad():
        pipe.unet.conv_out.weight *= 4
    return pipe


@torch.inference_mode()
def reference(pipe, nets, edit_recipe, frame):
    """The edit of one frame as ``StableDiffusionAdapterPipeline`` computes it; 0 to 255.

    The features of each adapter are multiplied by its scale, summed, repeated for each branch, and
    cloned for each step.
    """
    total = None
    for control, net, hint in zip(edit_recipe.control, nets, frame.hints, strict=True):
        values = tensor(hint)
        if net.config.in_channels == 1:
            values = values[:, :1]  # the hints are grey
        scaled = [feature * control.scale for feature in net(values)]
        total = scaled if total is None else [a + b for a, b in zip(total, scaled, strict=True)]
    state = [torch.cat([feature] * 3) for feature in total]

    def added(*_):
        return {"down_intrablock_additional_residuals": [feature.clone() for feature in state]}

    return diffusers_edit(pipe, edit_recipe, frame, added)


FULL = {"channels": [16, 32, 32], "downscale_factor": 2}
LIGHT = {"channels": [16, 32], "downscale_factor": 2, "adapter_type": "light_adapter"}
GREY = {**FULL, "in_channels": 1}


@pytest.mark.parametrize("kinds", [(FULL,), (LIGHT,), (GREY,), (FULL, LIGHT)])
def test_edits_equal_those_of_diffusers_adapter_pipeline(kinds):
    nets = [adapter(**own, seed=number) for number, own in enumerate(kinds)]
    pipe = attending_pipeline()
    owner = control_nets.editor(*nets, pipe=pipe)
    controls = [{"scale": 0.8 - 0.3 * number} for number in range(len(kinds))]
    edit_recipe = controlled(*controls, scheduler="ddim")
    clip = [
        replace(f, hints=tuple(np.repeat(h[..., :1], 3, axis=-1) for h in f.hints))
        for f in hinted(frames(2), len(kinds))
    ]
    without = edited(owner, controlled(scheduler="ddim"), clip)
    ours = edited(owner, edit_recipe, clip)
    for frame, own, plain in zip(clip, ours, without, strict=True):
        expected = reference(attending_pipeline(), nets, edit_recipe, frame)
        assert np.abs(own.image - expected).max() < 0.52  # ours are rounded to whole levels
        assert np.abs(own.image.astype(float) - plain.image).max() > 8


def test_features_are_computed_once_for_each_frame():
    net = adapter()
    calls = []
    net.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    owner = control_nets.editor(net)
    edited(owner, controlled({}, batch_size=2), hinted(frames(4)))
    assert calls == [2, 2]


def test_features_of_a_block_without_attention_are_averaged_to_its_size():
    """The UNet adds them after that block has halved the sides."""
    net = adapter()
    hints = [frame.hints[0] for frame in hinted(frames(2))]
    own = Adapter(net, pipeline().unet.config, 2, "cpu", torch.float32)
    with torch.inference_mode():
        first, second = net(hint_tensor(hints, 3, "cpu", torch.float32))
        features = own.features(hints)
    assert torch.equal(features[0], torch.nn.functional.avg_pool2d(first, 2))
    assert torch.equal(features[1], second)


def test_an_adapter_acts_within_its_steps_and_branches():
    clip = hinted(frames(1))
    owner = control_nets.editor(adapter())
    plain = edited(owner, controlled(), clip)
    always = edited(owner, controlled({}), clip)
    for control in ({"end": 0.5}, {"start": 0.5}, {"branches": "text"}):
        other = edited(owner, controlled(control), clip)
        assert not same(other, always)
        assert not same(other, plain)
    assert same(edited(owner, controlled({"scale": 0}), clip), plain)


def test_adapters_and_control_nets_act_together_and_in_any_batch():
    owner = control_nets.editor(adapter(), control_net())
    edit_recipe = controlled({}, {}, batch_size=2)
    clip = hinted(frames(3), 2)
    both = edited(owner, edit_recipe, clip)
    assert same(both[1:2], edited(owner, edit_recipe, clip[1:2]))
    alone = edited(owner, controlled({}), [replace(f, hints=f.hints[:1]) for f in clip])
    assert not same(both, alone)


@pytest.mark.parametrize("build", [attending_pipeline, pipeline])
@torch.inference_mode()
def test_outer_layers_with_features_of_the_same_step_equal_the_whole_unet(build):
    unet = build().unet
    sample, timestep, prompts = inputs(unet)
    net = Adapter(
        adapter(**FULL) if build is attending_pipeline else adapter(),
        unet.config,
        2,
        "cpu",
        torch.float32,
    )
    added = Residuals((), net.features([frame.hints[0] for frame in hinted(frames(2))]))
    deepcache = DeepCacheUNet(unet)
    whole, deep = deepcache.full(sample, timestep, prompts, added)
    kept = deepcache.outer_residuals(added)
    assert torch.equal(deepcache.outer(sample, timestep, prompts, deep, kept), whole)


def test_an_adapter_reads_no_caption():
    owner = control_nets.editor(adapter())
    owner.session(controlled({}))
    with pytest.raises(ModelError, match="is a T2I-Adapter, which reads no text"):
        owner.session(controlled({"caption": "a house"}))
