"""A mask keeps the source's latents in every step, with every scheduler."""

import copy

import numpy as np
import pytest
import torch

from ip2p_batch.editing import carryover, float32_fallback, schedule
from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.mask_blend import KeptSource, MaskBlend, latent_mask
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.editing.tile_options import TileOptions
from ip2p_batch.editing.tile_refinement import TileRefiner
from ip2p_batch.frame import Frame
from ip2p_batch.recipe import SCHEDULERS

from .tiny_pipelines import border_latents, context, editor, frames, pipeline, recipe

_NONE = Overrides()


def masked(frame, mask):
    return Frame(frame.index, frame.pts, frame.image, mask=mask)


def half(height=32, width=32):
    """The right half may change."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    return mask


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_prediction_that_belongs_to_an_x0_gives_that_x0_again(kind):
    x, x0 = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for scale in ((1.0, 14.6), (1.0, 0.03), (0.6, 0.8), (0.07, 0.9975)):
        prediction = schedule.prediction_of(x, x0, scale, kind)
        again = schedule.pred_original_sample(x, prediction, scale, kind)
        assert torch.allclose(again, x0, atol=1e-9)
    with pytest.raises(ValueError, match="unknown prediction type"):
        schedule.prediction_of(x, x0, scale, "flow")


def test_the_latent_mask_grows_by_a_latent_and_is_soft():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 36:] = 255
    row = latent_mask(mask, 8)[0, 4].tolist()
    assert row == [0, 0, 0, 0.5, 1, 1, 1, 1]
    assert (latent_mask(np.full((16, 24), 255, np.uint8), 8) == 1).all()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_step_blends_x0_and_ends_with_the_sources_latents(name, kind):
    owner = editor(kind)
    edit_recipe = recipe(scheduler=name, num_inference_steps=5, seed=3)
    session = owner.session(edit_recipe)
    group = session._group
    frame = masked(frames(1)[0], half())
    with torch.inference_mode():
        sample = group._encoded([session._sample(frame, _NONE)], 1)[0]
        batch = group._batch([sample])
        z = sample.image_latents * group.vae.scaling_factor
        m = latent_mask(frame.mask, group.vae.factor)
        for step in range(5):
            free = copy.copy(batch)
            free._masks = MaskBlend([None])
            scale = schedule.signal_and_noise_scale(batch.scheduler, step)
            expected = m * free.pred_original_sample() + (1 - m) * z
            tolerance = 2e-5 * (1 + scale[1] / scale[0])
            assert torch.allclose(batch.pred_original_sample(), expected, rtol=1e-4, atol=tolerance)
            batch.advance()
    outside = (m == 0).expand_as(batch.x[0])
    assert torch.equal(batch.x[0][outside], z[outside])
    assert not torch.allclose(batch.x[0], z, atol=0.05), "the edit did something"


def test_a_full_mask_and_none_give_the_same_bits():
    clip = frames(2)
    session = editor().session(recipe(batch_size=2))
    plain = session.edit(clip)
    # Next to a frame with a mask, too.
    mixed = session.edit([clip[0], masked(clip[1], half())])
    assert np.array_equal(mixed[0].image, plain[0].image)
    assert not np.array_equal(mixed[1].image, plain[1].image)


def finished_latents(monkeypatch, owner, name):
    """The latents that are decoded from now on, batch by batch."""
    found, decode = [], getattr(owner, name)

    def recorded(*args):
        found.append(next(arg for arg in args if isinstance(arg, torch.Tensor)).clone())
        return decode(*args)

    monkeypatch.setattr(owner, name, recorded)
    return found


def scaled_source(image):
    vae = editor().vae(tiny=False)
    with torch.inference_mode():
        return vae.encode([image]) * vae.scaling_factor


def test_frames_between_borders_keep_what_their_own_mask_protects(monkeypatch):
    clip = frames(9, 64, 64)
    moving = []
    for n, frame in enumerate(clip):
        mask = np.zeros((64, 64), np.uint8)
        mask[16:48, 4 * n : 4 * n + 24] = 255
        moving.append(masked(frame, mask))
    ends = [moving[0], moving[8]]
    edit_recipe = recipe(num_inference_steps=6, carryover=0.7)
    known = border_latents(editor().session(edit_recipe), ends)
    session = editor().session(edit_recipe, context(borders=ends, latents=known))
    found = finished_latents(monkeypatch, float32_fallback, "decode")
    for frame in (moving[0], moving[4], moving[8]):
        session.edit([session.prepare(frame)])
        x, z = found.pop(), scaled_source(frame.image)
        outside = (latent_mask(frame.mask, 2) == 0).expand_as(z)
        assert torch.equal(x[outside], z[outside])
        assert (x - z)[~outside].abs().mean() > 0.1


def test_a_border_without_the_mask_lends_nothing_to_what_a_frame_may_change():
    clip = frames(5, 64, 64, shift=0)
    left, right = masked(clip[0], np.zeros((64, 64), np.uint8)), masked(clip[4], half(64, 64))
    edit_recipe = recipe(num_inference_steps=6, carryover=0.7)
    known = border_latents(editor().session(edit_recipe), [left, right])
    session = editor().session(edit_recipe, context(borders=[left, right], latents=known))
    located = session.prepare(masked(clip[2], half(64, 64)))
    occluded = [motion.occluded for motion in located.blend.motions]
    assert occluded[0][:, 33:].all() and not occluded[1][:, 36:].any()
    assert located.blend.hidden < 0.2, "the right border shows the edit"


def test_a_border_that_is_protected_does_not_reach_the_model():
    clip = frames(2, 64, 64)
    empty = masked(clip[1], np.zeros((64, 64), np.uint8))
    edit_recipe = recipe(num_inference_steps=6, carryover=0.7)
    calls: list[object] = []
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    owner.pipe.unet.register_forward_hook(lambda *call: calls.append(call))
    (alone,) = owner.session(edit_recipe).border_latents([empty])
    assert not calls
    both = owner.session(edit_recipe).border_latents([empty, clip[0]])
    assert both[0] == alone and calls
    border = carryover.from_bytes(empty, edit_recipe.carried_steps(), alone)
    z = scaled_source(empty.image)[0]
    assert torch.allclose(border.latents.pred_original_sample, z, atol=1e-5)


def test_the_tile_pass_keeps_the_source(monkeypatch):
    (frame,) = frames(1, 72, 100)
    start = Frame(0, 0, 255 - frame.image)
    session = editor().session(recipe())
    options = TileOptions(64, 8, 0.6)
    found = finished_latents(monkeypatch, TileRefiner, "_decode")
    for mask in (np.zeros((72, 100), np.uint8), half(72, 100), None):
        session.refine([(masked(frame, mask), start)], options)
    kept, some, free = found
    left, right = slice(0, 28), slice(36, 60)  # of the mask, in latents, with the margin
    assert torch.equal(some[..., left], kept[..., left])
    assert (free - kept)[..., left].abs().mean() > 0.1
    assert (some - kept)[..., right].abs().mean() > 0.1


def test_a_batch_without_masks_is_not_touched():
    prediction = torch.randn(2, 4, 4, 4)
    assert MaskBlend([None, None]).prediction(prediction, prediction, (1, 2), "x") is prediction
    kept = KeptSource(torch.zeros(1, 4, 4), torch.zeros(4, 4, 4))
    both = MaskBlend([None, kept]).prediction(prediction, prediction, (1.0, 2.0), "epsilon")
    assert torch.equal(both[0], prediction[0]) and torch.allclose(both[1], prediction[1] / 2)
