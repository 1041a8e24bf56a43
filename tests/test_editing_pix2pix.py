"""The editor equals the stock pipeline, and a frame's result does not depend on other frames."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image as Pil

from ip2p_batch.editing import schedule
from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.loading import load_editor, load_pipeline
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import EditError, JobCancelled, ModelError, RecipeError
from ip2p_batch.models import catalog
from ip2p_batch.recipe import SCHEDULERS

from .tiny_pipelines import editor, frames, pipeline, recipe

#: diffusers passes tensors to numpy in a deprecated way; our code suppresses that warning.
reference = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def stock(pipe, edit_recipe, clip):
    """What ``StableDiffusionInstructPix2PixPipeline`` gives, floats from 0 to 255."""
    pipe.scheduler = schedule.make(edit_recipe.scheduler, pipe.scheduler.config, 1, "cpu")
    return (
        255
        * pipe(
            [edit_recipe.instruction] * len(clip),
            image=[Pil.fromarray(f.image) for f in clip],
            negative_prompt=[edit_recipe.negative_prompt] * len(clip),
            num_inference_steps=edit_recipe.num_inference_steps,
            guidance_scale=edit_recipe.guidance_scale,
            image_guidance_scale=edit_recipe.image_guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(edit_recipe.seed) for _ in clip],
            output_type="np",
            # The pipeline passes 0 to TCD; its scheduler's own default, and ours, is 0.3.
            eta=0.3 if edit_recipe.scheduler == "tcd" else 0.0,
        ).images
    )


def fresh(**options):
    """An editor that a test may break."""
    return Pix2PixEditor(pipeline(**options), device="cpu", dtype=torch.float32)


def same(one, two):
    return all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


# -- equal to the reference ---------------------------------------------------------------


@reference
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    ("s_t", "s_i", "negative"),
    [
        (3.0, 1.5, ""),
        (3.0, 1.5, "blurry"),
        (3.0, 1.0, "blurry"),  # the unconditional branch weighs nothing and is not run
        (2.0, 2.0, ""),  # nor here the image branch
        (1.0, 1.5, ""),  # guidance is off
    ],
)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_frames_equal_the_stock_pipelines(name, s_t, s_i, negative, kind):
    edit_recipe = recipe(
        scheduler=name,
        guidance_scale=s_t,
        image_guidance_scale=s_i,
        negative_prompt=negative,
        seed=11,
    )
    clip = frames(2)
    ours = editor(kind).session(edit_recipe).edit(clip)
    theirs = stock(editor(kind).pipe, edit_recipe, clip)
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a.image - b).max() < 0.52  # ours are rounded to whole levels


@reference
def test_the_bundled_model_equals_the_stock_pipeline():
    owner = load_editor("tiny", device="cpu", dtype="float32")
    edit_recipe = recipe(model="tiny", guidance_scale=1.5, image_guidance_scale=1.2, seed=5)
    clip = frames(2, 64, 96)
    theirs = stock(owner.pipe, edit_recipe, clip)
    for a, b in zip(owner.session(edit_recipe).edit(clip), theirs, strict=True):
        assert np.abs(a.image - b).max() < 0.55


def test_every_option_changes_the_image():
    """Else the comparisons above would prove little."""
    clip = frames(1)
    base = {"negative_prompt": "blurry", "image_guidance_scale": 1.5}
    plain = editor().session(recipe(**base)).edit(clip)[0].image
    for change in (
        {"instruction": "add a hat"},
        {"negative_prompt": "zebra"},
        {"seed": 1},
        {"guidance_scale": 5.0},
        {"image_guidance_scale": 2.5},
        {"num_inference_steps": 5},
        {"scheduler": "ddim"},
    ):
        other = editor().session(recipe(**base | change)).edit(clip)[0].image
        assert np.abs(plain.astype(int) - other).max() > 2, change


# -- independence of frames --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_a_frame_does_not_depend_on_its_slot_its_neighbours_or_the_grouping(size):
    edit_recipe = recipe(batch_size=size)
    clip = frames(7)
    whole = editor().session(edit_recipe).edit(clip)
    assert same(whole, [editor().session(edit_recipe).edit([f])[0] for f in clip])
    assert same(whole[::-1], editor().session(edit_recipe).edit(clip[::-1]))


def test_frames_may_have_their_own_instruction_negative_prompt_and_seed():
    clip = frames(3)
    texts, negatives, seeds = ["add a hat", "make it day", "fog"], ["", "red", ""], [0, 5, 9]
    together = (
        editor()
        .session(recipe(batch_size=2))
        .edit(clip, overrides=list(map(Overrides, texts, negatives, seeds)))
    )
    for i, frame in enumerate(clip):
        edit_recipe = recipe(
            batch_size=2, instruction=texts[i], negative_prompt=negatives[i], seed=seeds[i]
        )
        assert same([together[i]], editor().session(edit_recipe).edit([frame]))


def test_a_list_of_overrides_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        editor().session(recipe()).edit(frames(2), overrides=[Overrides()])


@pytest.mark.parametrize(("height", "width"), [(8, 40), (24, 56), (64, 8)])
def test_sides_need_only_be_multiples_of_eight(height, width):
    clip = frames(1, height, width)
    assert editor().session(recipe()).edit(clip)[0].image.shape == (height, width, 3)


def test_bfloat16_weights_stay_near_float32():
    half = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.bfloat16)
    clip = frames(1)
    low = half.session(recipe()).edit(clip)[0].image.astype(int)
    full = editor().session(recipe()).edit(clip)[0].image
    assert np.abs(low - full).mean() < 8


# -- when something goes wrong ------------------------------------------------------------


def test_out_of_memory_halves_the_batch_of_this_and_later_sessions():
    owner = fresh()

    def small_memory(module, arguments):
        if arguments[0].shape[0] > 2 * 2:  # two branches of two frames
            raise torch.OutOfMemoryError("CUDA out of memory.")

    owner.pipe.unet.register_forward_pre_hook(small_memory)
    edit_recipe = recipe(batch_size=8, image_guidance_scale=1.0)
    clip = frames(5)
    session = owner.session(edit_recipe)
    edited = session.edit(clip)
    expected = editor().session(recipe(batch_size=2, image_guidance_scale=1.0)).edit(clip)
    assert same(edited, expected)
    assert [w.split(";")[0] for w in session.warnings] == [
        "Out of memory with 8 frames at once",
        "Out of memory with 4 frames at once",
    ]
    later = owner.session(edit_recipe)
    later.edit(clip)
    assert list(later.warnings) == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        MemoryError(),
    ],
)
def test_a_frame_too_large_for_memory_is_an_error_that_names_the_remedy(error):
    owner = fresh()

    def no_memory(module, arguments):
        raise error

    owner.pipe.unet.register_forward_pre_hook(no_memory)
    frame = frames(1)[0]
    side = max(frame.image.shape)
    with pytest.raises(EditError, match=f"Out of memory with one frame of {side} pixels") as caught:
        owner.session(recipe()).edit([frame])
    assert f"--size below {side}" in caught.value.hint
    with pytest.raises(EditError, match="Out of memory"):
        owner.session(recipe()).border_latents(frames(1))


def test_another_error_of_torch_is_not_taken_for_memory():
    owner = fresh()
    owner.pipe.unet.conv_in.weight = torch.nn.Parameter(torch.zeros(1, 2, 3, 3))
    with pytest.raises(RuntimeError, match="channels"):
        owner.session(recipe()).edit(frames(1))


def test_a_job_can_be_cancelled_between_two_steps():
    calls = []

    def checkpoint():
        calls.append(1)
        if len(calls) == 3:
            raise JobCancelled("stop")

    session = editor().session(recipe(num_inference_steps=50), checkpoint=checkpoint)
    with pytest.raises(JobCancelled):
        session.edit(frames(1))
    assert len(calls) == 3


def test_a_text_that_is_too_long_is_truncated_with_one_warning():
    long = "make it night and add a moon"  # letters are tokens here: 14 of them fit
    session = editor().session(recipe(instruction=long))
    session.edit(frames(2))
    session.edit(frames(1))
    (warning,) = session.warnings
    assert warning.startswith("The instruction is truncated after 14 tokens")
    assert "moon" in warning
    negative = editor().session(recipe(negative_prompt=long))
    negative.edit(frames(1))
    assert negative.warnings[0].startswith("The negative prompt is truncated")


def test_a_text_that_just_fits_is_not_warned_about():
    session = editor().session(recipe(instruction="abcdefghijklmn"))
    session.edit(frames(1))
    assert list(session.warnings) == []


# -- loading ------------------------------------------------------------------------------

LOAD = """
import sys
from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import Ip2pError
try:
    print(load_editor(sys.argv[1], device="cpu").device)
except Ip2pError as error:
    print(type(error).__name__, error.message, "|", error.hint)
"""


def load_elsewhere(model, **environment):
    """Load in a process of its own, as a worker does, where any warning is an error."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::UserWarning",
            "-W",
            "error::FutureWarning",
            "-c",
            LOAD,
            str(model),
        ],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return done.stdout.strip(), done.stderr


def test_the_bundled_model_loads_in_silence_and_without_a_network(tmp_path):
    out, err = load_elsewhere("tiny", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0")
    assert (out, err) == ("cpu, 1 thread", "")


def test_an_unreachable_hub_is_one_line_that_names_the_bundled_model(tmp_path):
    # Port 9 of this machine: refused at once, and nothing leaves it.
    out, err = load_elsewhere(
        "timbrooks/instruct-pix2pix",
        HF_HOME=str(tmp_path),
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert out.startswith("ModelError The model timbrooks/instruct-pix2pix is not on this machine")
    assert "--model tiny" in out
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["no such name", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_an_error(name):
    with pytest.raises(ModelError, match="There is no model") as caught:
        load_editor(name, device="cpu")
    assert "--model tiny" in caught.value.hint


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="model_index") as caught:
        load_editor(str(tmp_path), device="cpu")
    assert str(tmp_path) in caught.value.message


@pytest.fixture
def saved(tmp_path):
    def save(**options):
        pipeline(**{k: v for k, v in options.items() if k == "unet_channels"}).save_pretrained(
            tmp_path / "model", safe_serialization=options.get("safe", True)
        )
        return str(tmp_path / "model")

    return save


@reference
def test_any_diffusers_folder_of_such_a_pipeline_loads(saved):
    owner = load_editor(saved(), device="cpu", dtype="float32")
    assert same(owner.session(recipe()).edit(frames(1)), editor().session(recipe()).edit(frames(1)))


@reference
def test_a_model_of_another_kind_is_refused(saved):
    with pytest.raises(ModelError, match="is a text-to-image model; only InstructPix2Pix"):
        load_editor(saved(unet_channels=4), device="cpu")


@reference
def test_pickled_weights_are_not_loaded(saved):
    with pytest.raises(ModelError, match="safetensors"):
        load_editor(saved(safe=False), device="cpu")


def test_truncated_weights_are_named_and_not_loaded(tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(catalog.locate("tiny"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_editor(str(folder), device="cpu")


def test_float16_on_the_cpu_is_refused_with_the_remedy():
    with pytest.raises(RecipeError, match="float16") as caught:
        load_editor("tiny", device="cpu", dtype="float16")
    assert "bfloat16" in caught.value.hint


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99"])
def test_a_missing_device_is_named(device):
    with pytest.raises(ModelError, match=device):
        load_editor("tiny", device=device)


def test_a_folder_with_weights_in_half_precision_only_loads(tmp_path):
    folder = shutil.copytree(catalog.BUNDLED["tiny"], tmp_path / "model")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    half, whole = (load_pipeline(m, dtype=torch.float32).unet for m in (str(folder), "tiny"))
    assert all(
        torch.equal(a, b) for a, b in zip(half.parameters(), whole.parameters(), strict=True)
    )
