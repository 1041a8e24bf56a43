"""Frames that half precision spoils are repeated alone in float32, with a note."""

import numpy as np
import pytest
import torch

from ip2p_batch.editing import float32_fallback
from ip2p_batch.editing.carryover import BorderLatents, from_bytes, to_bytes
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import EditError, JobCancelled, NotFinite

from .tiny_pipelines import border_latents, context, frames, pipeline, recipe
from .tiny_pipelines import editor as shared_editor

HALF = torch.bfloat16
NAN = float("nan")
BLACK = -1.0  # as the autoencoder has it
LOOK = {"batch_size": 3}


def half():
    """An editor in bfloat16, to be broken."""
    return Pix2PixEditor(pipeline(), device="cpu", dtype=HALF)


def float32_editor():
    """An editor in float32 with exactly those weights."""
    pipe = pipeline().to(HALF)
    return Pix2PixEditor(pipe, device="cpu", dtype=torch.float32)


def same(one, two):
    return all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


def spoil_decoding(owner, value, slot=1, precisions=(HALF,)):
    """Let the autoencoder give ``value`` everywhere in one slot of a batch; its calls."""
    calls = []

    def hook(module, arguments, output):
        calls.append((output.dtype, len(output)))
        if output.dtype in precisions:
            output = output.clone()
            output[min(slot, len(output) - 1)] = value
        return output

    owner.pipe.vae.decoder.register_forward_hook(hook)
    return calls


def spoil_steps(owner, frame, precisions=(HALF,)):
    """Let the UNet overflow at one frame, which it knows by its source; dtypes it did so in."""
    calls = []
    with torch.inference_mode():
        mark = owner.vae(tiny=False).encode([frame.image])[0].float()

    def hook(module, arguments):
        sample = arguments[0]
        if sample.dtype not in precisions:
            return None
        near = (sample[:, 4:].float() - mark).abs().flatten(1).amax(1) < 0.05
        if not near.any():
            return None
        calls.append(sample.dtype)
        return (torch.where(near[:, None, None, None], NAN, sample),)

    owner.pipe.unet.conv_in.register_forward_pre_hook(hook)
    return calls


def weights(owner):
    parts = (owner.pipe.unet, owner.pipe.vae, owner.pipe.text_encoder)
    return [t.clone() for part in parts for t in part.state_dict().values()]


# -- decoding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"), [(NAN, "came out not finite (black)"), (BLACK, "came out black")]
)
def test_a_frame_that_decodes_badly_is_decoded_again_in_float32_and_no_other(value, words):
    owner, clip = half(), frames(3, first=40)
    expected = half().session(recipe(**LOOK)).edit(clip)
    calls = spoil_decoding(owner, value)
    session = owner.session(recipe(**LOOK))
    edited = session.edit(clip)
    assert calls == [(HALF, 3), (torch.float32, 1)]
    assert same(edited[::2], expected[::2])
    # bfloat16 has 8 bits: what float32 decodes is near, not the same.
    assert 0 < np.abs(edited[1].image.astype(int) - expected[1].image).mean() < 4
    assert session.notes == {41: f"{words} in bfloat16; decoded again in float32"}
    assert list(session.warnings) == []


def test_a_flat_image_of_a_flat_source_is_no_defect():
    owner = half()
    calls = spoil_decoding(owner, BLACK, slot=0)
    clip = [f.with_image(np.full_like(f.image, 90)) for f in frames(1)]
    session = owner.session(recipe())
    assert session.edit(clip)[0].image.max() == 0
    assert calls == [(HALF, 1)] and session.notes == {}


def test_an_image_that_is_black_in_float32_too_is_the_models_own_and_left():
    owner, clip = half(), frames(3)
    calls = spoil_decoding(owner, BLACK, precisions=(HALF, torch.float32))
    expected = half().session(recipe(**LOOK)).edit(clip)
    session = owner.session(recipe(**LOOK))
    edited = session.edit(clip)
    assert edited[1].image.max() == 0
    assert same(edited[::2], expected[::2])
    assert calls == [(HALF, 3), (torch.float32, 1), (torch.float32, 1)]
    assert session.notes == {1: "came out black in bfloat16 and in float32; left as it is"}


def test_with_weights_in_float32_nothing_is_tried_twice():
    owner, clip = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32), frames(3)
    calls = spoil_decoding(owner, 0.2, precisions=(torch.float32,))
    session = owner.session(recipe(**LOOK))
    assert session.edit(clip)[1].image.std() == 0
    assert calls == [(torch.float32, 3)]
    assert session.notes == {1: "came out in one colour in float32; left as it is"}


# -- editing --------------------------------------------------------------------------------


def test_a_frame_the_model_overflows_at_is_edited_again_in_float32_alone():
    owner, clip = half(), frames(4, first=40, shift=5)
    expected = half().session(recipe(**LOOK)).edit(clip)
    before = weights(owner)
    calls = spoil_steps(owner, clip[2])
    session = owner.session(recipe(**LOOK))
    edited = session.edit(clip)
    assert set(calls) == {HALF}
    assert same([edited[n] for n in (0, 1, 3)], [expected[n] for n in (0, 1, 3)])
    assert same([edited[2]], float32_editor().session(recipe(batch_size=1)).edit([clip[2]]))
    assert session.notes == {42: "came out not finite (black) in bfloat16; edited again in float32"}
    assert all(torch.equal(a, b) for a, b in zip(before, weights(owner), strict=True))
    assert not any(p.is_inference() for p in owner.pipe.unet.parameters())
    # The same with any other frames, and later frames are not affected.
    assert same([edited[2]], owner.session(recipe(**LOOK)).edit([clip[2]]))
    assert same([edited[3]], session.edit([clip[3]]))


def test_frames_between_borders_with_anchors_are_recovered_too():
    edit_recipe = recipe(**LOOK, anchors=2, carryover=0.5)
    clip = frames(5, shift=5)

    ends = [clip[0], clip[4]]

    def carried(owner):
        session = owner.session(edit_recipe, context(anchors=ends))
        latents = border_latents(session, ends)
        return owner.session(edit_recipe, context(borders=ends, anchors=ends, latents=latents))

    expected = carried(half()).edit(clip)
    owner = half()
    spoil_steps(owner, clip[2])
    session = carried(owner)
    edited = session.edit(clip)
    assert list(session.notes) == [2]
    assert same([edited[n] for n in (0, 1, 3, 4)], [expected[n] for n in (0, 1, 3, 4)])
    assert 0 < np.abs(edited[2].image.astype(int) - expected[2].image).mean() < 8


def test_a_frame_that_stays_not_finite_is_named_and_the_others_are_returned():
    owner, clip = half(), frames(4, first=40, shift=5)
    expected = half().session(recipe(**LOOK)).edit(clip)
    spoil_steps(owner, clip[2], precisions=(HALF, torch.float32))
    with pytest.raises(NotFinite, match="frame 42, not even in float32") as caught:
        owner.session(recipe(**LOOK)).edit(clip)
    assert not caught.value.retryable
    assert [f.index for f in caught.value.edited] == [40, 41, 43]
    assert same(caught.value.edited, [expected[n] for n in (0, 1, 3)])


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_broken_weights_are_an_error_that_names_the_frame(part):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    broken = {"unet": owner.pipe.unet.conv_out, "vae": owner.pipe.vae.decoder.conv_out}[part]
    with torch.no_grad():
        broken.bias.fill_(NAN)
    with pytest.raises(EditError, match=r"frame 40\."):
        owner.session(recipe()).edit(frames(1, first=40))


def test_if_float32_does_not_fit_the_frame_is_lost_and_the_batch_size_stays():
    owner, clip = half(), frames(3, shift=5)
    spoil_steps(owner, clip[1])

    def full(module, arguments):
        if arguments[0].dtype == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    owner.pipe.unet.register_forward_pre_hook(full)
    limit, before = owner.batch_limits.copy(), weights(owner)
    with pytest.raises(NotFinite, match="frame 1"):
        owner.session(recipe(**LOOK)).edit(clip)
    assert owner.batch_limits == limit
    assert all(torch.equal(a, b) for a, b in zip(before, weights(owner), strict=True))


def test_a_job_can_be_cancelled_while_a_frame_is_repeated():
    owner, clip = half(), frames(1)
    spoil_steps(owner, clip[0])

    def checkpoint():
        if owner.pipe.unet.dtype == torch.float32:
            raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        owner.session(recipe(), checkpoint=checkpoint).edit(clip)
    assert owner.pipe.unet.dtype == owner.pipe.vae.dtype == HALF


def test_float16_that_really_overflows_gives_the_images_of_float32():
    """The known fault of some autoencoders: beyond 65504 inside, ordinary values at the end."""
    pipe = pipeline().to(torch.float16)
    with torch.no_grad():
        pipe.vae.decoder.conv_in.weight *= 1e5
    owner = Pix2PixEditor(pipe, device="cpu", dtype=torch.float16)
    session = owner.session(recipe(**LOOK))
    edited = session.edit(frames(3))
    assert {note.partition(";")[0] for note in session.notes.values()} == {
        "came out not finite (black) in float16"
    }
    assert sorted(session.notes) == [0, 1, 2]
    assert min(f.image.std() for f in edited) > 4


# -- borders --------------------------------------------------------------------------------


def test_latents_of_a_border_come_from_float32_if_they_overflow():
    owner, clip = half(), frames(3, first=40, shift=5)
    edit_recipe = recipe(**LOOK, carryover=0.5)
    in_half = half().session(edit_recipe).border_latents(clip)
    (in_full,) = (
        float32_editor().session(recipe(batch_size=1, carryover=0.5)).border_latents([clip[1]])
    )
    spoil_steps(owner, clip[1])
    session = owner.session(edit_recipe)
    assert session.border_latents(clip) == [in_half[0], in_full, in_half[2]]
    assert session.notes == {41: "came out not finite (black) in bfloat16; edited again in float32"}


def test_a_border_that_stays_not_finite_is_an_error():
    owner, clip = half(), frames(1, first=40)
    spoil_steps(owner, clip[0], precisions=(HALF, torch.float32))
    with pytest.raises(NotFinite, match="frame 40"):
        owner.session(recipe(carryover=0.5)).border_latents(clip)


@pytest.mark.parametrize("part", [0, 1])
def test_latents_that_are_not_finite_are_refused(part):
    parts = [torch.zeros(4, 16, 16) for _ in range(2)]
    parts[part][0, 3, 3] = NAN
    (frame,) = frames(1, first=17)
    with pytest.raises(EditError, match=r"frame 17 .*not finite"):
        from_bytes(frame, 6, to_bytes(frame, 6, BorderLatents(*parts)))


# -- weights in float32 ----------------------------------------------------------------------


def test_weights_are_upcast_in_place_and_restored_after_an_error():
    unet = shared_editor().pipe.unet
    module = torch.nn.ModuleList([torch.nn.Linear(3, 3).to(HALF), torch.nn.Linear(3, 3)])
    before = [p.detach().clone() for p in module.parameters()]
    with (
        pytest.raises(KeyError),
        torch.inference_mode(),
        float32_fallback.upcast([module, unet, unet]),
    ):
        assert {p.dtype for p in module.parameters()} == {torch.float32}
        raise KeyError
    after = list(module.parameters())
    assert [p.dtype for p in after] == [HALF, HALF, torch.float32, torch.float32]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(p.is_inference() for p in after)


def test_an_error_that_is_not_about_memory_is_not_swallowed():
    def wrong():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        float32_fallback.unless_out_of_memory(wrong)
