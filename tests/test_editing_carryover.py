"""Matched-state carryover: its file, its blend, and that a border goes on along its own way."""

import os
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ip2p_batch.editing.carryover import (
    Border,
    Handover,
    between,
    blended_noise,
    load,
    matched,
    save,
)
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import EditError
from ip2p_batch.frame import Frame
from ip2p_batch.recipe import SCHEDULERS
from tests.tiny_pipelines import editor, frames, recipe

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
    clean, noise = latents(seed)
    handed = Handover(scale[0] * clean + scale[1] * noise, clean)
    return Border(frame.index, frame.image, handed)


def blend(frame, left, right, scale, **more):
    return matched(between(frame, left, right), left.latents, right.latents, scale, **more)


# -- the file -----------------------------------------------------------------------------


def test_latents_come_back_bit_for_bit(tmp_path):
    frame, (state, clean) = frames(1, first=17)[0], latents(0)
    save(tmp_path / "17.part", frame, 6, Handover(state, clean))
    back = load(frame, tmp_path / "17.part", 6)
    assert torch.equal(back.latents.state, state)
    assert torch.equal(back.latents.clean, clean)
    assert back.index == 17


@pytest.mark.parametrize("what", ["frame", "step", "size"])
def test_latents_of_another_frame_step_or_size_are_refused(tmp_path, what):
    frame, path = frames(1, first=17)[0], tmp_path / "17.safetensors"
    save(path, frame, 6, Handover(*latents(0)))
    other = {
        "frame": (Frame(18, 0, frame.image), 6),
        "step": (frame, 5),
        "size": (frame.with_image(np.zeros((16, 16, 3), np.uint8)), 6),
    }[what]
    with pytest.raises(EditError, match="not of"):
        load(other[0], path, other[1])


@pytest.mark.parametrize("content", [None, b"", b"no latents", "cut", "no clean", "bit"])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    frame, path = frames(1, first=17)[0], tmp_path / "17.safetensors"
    save(path, frame, 6, Handover(*latents(0)))
    if content is None:
        path.unlink()
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "bit":
        data = bytearray(path.read_bytes())
        data[-7] ^= 1
        path.write_bytes(data)
    elif content == "no clean":
        save_file({"state": load_file(path)["state"]}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(EditError, match=r"frame 17 .*17\.safetensors") as caught:
        load(frame, path, 6)
    assert caught.value.retryable


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_oserror_with_its_reason(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        save(Path("/dev/full"), frames(1)[0], 6, Handover(*latents(0)))


# -- the blend ----------------------------------------------------------------------------


def test_at_a_border_the_state_is_the_borders_own():
    clip = frames(9)
    left, right = border(clip[0], 1), border(clip[8], 2)
    assert blend(clip[0], left, right, SCALE) is left.latents.state
    assert blend(clip[8], left, right, SCALE) is right.latents.state


def test_a_frame_of_a_still_scene_is_a_blend_by_distance():
    picture = frames(1, 64, 64)[0].image
    left, middle, right = (Frame(i, 0, picture) for i in (0, 2, 8))
    ends = border(left, 1), border(right, 2)
    state = blend(middle, *ends, SCALE)
    noise = blended_noise(ends[0].latents.noise(SCALE), ends[1].latents.noise(SCALE), 0.25)
    clean = 0.75 * ends[0].latents.clean + 0.25 * ends[1].latents.clean
    torch.testing.assert_close(state, clean + SCALE[1] * noise, rtol=0, atol=0.05)


def test_hidden_from_one_border_a_frame_takes_from_the_other():
    ground, thing = frames(1, 128, 128, shift=0)[0].image, frames(2, 48, 48)[1].image[::-1, ::-1]
    covered = ground // 2
    ground = ground // 2
    covered[40:88, 40:88] = thing // 2 + 127
    # The right border shows the thing in front; the frame, like the left border, does not.
    scale = (1.0, 1e-3)
    ends = border(Frame(0, 0, ground), 1, scale), border(Frame(8, 0, covered), 2, scale)
    state = blend(Frame(4, 0, ground), *ends, scale)
    area = np.s_[:, 6:10, 6:10]  # inner part of what was covered, in latents of 1/8
    off_left = (state[area] - ends[0].latents.clean[area]).abs().mean()
    off_right = (state[area] - ends[1].latents.clean[area]).abs().mean()
    assert off_left < 0.6 * off_right


def test_what_neither_border_shows_is_the_frames_own_guess():
    ground, thing = (
        frames(1, 128, 128, shift=0)[0].image // 2,
        frames(2, 48, 48)[1].image[::-1, ::-1],
    )
    covered = ground.copy()
    covered[40:88, 40:88] = thing // 2 + 127
    scale = (1.0, 1e-3)
    ends = border(Frame(0, 0, ground), 1, scale), border(Frame(8, 0, ground), 2, scale)
    guess = latents(3)[0]
    assert 0.05 < between(Frame(4, 0, covered), *ends).hidden < 0.3
    state = blend(Frame(4, 0, covered), *ends, scale, guess=guess)
    without = blend(Frame(4, 0, covered), *ends, scale)
    thing_at, far = np.s_[:, 6:10, 6:10], np.s_[:, 13:]
    assert (state - guess)[thing_at].abs().mean() < 0.2 * (without - guess)[thing_at].abs().mean()
    assert torch.equal(state[far], without[far])


@given(st.floats(0, 1), st.integers(0, 1000))
def test_blended_noise_keeps_its_strength(at, seed):
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


def tied(owner, look, clip, tmp_path, numbers):
    """A session tied to two borders, whose latents are made first."""
    session = owner.session(look)
    for n in numbers:
        session.save_borders([(clip[n], tmp_path / str(n))])
    session = owner.session(look)
    session.tie([(clip[n], tmp_path / str(n)) for n in numbers])
    return session


@pytest.fixture(scope="module")
def tiny():
    return load_editor("tiny", device="cpu", dtype="float32")


def decibels(one, two):
    """Peak signal-to-noise ratio of two pictures."""
    gap = np.square(one.image.astype(float) - two.image).mean()
    return 10 * np.log10(255**2 / max(gap, 1e-9))


@pytest.mark.parametrize("name", ["euler-ancestral", "euler", "ddim"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_border_goes_on_along_its_own_way(name, kind, tmp_path):
    look = recipe(scheduler=name, num_inference_steps=6, carryover=0.5)
    clip = frames(5)
    whole = editor(kind).session(look).edit([clip[0], clip[4]])
    again = tied(editor(kind), look, clip, tmp_path, (0, 4)).edit([clip[0], clip[4]])
    for a, b in zip(whole, again, strict=True):
        assert np.array_equal(a.image, b.image)


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
def test_a_border_comes_close_to_its_own_way_where_the_solver_has_a_history(name, tiny, tmp_path):
    look = recipe(**TINY, scheduler=name)
    clip = frames(5, 64, 64)
    whole = tiny.session(look).edit([clip[0], clip[4]])
    again = tied(tiny, look, clip, tmp_path, (0, 4)).edit([clip[0], clip[4]])
    for a, b in zip(whole, again, strict=True):
        assert decibels(a, b) > 30


@pytest.mark.parametrize("name", SCHEDULERS)
def test_frames_between_borders_are_near_their_full_edit(name, tiny, tmp_path):
    look = recipe(**TINY, scheduler=name)
    clip = frames(5, 64, 64)
    whole = tiny.session(look).edit(clip)
    between = tied(tiny, look, clip, tmp_path, (0, 4)).edit(clip)
    for source, a, b in zip(clip, whole, between, strict=True):
        assert decibels(a, b) > 25
        assert decibels(a, b) > decibels(source, b) + 6


def test_both_chunks_at_a_border_give_that_frame_the_same_pixels(tmp_path):
    look = recipe(carryover=0.5)
    clip = frames(9)
    first = tied(editor(), look, clip, tmp_path, (0, 4)).edit([clip[4]])
    second = tied(editor(), look, clip, tmp_path, (4, 8)).edit([clip[4]])
    assert np.array_equal(first[0].image, second[0].image)


def test_with_no_step_to_skip_a_tie_changes_nothing(tmp_path):
    look = recipe(carryover=0.1)
    assert look.carried_steps() == 0
    clip = frames(3)
    free = editor().session(look).edit(clip)
    bound = tied(editor(), look, clip, tmp_path, (0, 2)).edit(clip)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(free, bound, strict=True))


def test_a_thing_that_passes_between_two_borders_leaves_no_ghost_and_gets_its_own_edit(
    tiny, tmp_path
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
    look = recipe(**{**TINY, "num_inference_steps": 10, "carryover": 0.7})
    look = msgspec.structs.replace(look, instruction="make it night")
    whole = tiny.session(look).edit(clip)
    carried = tied(tiny, look, clip, tmp_path, (0, 8)).edit(clip)
    for n in range(1, 8):
        a, b = (images[n].image.astype(int) for images in (whole, carried))
        for left in places:  # where it is, and where it was or will be
            part = np.s_[52:76, left + 4 : left + 28]
            assert np.abs(a[part] - b[part]).mean() < 12, (n, left)


def test_a_frame_hidden_from_both_borders_is_edited_from_the_beginning(tmp_path):
    look = recipe(carryover=0.5, batch_size=2)
    clip = frames(9)
    # Halfway something else fills the picture, as when a car drives by.
    clip[4] = clip[4].with_image(255 - clip[4].image)
    session = tied(editor(), look, clip, tmp_path, (0, 8))
    together = session.edit(clip)
    assert [f.index for f in together] == list(range(9))
    free = editor().session(look).edit(clip)
    assert np.array_equal(together[4].image, free[4].image)
    assert not np.array_equal(together[5].image, free[5].image)
    for frame, expected in zip(clip, together, strict=True):
        assert np.array_equal(session.edit([frame])[0].image, expected.image)
