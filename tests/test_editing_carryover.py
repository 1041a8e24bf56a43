"""Matched-state carryover: serialized latents, the blend, and edits between borders."""

import cv2
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as tensors_to_bytes

from ip2p_batch.editing.carryover import (
    Border,
    BorderLatents,
    blended_noise,
    from_bytes,
    locate,
    matched_state,
    to_bytes,
)
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import EditError
from ip2p_batch.frame import Frame
from ip2p_batch.recipe import SCHEDULERS

from .tiny_pipelines import border_latents, context, editor, frames, recipe

SHAPE = (4, 16, 16)
SCALE = (1.0, 2.5)
TINY = {
    "model": "tiny",
    "num_inference_steps": 6,
    "guidance_scale": 1.5,
    "image_guidance_scale": 1.2,
    "carryover": 0.5,
}


def latents(seed):
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed)).unbind()


def border(frame, seed, scale=SCALE):
    x0, noise = latents(seed)
    own = BorderLatents(scale[0] * x0 + scale[1] * noise, x0)
    return Border(frame.index, frame.image, own)


def blend(frame, left, right, scale, **more):
    return matched_state(locate(frame, left, right), left.latents, right.latents, scale, **more)


# -- serialized latents ---------------------------------------------------------------------


def test_latents_come_back_bit_identical():
    frame, (x, x0) = frames(1, first=17)[0], latents(0)
    back = from_bytes(frame, 6, to_bytes(frame, 6, BorderLatents(x, x0)))
    assert torch.equal(back.latents.x, x)
    assert torch.equal(back.latents.pred_original_sample, x0)
    assert back.index == 17


@pytest.mark.parametrize("what", ["frame", "step", "size"])
def test_latents_of_another_frame_step_or_size_are_refused(what):
    frame = frames(1, first=17)[0]
    data = to_bytes(frame, 6, BorderLatents(*latents(0)))
    other = {
        "frame": (Frame(18, 0, frame.image), 6),
        "step": (frame, 5),
        "size": (frame.with_image(np.zeros((16, 16, 3), np.uint8)), 6),
    }[what]
    with pytest.raises(EditError, match="not of"):
        from_bytes(*other, data)


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "no x0", "bit"])
def test_damaged_latents_are_an_error_that_names_the_frame(damage):
    frame = frames(1, first=17)[0]
    data = bytearray(to_bytes(frame, 6, BorderLatents(*latents(0))))
    if damage == "empty":
        data = b""
    elif damage == "text":
        data = b"no latents"
    elif damage == "truncated":
        data = data[:-100]
    elif damage == "bit":
        data[-7] ^= 1
    elif damage == "no x0":
        data = tensors_to_bytes({"x": latents(0)[0].contiguous()})
    with pytest.raises(EditError, match=r"border frame 17 ") as caught:
        from_bytes(frame, 6, bytes(data))
    assert caught.value.retryable
    assert "resume" in caught.value.hint


# -- the blend ----------------------------------------------------------------------------


def test_at_a_border_the_state_is_the_borders_own():
    clip = frames(9)
    left, right = border(clip[0], 1), border(clip[8], 2)
    assert blend(clip[0], left, right, SCALE) is left.latents.x
    assert blend(clip[8], left, right, SCALE) is right.latents.x


def test_a_frame_of_a_still_scene_is_a_blend_by_distance():
    picture = frames(1, 64, 64)[0].image
    left, middle, right = (Frame(i, 0, picture) for i in (0, 2, 8))
    ends = border(left, 1), border(right, 2)
    state = blend(middle, *ends, SCALE)
    noise = blended_noise(ends[0].latents.noise(SCALE), ends[1].latents.noise(SCALE), 0.25)
    x0 = 0.75 * ends[0].latents.pred_original_sample + 0.25 * ends[1].latents.pred_original_sample
    torch.testing.assert_close(state, x0 + SCALE[1] * noise, rtol=0, atol=0.05)


def test_parts_hidden_from_one_border_come_from_the_other():
    ground, thing = frames(1, 128, 128, shift=0)[0].image, frames(2, 48, 48)[1].image[::-1, ::-1]
    covered = ground // 2
    ground = ground // 2
    covered[40:88, 40:88] = thing // 2 + 127
    # The right border shows the thing in front; the frame, like the left border, does not.
    scale = (1.0, 1e-3)
    ends = border(Frame(0, 0, ground), 1, scale), border(Frame(8, 0, covered), 2, scale)
    state = blend(Frame(4, 0, ground), *ends, scale)
    area = np.s_[:, 6:10, 6:10]  # inner part of what was covered, in latents of 1/8
    off_left = (state[area] - ends[0].latents.pred_original_sample[area]).abs().mean()
    off_right = (state[area] - ends[1].latents.pred_original_sample[area]).abs().mean()
    assert off_left < 0.6 * off_right


def test_parts_that_neither_border_shows_come_from_the_x0_estimate():
    ground, thing = (
        frames(1, 128, 128, shift=0)[0].image // 2,
        frames(2, 48, 48)[1].image[::-1, ::-1],
    )
    covered = ground.copy()
    covered[40:88, 40:88] = thing // 2 + 127
    scale = (1.0, 1e-3)
    ends = border(Frame(0, 0, ground), 1, scale), border(Frame(8, 0, ground), 2, scale)
    estimate = latents(3)[0]
    assert 0.05 < locate(Frame(4, 0, covered), *ends).hidden < 0.3
    state = blend(Frame(4, 0, covered), *ends, scale, x0_estimate=estimate)
    without = blend(Frame(4, 0, covered), *ends, scale)
    thing_at, far = np.s_[:, 6:10, 6:10], np.s_[:, 13:]
    assert (state - estimate)[thing_at].abs().mean() < 0.2 * (without - estimate)[
        thing_at
    ].abs().mean()
    assert torch.equal(state[far], without[far])


@given(st.floats(0, 1), st.integers(0, 1000))
def test_blended_noise_keeps_its_standard_deviation(at, seed):
    left, right = latents(seed)
    assert blended_noise(left, right, at).std().item() == pytest.approx(
        ((1 - at) * left.std() + at * right.std()).item(), rel=1e-4
    )


@pytest.mark.parametrize("index", [3, 9])
def test_a_frame_outside_its_borders_is_refused(index):
    clip = frames(12)
    with pytest.raises(EditError, match=f"Frame {index} "):
        blend(clip[index], border(clip[4], 1), border(clip[8], 2), SCALE)


# -- through the model --------------------------------------------------------------------


def carried(owner, edit_recipe, clip, numbers):
    """A session with borders, whose latents are computed first."""
    ends = [clip[n] for n in numbers]
    latents = {}
    for end in ends:
        latents |= border_latents(owner.session(edit_recipe), [end])
    return owner.session(edit_recipe, context(borders=ends, latents=latents))


@pytest.fixture(scope="module")
def tiny():
    return load_editor("tiny", device="cpu", dtype="float32")


def decibels(one, two):
    """Peak signal-to-noise ratio of two images."""
    gap = np.square(one.image.astype(float) - two.image).mean()
    return 10 * np.log10(255**2 / max(gap, 1e-9))


@pytest.mark.parametrize("name", ["euler-ancestral", "euler", "ddim", "lcm", "tcd"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_border_equals_its_full_edit(name, kind):
    edit_recipe = recipe(scheduler=name, num_inference_steps=6, carryover=0.5)
    clip = frames(5)
    whole = editor(kind).session(edit_recipe).edit([clip[0], clip[4]])
    again = carried(editor(kind), edit_recipe, clip, (0, 4)).edit([clip[0], clip[4]])
    for a, b in zip(whole, again, strict=True):
        assert np.array_equal(a.image, b.image)


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
def test_a_border_is_close_to_its_full_edit_if_the_solver_has_a_history(name, tiny):
    edit_recipe = recipe(**TINY, scheduler=name)
    clip = frames(5, 64, 64)
    whole = tiny.session(edit_recipe).edit([clip[0], clip[4]])
    again = carried(tiny, edit_recipe, clip, (0, 4)).edit([clip[0], clip[4]])
    for a, b in zip(whole, again, strict=True):
        assert decibels(a, b) > 30


@pytest.mark.parametrize("name", SCHEDULERS)
def test_frames_between_borders_are_near_their_full_edit(name, tiny):
    edit_recipe = recipe(**TINY, scheduler=name)
    clip = frames(5, 64, 64)
    whole = tiny.session(edit_recipe).edit(clip)
    between = carried(tiny, edit_recipe, clip, (0, 4)).edit(clip)
    for source, a, b in zip(clip, whole, between, strict=True):
        assert decibels(a, b) > 25
        assert decibels(a, b) > decibels(source, b) + 6


def test_both_chunks_at_a_border_give_that_frame_the_same_pixels():
    edit_recipe = recipe(carryover=0.5)
    clip = frames(9)
    first = carried(editor(), edit_recipe, clip, (0, 4)).edit([clip[4]])
    second = carried(editor(), edit_recipe, clip, (4, 8)).edit([clip[4]])
    assert np.array_equal(first[0].image, second[0].image)


def test_without_steps_to_skip_borders_change_nothing():
    edit_recipe = recipe(carryover=0.1)
    assert edit_recipe.carried_steps() == 0
    clip = frames(3)
    free = editor().session(edit_recipe).edit(clip)
    bound = carried(editor(), edit_recipe, clip, (0, 2)).edit(clip)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(free, bound, strict=True))


def test_a_thing_that_passes_between_borders_leaves_no_ghost_and_is_edited(
    tiny,
):
    """A square that jumps 16 pixels a frame: its true motion is known, and no flow finds it."""
    ground = cv2.resize(frames(1, 64, 96, shift=0)[0].image // 2 + 60, (192, 128))
    clip, places = [], []
    for n in range(9):
        image = ground.copy()
        left = 8 + 16 * n
        image[48:80, left : left + 32] = (220, 40, 40)
        clip.append(Frame(n, n, image))
        places.append(left)
    edit_recipe = recipe(**{**TINY, "num_inference_steps": 10, "carryover": 0.7})
    edit_recipe = msgspec.structs.replace(edit_recipe, instruction="make it night")
    whole = tiny.session(edit_recipe).edit(clip)
    between = carried(tiny, edit_recipe, clip, (0, 8)).edit(clip)
    for n in range(1, 8):
        a, b = (images[n].image.astype(int) for images in (whole, between))
        for left in places:  # where it is, and where it was or will be
            part = np.s_[52:76, left + 4 : left + 28]
            assert np.abs(a[part] - b[part]).mean() < 12, (n, left)


def test_a_frame_hidden_from_both_borders_is_edited_from_noise():
    edit_recipe = recipe(carryover=0.5, batch_size=2)
    clip = frames(9)
    # Halfway something else fills the image, as when a car drives by.
    clip[4] = clip[4].with_image(255 - clip[4].image)
    session = carried(editor(), edit_recipe, clip, (0, 8))
    together = session.edit(clip)
    assert [f.index for f in together] == list(range(9))
    free = editor().session(edit_recipe).edit(clip)
    assert np.array_equal(together[4].image, free[4].image)
    assert not np.array_equal(together[5].image, free[5].image)
    for frame, expected in zip(clip, together, strict=True):
        assert np.array_equal(session.edit([frame])[0].image, expected.image)
