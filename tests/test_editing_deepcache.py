"""DeepCache: deep features are reused in the next steps."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from ip2p_batch.editing.deepcache import DeepCacheUNet
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.editing.prompts import UNetTexts
from ip2p_batch.errors import ModelError
from ip2p_batch.evaluation.image_metrics import psnr

from . import tiny_xl
from .tiny_pipelines import attending_unet, context, editor, frames, pipeline, recipe


def deeper_unet():
    """Attention and two layers in the outermost blocks, as Stable Diffusion has."""
    torch.manual_seed(3)
    return attending_unet(layers=2)


def inputs(unet, samples=2):
    generator = torch.Generator().manual_seed(1)
    size = unet.config.sample_size
    return (
        torch.randn(samples, unet.config.in_channels, size, size, generator=generator).to(
            unet.dtype
        ),
        torch.tensor(500),
        UNetTexts(
            torch.randn(samples, 5, unet.config.cross_attention_dim, generator=generator).to(
                unet.dtype
            ),
            added(unet, samples, generator),
        ),
    )


def added(unet, samples, generator):
    """SDXL's further conditions; None for other UNets."""
    if unet.config.addition_embed_type != "text_time":
        return None
    pooled = torch.randn(samples, tiny_xl.PROJECTION, generator=generator)
    return {"text_embeds": pooled, "time_ids": torch.full((samples, 6), 64.0)}


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize(
    "build",
    [
        deeper_unet,
        lambda: pipeline().unet,
        lambda: load_editor("tiny", device="cpu").pipe.unet,
        lambda: tiny_xl.unet().eval(),
    ],
    ids=["deep", "small", "bundled", "xl"],
)
@torch.inference_mode()
def test_outer_layers_on_features_of_the_same_step_equal_the_full_unet(build, keep):
    unet = build()
    deepcache, call = DeepCacheUNet(unet, keep), inputs(unet)
    whole, deep = deepcache.full(*call)
    expected = unet(call[0], call[1], **call[2].options(), return_dict=False)[0]
    assert torch.equal(whole, expected)
    assert torch.equal(deepcache.outer(*call, deep), whole)  # type: ignore[call-arg]


@torch.inference_mode()
def test_features_of_another_step_give_a_close_result():
    unet = deeper_unet()
    deepcache, (sample, _, prompts) = DeepCacheUNet(unet), inputs(unet)
    _, deep = deepcache.full(sample, torch.tensor(500), prompts)
    there, _ = deepcache.full(sample, torch.tensor(450), prompts)
    near = deepcache.outer(sample, torch.tensor(450), prompts, deep)
    assert 0 < (near - there).abs().mean() < 0.5 * there.abs().mean()


def test_unets_of_another_structure_are_refused():
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=8,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=3,
    )
    with pytest.raises(ModelError, match="--deepcache-interval works with UNets"):
        DeepCacheUNet(unet)


def calls_of(part, work):
    """The result of ``work``, and how often it runs ``part`` of a UNet."""
    count = 0

    def note(*_):
        nonlocal count
        count += 1

    hook = part.register_forward_pre_hook(note)
    try:
        return work(), count
    finally:
        hook.remove()


@pytest.mark.parametrize(("deepcache_interval", "whole"), [(1, 6), (2, 3), (3, 2), (10, 1)])
def test_the_deep_part_runs_in_every_nth_step_only(deepcache_interval, whole):
    edit_recipe = recipe(num_inference_steps=6, deepcache_interval=deepcache_interval)
    unet = editor().pipe.unet
    _, deep = calls_of(unet.mid_block, lambda: editor().session(edit_recipe).edit(frames(1)))
    _, outer = calls_of(unet.conv_in, lambda: editor().session(edit_recipe).edit(frames(1)))
    assert (deep, outer) == (whole, 6)


def test_deepcache_works_with_anchors_and_a_guidance_interval():
    edit_recipe = recipe(
        num_inference_steps=6, deepcache_interval=3, anchors=1, guidance_interval=(0.3, 0.8)
    )
    clip = frames(3)
    session, alone = (editor().session(edit_recipe, context(anchors=[clip[0]])) for _ in range(2))
    edited = session.edit(clip)
    assert (edited[2].image == alone.edit(clip[2:])[0].image).all()


@pytest.mark.slow
def test_edits_of_the_bundled_model_are_close_with_an_interval_of_two():
    owner = load_editor("tiny", device="cpu", dtype="float32")
    clip = frames(1, 128, 128)
    values = {"model": "tiny", "guidance_scale": 2.0, "num_inference_steps": 10}
    plain = owner.session(recipe(**values)).edit(clip)[0].image
    quick = owner.session(recipe(**values, deepcache_interval=2)).edit(clip)[0].image
    assert psnr(plain, quick) > 25
