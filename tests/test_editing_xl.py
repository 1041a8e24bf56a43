"""SDXL InstructPix2Pix and CosXL-Edit equal the stock pipeline; all options of editing work."""

import numpy as np
import pytest
import torch
from PIL import Image as Pil

from ip2p_batch.editing import schedule
from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.editing.tile_options import TileOptions
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.frame import Frame
from ip2p_batch.jobs.plan import BatchHistogram

from .tiny_pipelines import border_latents, context, frames, recipe
from .tiny_xl import editor_xl, pipeline_xl

#: diffusers passes tensors to numpy in a deprecated way; our code suppresses that warning.
reference = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def stock(pipe, edit_recipe, frame):
    """What ``StableDiffusionXLInstructPix2PixPipeline`` gives, floats from 0 to 255."""
    scheduler = pipe.scheduler
    pipe.scheduler = schedule.make(edit_recipe.scheduler, scheduler.config, 1, "cpu")
    height, width = frame.image.shape[:2]
    try:
        (image,) = pipe(
            edit_recipe.instruction,
            image=Pil.fromarray(frame.image),
            height=height,
            width=width,
            negative_prompt=edit_recipe.negative_prompt or None,
            num_inference_steps=edit_recipe.num_inference_steps,
            guidance_scale=edit_recipe.guidance_scale,
            image_guidance_scale=edit_recipe.image_guidance_scale,
            generator=torch.Generator("cpu").manual_seed(edit_recipe.seed),
            output_type="np",
        ).images
    finally:
        pipe.scheduler = scheduler
    return 255 * image


def equal(owner, edit_recipe, frame):
    ours = owner.session(edit_recipe).edit([frame])[0].image
    return np.abs(ours - stock(owner.pipe, edit_recipe, frame)).max() < 0.52  # whole levels


@reference
@pytest.mark.parametrize("name", ["euler", "euler-ancestral", "ddim", "dpm++"])
@pytest.mark.parametrize(
    ("s_t", "s_i", "negative"),
    [(3.0, 1.5, ""), (3.0, 1.5, "blurry"), (3.0, 1.0, "blurry"), (1.0, 1.5, "")],
)
def test_frames_equal_the_stock_pipelines(name, s_t, s_i, negative):
    edit_recipe = recipe(
        scheduler=name,
        guidance_scale=s_t,
        image_guidance_scale=s_i,
        negative_prompt=negative,
        seed=11,
    )
    assert equal(editor_xl(), edit_recipe, frames(1, 32, 48)[0])


@reference
@pytest.mark.parametrize("name", ["euler", "dpm++"])
@pytest.mark.parametrize("negative", ["", "blurry"])
def test_cosxl_edit_equals_the_stock_pipeline(name, negative):
    edit_recipe = recipe(scheduler=name, negative_prompt=negative, seed=3)
    assert equal(editor_xl(cosxl=True), edit_recipe, frames(1)[0])


@reference
def test_a_model_may_encode_an_empty_negative_prompt_as_a_text():
    owner, frame = editor_xl(zeros=False), frames(1)[0]
    assert equal(owner, recipe(scheduler="euler"), frame)
    zeros = editor_xl().session(recipe(scheduler="euler")).edit([frame])[0]
    text = owner.session(recipe(scheduler="euler")).edit([frame])[0]
    assert not np.array_equal(zeros.image, text.image)


@pytest.mark.parametrize("name", ["euler-ancestral", "ddim", "unipc"])
def test_cosxl_edit_refuses_schedulers_of_discrete_timesteps(name):
    with pytest.raises(RecipeError, match=f"--scheduler {name} is not for this model") as caught:
        editor_xl(cosxl=True).session(recipe(scheduler=name))
    assert "euler or dpm++" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"prediction_type": "epsilon"}, "predicts epsilon"),
        ({"sigma_data": 0.5}, "sigma_data = 0.5"),
    ],
)
def test_continuous_models_of_another_kind_are_refused(change, match):
    config = dict(pipeline_xl(cosxl=True).scheduler.config) | change
    with pytest.raises(ModelError, match=match):
        schedule.make("euler", config, 4, "cpu")


def test_a_continuous_schedule_without_its_range_is_refused():
    config = {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}
    with pytest.raises(ModelError, match="names no range of noise levels"):
        schedule.make("euler", config, 4, "cpu")


def test_x0_of_the_last_step_is_the_finished_sample_of_a_continuous_schedule():
    scheduler = schedule.make("euler", pipeline_xl(cosxl=True).scheduler.config, 5, "cpu")
    generator = torch.Generator().manual_seed(2)
    x, prediction = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    schedule.begin_at(scheduler, 4)
    scale = schedule.signal_and_noise_scale(scheduler, 4)
    x0 = schedule.pred_original_sample(x, prediction, scale, "v_prediction")
    done = scheduler.step(prediction, scheduler.timesteps[4], x, return_dict=False)[0]
    assert scale[0] == 1 and abs(scale[1] - 0.002) < 1e-5
    assert torch.allclose(x0, done, atol=1e-6)


# -- the editor's own options -------------------------------------------------------------


@pytest.mark.parametrize("cosxl", [False, True])
def test_carryover_anchors_and_a_reference_image_work(cosxl):
    owner = editor_xl(cosxl=cosxl)
    edit_recipe = recipe(scheduler="euler", carryover=0.5, anchors=1)
    clip = frames(3)
    latents = border_latents(owner.session(edit_recipe), clip[::2])
    plain = owner.session(recipe(scheduler="euler", carryover=0.0)).edit(clip[1:2])
    full = context(
        borders=clip[::2], anchors=clip[:1], latents=latents, reference_image=clip[2].image
    )
    session = owner.session(edit_recipe, full)
    (edited,) = session.edit([session.prepare(clip[1])])
    assert edited.image.shape == clip[1].image.shape
    assert not np.array_equal(edited.image, plain[0].image)


def test_a_border_starts_from_its_own_latents():
    """A border that starts from itself gets the image that it gets from noise."""
    owner = editor_xl(cosxl=True)
    clip = frames(1)
    edit_recipe = recipe(scheduler="euler", carryover=0.5)
    latents = border_latents(owner.session(edit_recipe), clip)
    session = owner.session(edit_recipe, context(borders=clip, latents=latents))
    (again,) = session.edit([session.prepare(clip[0])])
    (whole,) = owner.session(recipe(scheduler="euler", carryover=0.0)).edit(clip)
    assert np.abs(again.image.astype(int) - whole.image).max() <= 1


def test_frames_may_have_their_own_texts_and_batches():
    owner, clip = editor_xl(), frames(3)
    edit_recipe = recipe(scheduler="euler", batch_size=2)
    texts = ["add a hat", "make it day", "fog"]
    together = owner.session(edit_recipe).edit(clip, overrides=list(map(Overrides, texts)))
    for text, frame, result in zip(texts, clip, together, strict=True):
        own = recipe(scheduler="euler", batch_size=2, instruction=text)
        assert np.array_equal(owner.session(own).edit([frame])[0].image, result.image)


def test_the_size_of_an_image_is_a_condition_of_the_model():
    """Tiles have the size of a tile, whatever the size of the whole image."""
    owner = editor_xl()
    calls = []
    unet_call = owner.pipe.unet.forward

    def spy(*args, **options):
        calls.append(options["added_cond_kwargs"]["time_ids"].tolist())
        return unet_call(*args, **options)

    owner.pipe.unet.forward = spy
    try:
        owner.session(recipe(scheduler="euler")).edit(frames(1, 32, 48))
        assert all(row == [32, 48, 0, 0, 32, 48] for rows in calls for row in rows)
        calls.clear()
        source = frames(1, 96, 128)[0]
        session = owner.session(recipe(scheduler="euler"))
        (refined,) = session.refine([(source, source)], TileOptions(64, 8, 0.5))
        assert all(row == [64, 64, 0, 0, 64, 64] for rows in calls for row in rows) and calls
        assert refined.image.shape == source.image.shape
    finally:
        owner.pipe.unet.forward = unet_call


def test_feature_caching_gives_a_close_result():
    owner, clip = editor_xl(), frames(1)
    plain = owner.session(recipe(scheduler="euler", num_inference_steps=6)).edit(clip)[0].image
    cached = recipe(scheduler="euler", num_inference_steps=6, deepcache_interval=2)
    other = owner.session(cached).edit(clip)[0].image
    assert 0 < np.abs(plain.astype(int) - other).mean() < 12


def test_a_float16_model_keeps_its_vae_in_float32_where_it_says_so():
    owner = Pix2PixEditor(pipeline_xl(), device="cpu", dtype=torch.float16)
    assert owner.pipe.vae.dtype == torch.float32 and owner.pipe.unet.dtype == torch.float16
    fitting = pipeline_xl()
    fitting.vae.register_to_config(force_upcast=False)
    assert Pix2PixEditor(fitting, device="cpu", dtype=torch.float16).pipe.vae.dtype == torch.float16
    bfloat = Pix2PixEditor(pipeline_xl(), device="cpu", dtype=torch.bfloat16)
    assert bfloat.pipe.vae.dtype == torch.bfloat16


def test_a_frame_that_half_precision_spoils_is_edited_again_in_float32():
    owner = Pix2PixEditor(pipeline_xl(), device="cpu", dtype=torch.bfloat16)
    exact = Pix2PixEditor(pipeline_xl().to(torch.bfloat16), device="cpu", dtype=torch.float32)

    def spoil(module, arguments, output):
        return output * float("nan") if output.dtype == torch.bfloat16 else output

    # One of the second text encoder's layers overflows.
    owner.pipe.text_encoder_2.text_projection.register_forward_hook(spoil)
    clip, edit_recipe = frames(1), recipe(scheduler="euler")
    session = owner.session(edit_recipe)
    edited = session.edit(clip)[0].image
    assert session.notes[0].endswith("edited again in float32")
    assert np.array_equal(edited, exact.session(edit_recipe).edit(clip)[0].image)


def test_batches_are_timed_with_all_conditions():
    owner = Pix2PixEditor(pipeline_xl(), device="cpu", dtype=torch.float32)
    edit_recipe = recipe(scheduler="euler", batch_size=2)
    config = owner.autotune(edit_recipe, (32, 32), BatchHistogram(frames={2: 1}, borders={}))
    assert config.batch_size == 2


def test_the_compute_profile_covers_both_text_encoders():
    one = editor_xl().compute_profile.model
    pipe = pipeline_xl()
    with torch.no_grad():
        pipe.text_encoder_2.text_projection.weight[0, 0] += 1
    assert Pix2PixEditor(pipe, device="cpu", dtype=torch.float32).compute_profile.model != one


def test_an_edited_frame_is_the_same_alone_and_in_a_batch():
    owner, clip = editor_xl(cosxl=True), frames(3)
    session = owner.session(recipe(scheduler="dpm++", batch_size=2))
    together = session.edit(clip)
    alone = [session.edit([Frame(f.index, f.pts, f.image)])[0] for f in clip]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(together, alone, strict=True))
