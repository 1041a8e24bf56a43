"""Control nets in the denoising: equal to diffusers' own classes, and independent of batches."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ip2p_batch.editing import noise, schedule
from ip2p_batch.editing.autotune import Autotuner
from ip2p_batch.editing.control.batch import acts
from ip2p_batch.editing.control.residuals import Residuals
from ip2p_batch.editing.deepcache import DeepCacheUNet
from ip2p_batch.editing.tile_options import MARGIN
from ip2p_batch.editing.tuning_cache import TuningCache
from ip2p_batch.errors import EditError
from ip2p_batch.jobs.records import InferenceConfig
from ip2p_batch.recipe_parts import Control

from . import control_nets, tiny_xl
from .control_nets import adapter, control_net, hinted
from .test_editing_deepcache import deeper_unet
from .test_editing_deepcache import inputs as deepcache_inputs
from .test_editing_float32_fallback import spoil_steps
from .test_editing_tile_refinement import FROM_NOISE as TILES_FROM_NOISE
from .test_editing_tile_refinement import cropped, one_tile
from .tiny_pipelines import border_latents, context, frames, pipeline, recipe

SCHEDULERS = ("euler-ancestral", "euler", "ddim", "dpm++", "lcm")


def same(one, two):
    return all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


def edited(owner, edit_recipe, clip, **options):
    return owner.session(edit_recipe, **options).edit(clip)


def embed(pipe, text):
    tokens = pipe.tokenizer(
        text, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    )
    return pipe.text_encoder(tokens.input_ids)[0]


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def diffusers_edit(pipe, edit_recipe, frame, added):
    """The edit of one frame by diffusers' own classes, three branches in each step; 0 to 255.

    Args:
        added: what nets add in a step: arguments of the UNet, from the step, its timestep, the
            noisy latents and the texts.
    """
    scheduler = schedule.make(
        edit_recipe.scheduler, pipe.scheduler.config, edit_recipe.num_inference_steps, "cpu"
    )
    image_latents = pipe.vae.encode(2 * tensor(frame.image) - 1).latent_dist.mode()
    sources = torch.cat([image_latents, image_latents, torch.zeros_like(image_latents)])
    empty = embed(pipe, edit_recipe.negative_prompt)
    texts = torch.cat([embed(pipe, edit_recipe.instruction), empty, empty])
    generators = [noise.generator(edit_recipe.seed)]
    x = noise.start(generators, tuple(image_latents.shape[1:])) * scheduler.init_noise_sigma
    s_t, s_i = edit_recipe.guidance_scale, edit_recipe.image_guidance_scale
    for step, timestep in enumerate(scheduler.timesteps):
        noisy = torch.cat([scheduler.scale_model_input(x, timestep)] * 3)
        output = pipe.unet(
            torch.cat([noisy, sources], dim=1),
            timestep,
            encoder_hidden_states=texts,
            **added(step, timestep, noisy, texts),
        ).sample
        text, image, none = output.chunk(3)
        guided = none + s_t * (text - image) + s_i * (image - none)
        options = {"generator": generators} if schedule.draws_noise(scheduler) else {}
        x = scheduler.step(guided, timestep, x, return_dict=False, **options)[0]
    pixels = pipe.vae.decode(x / pipe.vae.config.scaling_factor, return_dict=False)[0]
    return 255 * (pixels[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy()


def reference(pipe, nets, edit_recipe, frame):
    """The edit of one frame with diffusers' own ControlNets."""
    steps = edit_recipe.num_inference_steps

    def added(step, timestep, noisy, texts):
        total = None
        for control, net, hint in zip(edit_recipe.control, nets, frame.hints, strict=True):
            if step / steps < control.start or (step + 1) / steps > control.end:
                continue
            own_text = texts
            if control.caption is not None:
                own_text = torch.cat([embed(pipe, control.caption)] * 3)
            down, mid = net(
                noisy,
                timestep,
                encoder_hidden_states=own_text,
                controlnet_cond=torch.cat([tensor(hint)] * 3),
                conditioning_scale=control.scale,
                return_dict=False,
            )
            residuals = [*down, mid]
            if control.branches == "text":
                for residual in residuals:
                    residual[1:] = 0
            total = (
                residuals
                if total is None
                else [a + b for a, b in zip(total, residuals, strict=True)]
            )
        if total is None:
            return {}
        return {
            "down_block_additional_residuals": total[:-1],
            "mid_block_additional_residual": total[-1],
        }

    return diffusers_edit(pipe, edit_recipe, frame, added)


def controlled(*controls, **values):
    parts = [{"kind": str(n), "scale": 1.0} | own for n, own in enumerate(controls)]
    return recipe(
        **{"image_guidance_scale": 1.5, "negative_prompt": "blurry", **values},
        control=tuple(Control(**part) for part in parts),
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    "controls",
    [
        ({},),
        ({"scale": 0.7, "caption": "a house"}, {"scale": 0.4, "branches": "text"}),
        ({"start": 0.3}, {"end": 0.6}),
    ],
    ids=["one", "caption and text branch", "start and end"],
)
def test_edits_equal_those_of_diffusers_own_classes(scheduler, controls):
    nets = [control_net(seed=5 + n) for n in range(len(controls))]
    apart = [control_net(seed=5 + n) for n in range(len(controls))]
    owner = control_nets.editor(*nets)
    edit_recipe = controlled(*controls, scheduler=scheduler)
    clip = hinted(frames(2), len(controls))
    plain = edited(owner, recipe(**{**_values(edit_recipe), "control": ()}), clip)
    for frame, ours, without in zip(clip, edited(owner, edit_recipe, clip), plain, strict=True):
        expected = reference(pipeline(), apart, edit_recipe, frame)
        assert np.abs(ours.image - expected).max() < 0.52  # ours are rounded to whole levels
        assert np.abs(ours.image.astype(float) - without.image).max() > 8


def _values(edit_recipe):
    return {name: getattr(edit_recipe, name) for name in edit_recipe.__struct_fields__}


# -- what changes nothing -------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    """Edits without control, by the recipe that :func:`controlled` makes."""
    return edited(control_nets.editor(), controlled(), frames(3))


@pytest.mark.parametrize(
    ("net", "control"),
    [
        ({"zero": True}, {}),
        ({}, {"scale": 0.0}),
        ({}, {"start": 0.7, "end": 0.8}),  # no step of four lies within
    ],
    ids=["zero convolutions", "scale 0", "no step"],
)
def test_nets_that_add_nothing_leave_every_bit(plain, net, control):
    owner = control_nets.editor(control_net(**net))
    assert same(edited(owner, controlled(control), hinted(frames(3))), plain)


def test_a_net_twice_at_half_scale_is_the_net_once():
    net = control_net()
    owner = control_nets.editor(net)
    once = edited(owner, controlled({}), hinted(frames(2)))
    clip = [replace(f, hints=f.hints * 2) for f in hinted(frames(2))]
    half = {"kind": "0", "scale": 0.5}
    assert same(edited(owner, controlled(half, half), clip), once)


def test_a_net_acts_by_the_rule_of_diffusers():
    within = [acts(Control(kind="a", start=0.25, end=0.75), step, 4) for step in range(4)]
    assert within == [False, True, True, False]
    assert [acts(Control(kind="a"), step, 3) for step in range(3)] == [True] * 3
    assert not acts(Control(kind="a", scale=0), 0, 1)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        (0, "Frame 0 has 0 hints; the recipe has 1 control nets."),
        (2, "Frame 0 has 2 hints; the recipe has 1 control nets."),
    ],
)
def test_frames_need_a_hint_for_each_net(hints, message):
    with pytest.raises(EditError, match=message):
        edited(control_nets.editor(control_net()), controlled({}), hinted(frames(1), hints))


def test_hints_of_another_size_are_refused():
    (frame,) = hinted(frames(1))
    odd = replace(frame, hints=(frame.hints[0][:16],))
    with pytest.raises(EditError, match=r"The 0 hint of frame 0 has the shape \(16, 32, 3\)"):
        edited(control_nets.editor(control_net()), controlled({}), [odd])


# -- batches, borders, anchors, reference -----------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_a_frame_does_not_depend_on_its_batch(size):
    owner = control_nets.editor(control_net())
    edit_recipe = controlled({}, batch_size=size, guidance_interval=(0.2, 0.8))
    clip = hinted(frames(5))
    whole = edited(owner, edit_recipe, clip)
    assert same(whole[3:4], edited(owner, edit_recipe, clip[3:4]))
    assert same(whole[1:3], edited(owner, edit_recipe, clip[1:3]))


def test_borders_and_the_frames_between_them_have_their_own_hints():
    owner = control_nets.editor(control_net())
    edit_recipe = controlled({}, carryover=0.5, chunk_frames=4)
    clip = hinted(frames(5))
    ends = [clip[0], clip[4]]
    latents = border_latents(owner.session(edit_recipe), ends)
    between = edited(owner, edit_recipe, clip, context=context(borders=ends, latents=latents))
    # At a border, the denoising continues from its own state.
    assert same(between[:1], edited(owner, edit_recipe, clip[:1]))
    other = border_latents(owner.session(edit_recipe), hinted(ends, seed=9))
    assert other[0] != latents[0]
    # A frame between them: other hints of its own, other pixels.
    changed = [*clip[:2], *hinted([clip[2]], seed=9), *clip[3:]]
    again = edited(owner, edit_recipe, changed, context=context(borders=ends, latents=latents))
    assert same(again[:2] + again[3:], between[:2] + between[3:])
    assert not same(again[2:3], between[2:3])


def test_located_frames_keep_their_hints_and_mask():
    owner = control_nets.editor(control_net())
    edit_recipe = controlled({}, carryover=0.5, chunk_frames=4)
    clip = hinted(frames(3))
    latents = border_latents(owner.session(edit_recipe), [clip[0], clip[2]])
    session = owner.session(edit_recipe, context(borders=[clip[0], clip[2]], latents=latents))
    mask = np.zeros((32, 32), np.uint8)
    located = session.prepare(replace(clip[1], mask=mask))
    assert located.hints is clip[1].hints
    assert located.mask is mask


def test_anchors_and_the_reference_image_have_their_own_hints():
    owner = control_nets.editor(control_net())
    clip = hinted(frames(3))
    image = frames(1, first=7)[0].image
    for name, contexts in {
        "anchors": [context(anchors=hinted([clip[0]], seed=seed)) for seed in (1, 2)],
        "reference": [
            replace(context(reference_image=image), reference_hints=hints)
            for hints in ((), clip[0].hints, clip[1].hints)
        ],
    }.items():
        values = {"anchors": 1} if name == "anchors" else {"reference_image": "a.png"}
        edit_recipe = controlled({}, **values)
        results = [edited(owner, edit_recipe, clip[2:], context=own) for own in contexts]
        assert not any(same(one, two) for one, two in pairwise(results)), name


def test_anchors_without_hints_are_refused():
    owner = control_nets.editor(control_net())
    with pytest.raises(EditError, match="Frame 0 has 0 hints"):
        owner.session(controlled({}, anchors=1), context(anchors=frames(1)))


def test_the_tile_pass_has_the_hints_of_each_tile():
    """One tile that shows a whole image: as an edit of the image with the tile's margin."""
    owner = control_nets.editor(control_net())
    source = replace(one_tile()[0], hints=hinted(frames(1))[0].hints)
    padding = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    whole = replace(
        one_tile()[1], hints=tuple(np.pad(h, padding, mode="symmetric") for h in source.hints)
    )
    session = owner.session(controlled({}))
    refined = session.refine([(source, source)], TILES_FROM_NOISE)
    assert same(refined, cropped(edited(owner, controlled({}), [whole])))
    assert not session.warnings


def test_control_nets_do_not_act_in_the_tile_pass_on_sources_without_hints():
    owner = control_nets.editor(control_net())
    source, _ = one_tile()
    session = owner.session(controlled({}))
    refined = session.refine([(source, source)], TILES_FROM_NOISE)
    assert session.warnings == ["Control nets do not act in the tile pass."]
    plain = owner.session(controlled()).refine([(source, source)], TILES_FROM_NOISE)
    assert same(refined, plain)


# -- feature caching, precision, compiling ----------------------------------------------------


def test_deepcache_runs_the_nets_with_the_whole_unet_only():
    net = control_net()
    owner = control_nets.editor(net)
    edit_recipe = controlled({"end": 0.5}, num_inference_steps=8, deepcache_interval=3)
    whole, cached = [], []
    net.register_forward_pre_hook(lambda *_: cached.append(1))
    owner.pipe.unet.mid_block.register_forward_pre_hook(lambda *_: whole.append(1))
    clip = hinted(frames(1))
    ours = edited(owner, edit_recipe, clip)
    # Steps 0 and 3 of those in which the net acts; 4, where it stops; 7.
    assert (len(cached), len(whole)) == (2, 4)
    full = edited(owner, controlled({"end": 0.5}, num_inference_steps=8), clip)
    none = edited(owner, controlled(num_inference_steps=8), clip)
    distance = [np.abs(ours[0].image.astype(float) - o[0].image).mean() for o in (full, none)]
    assert distance[0] < distance[1] / 2


@pytest.mark.parametrize("keep", [1, 2])
@torch.inference_mode()
def test_outer_layers_with_residuals_of_the_same_step_equal_the_whole_unet(keep):
    unet = deeper_unet()
    net = control_net(unet)
    sample, timestep, prompts = deepcache_inputs(unet)
    hint = torch.rand(2, 3, 32, 32)
    down, mid = net(
        sample[:, :4], timestep, prompts.embeds, controlnet_cond=hint, return_dict=False
    )
    features = [torch.randn(2, width, side, side) for width, side in ((16, 16), (32, 8), (32, 4))]
    added = Residuals([*down, mid], features)
    deepcache = DeepCacheUNet(unet, keep)
    whole, deep = deepcache.full(sample, timestep, prompts, added)
    expected = unet(sample, timestep, prompts.embeds, return_dict=False, **added.arguments())[0]
    assert torch.equal(whole, expected)
    kept = deepcache.outer_residuals(added)
    assert len(kept.control) == keep + 1
    assert torch.equal(deepcache.outer(sample, timestep, prompts, deep, kept), whole)
    assert not torch.allclose(deepcache.outer(sample, timestep, prompts, deep), whole)


def test_a_frame_spoilt_in_half_precision_is_edited_again_with_nets_in_float32():
    edit_recipe = controlled({"caption": "a house"})
    clip = hinted(frames(2))
    owner = control_nets.editor(control_net(), dtype=torch.bfloat16)
    spoil_steps(owner, clip[1])
    session = owner.session(edit_recipe)
    ours = session.edit(clip)
    assert list(session.notes) == [1]
    # float32 with the weights that bfloat16 holds
    exact = control_nets.editor(
        control_net().to(torch.bfloat16), pipe=pipeline().to(torch.bfloat16)
    )
    assert same(ours[1:], edited(exact, edit_recipe, clip[1:]))
    # The weights are as before.
    again = control_nets.editor(control_net(), dtype=torch.bfloat16)
    assert same(edited(owner, edit_recipe, clip[:1]), edited(again, edit_recipe, clip[:1]))


@pytest.mark.parametrize("control", [{}, {"branches": "text"}, {"start": 0.5}, {"end": 0.5}])
def test_a_compiled_unet_gets_arguments_of_one_shape_and_layout_in_all_steps(control):
    """Zeros where no net acts: another set of arguments would be compiled again."""
    owner = control_nets.editor(control_net(), adapter())
    edit_recipe = controlled(control, control)
    clip = hinted(frames(1), 2)
    expected = edited(owner, edit_recipe, clip)
    shapes = []
    unet = owner.pipe.unet

    class Noting:
        def __getattr__(self, name):
            return getattr(unet, name)

        def __call__(self, sample, *rest, **more):
            down = more["down_block_additional_residuals"]
            mid, features = (
                more["mid_block_additional_residual"],
                more["down_intrablock_additional_residuals"],
            )
            shapes.append([(t.shape, t.stride()) for t in (sample, *down, mid, *features)])
            return unet(sample, *rest, **more)

    owner._compiled = SimpleNamespace(get=Noting)
    config = InferenceConfig(batch_size=1, compiled=True)
    assert same(edited(owner, edit_recipe, clip, inference_config=config), expected)
    assert len(shapes) == 4
    assert all(own == shapes[0] for own in shapes)


def test_a_trial_of_batch_sizes_runs_the_nets(tmp_path):
    net = control_net()
    owner = control_nets.editor(net)
    calls = []
    net.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    edit_recipe = controlled({"start": 0.9, "caption": "a house"}, {})
    tuner = Autotuner(
        owner.pipe.unet,
        owner.vae(tiny=False),
        edit_recipe,
        (32, 32),
        compute_profile=owner.compute_profile,
        device="cpu",
        cache=TuningCache(tmp_path / "cache.json"),
        nets=[
            *owner.nets(edit_recipe.control[:1]),
            *control_nets.editor(adapter()).nets([Control(kind="0")]),
        ],
    )
    tuner._seconds(2)
    # Two frames, each with the caption alone.
    assert set(calls) == {2}
    assert len(calls) > 1


# -- SDXL ---------------------------------------------------------------------------------


def test_a_control_net_of_sdxl_gets_the_added_conditions():
    net = control_net(tiny_xl.unet(), **XL)
    owner = control_nets.editor(net, pipe=tiny_xl.pipeline_xl())
    seen = []
    net.register_forward_pre_hook(
        lambda _, __, more: seen.append((len(more["encoder_hidden_states"]), more)),
        with_kwargs=True,
    )
    clip = hinted(frames(1))
    edit_recipe = controlled({"caption": "a house"})
    plain = edited(owner, controlled(), clip)
    assert not same(edited(owner, edit_recipe, clip), plain)
    assert not same(edited(owner, controlled({}), clip), plain)
    assert {samples for samples, _ in seen} == {1, 2}  # a caption is one text for all branches
    for samples, more in seen:
        assert more["added_cond_kwargs"]["text_embeds"].shape == (samples, tiny_xl.PROJECTION)
        assert more["added_cond_kwargs"]["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]] * samples
    zero = control_nets.editor(
        control_net(tiny_xl.unet(), zero=True, **XL), pipe=tiny_xl.pipeline_xl()
    )
    assert same(edited(zero, controlled({}), clip), plain)


XL = {
    "attention_head_dim": (2, 4),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": tiny_xl.TIME_WIDTH,
    "projection_class_embeddings_input_dim": tiny_xl.PROJECTION + 6 * tiny_xl.TIME_WIDTH,
}
