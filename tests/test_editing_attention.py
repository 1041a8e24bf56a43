"""Anchor attention: the formula in one layer, and its effect in a whole model."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from ip2p_batch.editing.attention import AnchorKVCache, AnchorProcessor, install
from ip2p_batch.editing.pix2pix import Pix2PixEditor

from .tiny_pipelines import border_latents, context, editor, frames, pipeline, recipe

BRANCHES, FRAMES, ANCHORS, TOKENS, WIDTH = 3, 2, 2, 5, 16


def tokens(samples, seed):
    return torch.randn(samples, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Attention(query_dim=WIDTH, heads=4, dim_head=4).eval()


def by_hand(layer, own, anchors):
    """softmax(Q [K, K_anc]^T / sqrt(d)) [V, V_anc] for one sample, head by head."""
    seen = torch.cat([own, *anchors])
    out = torch.zeros(TOKENS, WIDTH)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        q = layer.to_q(own)[:, part]
        k, v = layer.to_k(seen)[:, part], layer.to_v(seen)[:, part]
        out[:, part] = torch.softmax(q @ k.T / 2, dim=-1) @ v
    return layer.to_out[0](out)


@torch.no_grad()
def test_a_frame_attends_to_itself_and_to_the_anchors_of_its_branch(layer):
    cache = AnchorKVCache()
    processor = AnchorProcessor(cache, "mid_block.x")
    anchors, own = tokens(BRANCHES * ANCHORS, 1), tokens(BRANCHES * FRAMES, 2)
    with cache.write(BRANCHES):
        among_anchors = processor(layer, anchors)
    with cache.read():
        joined = processor(layer, own)
    for branch in range(BRANCHES):
        theirs = anchors[branch * ANCHORS : (branch + 1) * ANCHORS]
        for n in range(FRAMES):
            at = branch * FRAMES + n
            torch.testing.assert_close(joined[at], by_hand(layer, own[at], theirs))
        for n in range(ANCHORS):
            at = branch * ANCHORS + n
            torch.testing.assert_close(among_anchors[at], by_hand(layer, anchors[at], theirs))


@torch.no_grad()
def test_appended_anchors_may_have_another_size(layer):
    cache = AnchorKVCache()
    processor = AnchorProcessor(cache, "mid_block.x")
    first, own = tokens(BRANCHES, 1), tokens(BRANCHES, 2)
    second = tokens(BRANCHES, 3)[:, :3]
    with cache.write(BRANCHES):
        processor(layer, first)
    with cache.write(BRANCHES, append=True):
        processor(layer, second)
    with cache.read():
        joined = processor(layer, own)
    for branch in range(BRANCHES):
        seen = [first[branch], second[branch]]
        torch.testing.assert_close(joined[branch], by_hand(layer, own[branch], seen))


@torch.no_grad()
def test_without_anchors_it_is_the_plain_attention_of_diffusers(layer):
    cache = AnchorKVCache()
    processor = AnchorProcessor(cache, "mid_block.x")
    own, other = tokens(6, 1), tokens(6, 2)
    plain = AttnProcessor2_0()
    assert torch.equal(processor(layer, own), plain(layer, own))
    assert torch.equal(processor(layer, own, other), plain(layer, own, other))
    with cache.read():  # nothing was written
        assert torch.equal(processor(layer, own), plain(layer, own))


def test_every_self_attention_layer_gets_a_processor_and_no_other():
    unet = editor().pipe.unet
    install(unet)
    for name, processor in unet.attn_processors.items():
        assert isinstance(processor, AnchorProcessor) == name.endswith("attn1.processor")


# -- through the editor -------------------------------------------------------------------


def loud():
    """An editor with selective self-attention: that of fresh weights is nearly uniform."""
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    for name, module in owner.pipe.unet.named_modules():
        if name.endswith("attn1"):
            for layer in (module.to_q, module.to_k):
                layer.weight.data *= 4
    return owner


def negative(frame):
    return frame.with_image(255 - frame.image)


def edited(anchors, clip, edit_recipe, owner=None):
    session = (owner or loud()).session(edit_recipe, context(anchors=anchors))
    return [frame.image for frame in session.edit(clip)]


def test_anchors_change_the_frames_and_no_anchors_do_not():
    clip, edit_recipe, owner = frames(4), recipe(anchors=2), loud()
    plain = edited([], clip, edit_recipe, owner)
    assert all(map(np.array_equal, plain, edited([], clip, recipe(), owner)))
    anchored = edited([negative(clip[0]), clip[3]], clip, edit_recipe, owner)
    assert not any(map(np.array_equal, plain, anchored))


def test_the_result_of_a_frame_does_not_depend_on_the_other_frames():
    clip, edit_recipe, owner = frames(5), recipe(anchors=2, batch_size=2), loud()
    anchors = [clip[1], clip[3]]
    whole = edited(anchors, clip, edit_recipe, owner)
    for n, frame in enumerate(clip):
        assert np.array_equal(edited(anchors, [frame], edit_recipe, owner)[0], whole[n])


def test_anchors_in_no_step_change_nothing():
    clip, owner = frames(2), loud()
    without = edited([], clip, recipe(), owner)
    with_none = edited([clip[0]], clip, recipe(anchors=1, anchor_steps=0.0), owner)
    assert all(map(np.array_equal, without, with_none))


def test_anchors_in_half_the_steps_differ_from_anchors_in_all():
    clip, owner = frames(2), loud()
    anchor = negative(clip[0])
    all_steps = edited([anchor], clip, recipe(anchors=1), owner)
    half = edited([anchor], clip, recipe(anchors=1, anchor_steps=0.5), owner)
    without = edited([], clip, recipe(), owner)
    assert not np.array_equal(all_steps[1], half[1])
    assert not np.array_equal(without[1], half[1])


def test_anchors_continue_from_the_latents_of_wave_one():
    """Borders run after anchors that start from noise, frames after anchors with latents."""
    clip, owner = frames(9), loud()
    edit_recipe = recipe(num_inference_steps=6, carryover=0.5, anchors=2)
    anchors, ends = [clip[0], clip[8]], [clip[0], clip[4]]
    first = owner.session(edit_recipe, context(anchors=anchors))
    latents = border_latents(first, [clip[n] for n in (0, 4, 8)])
    second = owner.session(edit_recipe, context(borders=ends, anchors=anchors, latents=latents))
    carried = second.edit(ends)
    whole = edited(anchors, ends, edit_recipe, owner)
    for a, b in zip(carried, whole, strict=True):
        gap = np.abs(a.image.astype(int) - b)
        assert gap.max() <= 1  # a batch of three anchors rounds differently than one frame


def with_reference_image(style, clip, values, owner, anchors=()):
    session = owner.session(
        recipe(reference_image="reference.png", **values),
        context(anchors=anchors, reference_image=style),
    )
    return [frame.image for frame in session.edit(clip)]


def test_a_reference_image_changes_all_frames_and_another_one_differently():
    clip, owner = frames(3), loud()
    plain = edited([], clip, recipe(), owner)
    one = with_reference_image(frames(1, 48, 64, shift=3)[0].image, clip, {}, owner)
    other = with_reference_image(255 - frames(1, 48, 64, shift=3)[0].image, clip, {}, owner)
    assert not any(map(np.array_equal, plain, one))
    assert not any(map(np.array_equal, one, other))


def test_a_reference_image_and_anchors_work_together():
    clip, owner = frames(3), loud()
    style = frames(1, 48, 64, shift=3)[0].image
    alone = with_reference_image(style, clip, {"anchors": 1}, owner)
    both = with_reference_image(style, clip, {"anchors": 1}, owner, anchors=[negative(clip[0])])
    assert not any(map(np.array_equal, alone, both))


def test_frames_that_start_midway_attend_to_the_reference_image():
    """Between borders they are close to a full edit with that reference image."""
    clip, owner = frames(5), loud()
    values = {"num_inference_steps": 6, "carryover": 0.5}
    picture = frames(1, 32, 48, shift=3)[0].image
    ends = [clip[0], clip[4]]
    whole = with_reference_image(picture, ends, values, owner)
    with_reference = recipe(reference_image="reference.png", **values)
    first = owner.session(with_reference, context(reference_image=picture))
    between = context(borders=ends, latents=border_latents(first, ends), reference_image=picture)
    for frame, expected in zip(
        owner.session(with_reference, between).edit(ends), whole, strict=True
    ):
        assert np.abs(frame.image.astype(int) - expected).max() <= 1
