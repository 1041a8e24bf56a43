"""The tile pass draws an edit again at the size of its source."""

from typing import Any

import numpy as np
import pytest
import torch

from ip2p_batch.editing.editor import Overrides
from ip2p_batch.editing.loading import load_editor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.editing.tile_options import MARGIN, TileOptions, starts
from ip2p_batch.editing.tile_refinement import _Strip
from ip2p_batch.editing.tiles import TileGrid, add_tile
from ip2p_batch.errors import EditError, JobCancelled, NotFinite
from ip2p_batch.recipe import SCHEDULERS

from .tiny_pipelines import editor, frames, pipeline, recipe

HALF = torch.bfloat16
TILES = TileOptions(size=64, overlap=16, strength=0.5)
FROM_NOISE = TileOptions(size=64, overlap=16, strength=1.0)


def fresh(dtype=torch.float32):
    """An editor that a test may break."""
    return Pix2PixEditor(pipeline(), device="cpu", dtype=dtype)


def pairs(count=1, height=58, width=118):
    """Sources with sides that are no multiples of 8, and other images as their edits.

    Two rows of three tiles cover them.
    """
    clip = frames(count, height, width, first=40, shift=5)
    return [(frame, frame.with_image(255 - frame.image)) for frame in clip]


def refine(owner, items, options=TILES, overrides=None, **values):
    return owner.session(recipe(**values)).refine(items, options, overrides=overrides)


def same(one, two):
    return all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


# -- equal to an edit of the whole image --------------------------------------------------


def one_tile():
    """An image that fits into one tile with its margin, and that tile as a frame."""
    source = frames(1, 32, 32)[0]
    padding = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    return source, source.with_image(np.pad(source.image, padding, mode="symmetric"))


def cropped(edited):
    inner = slice(MARGIN, MARGIN + 32)
    return [frame.with_image(frame.image[inner, inner]) for frame in edited]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_one_tile_from_noise_equals_an_edit(name, kind):
    source, tile = one_tile()
    values = {"scheduler": name, "seed": 4, "negative_prompt": "blurry", "batch_size": 3}
    expected = cropped(editor(kind).session(recipe(**values)).edit([tile]))
    assert same(refine(editor(kind), [(source, source)], FROM_NOISE, **values), expected)


def test_one_tile_of_the_bundled_model_equals_an_edit():
    owner = load_editor("tiny", device="cpu")
    source, tile = one_tile()
    expected = cropped(owner.session(recipe(model="tiny")).edit([tile]))
    assert same(refine(owner, [(source, source)], FROM_NOISE, model="tiny"), expected)


def test_steps_without_guidance_and_deepcache_leave_one_tile_equal_too():
    source, tile = one_tile()
    values = {"guidance_interval": (0.0, 0.5)}
    expected = cropped(editor().session(recipe(**values)).edit([tile]))
    found = refine(editor(), [(source, source)], FROM_NOISE, **values, deepcache_interval=2)
    assert same(found, expected)


# -- the start ----------------------------------------------------------------------------


def test_a_start_has_influence_unless_the_tile_pass_starts_from_noise():
    ((source, edit),) = pairs()
    assert same(
        refine(editor(), [(source, edit)], FROM_NOISE),
        refine(editor(), [(source, source)], FROM_NOISE),
    )
    differences = []
    for strength in (0.75, 0.25):
        options = TileOptions(64, 16, strength)
        one, two = refine(editor(), [(source, edit), (source, source)], options)
        differences.append(np.abs(one.image.astype(int) - two.image).mean())
    assert 0 < differences[0] < differences[1], "fewer steps keep more of the start"


def test_a_tile_pass_takes_the_noise_that_a_full_run_takes_at_its_steps(monkeypatch):
    """So that more steps change what they add, and not the noise of the others."""
    drawn = []
    plain = torch.randn

    def recording(shape, *rest, generator=None, **options):
        values = plain(shape, *rest, generator=generator, **options)
        drawn.append(values)
        return values

    monkeypatch.setattr(torch, "randn", recording)
    monkeypatch.setattr("diffusers.utils.torch_utils.torch.randn", recording)
    refine(editor(), pairs(), TileOptions(64, 16, 0.5))
    last = drawn[-1]
    refine(editor(), pairs(), FROM_NOISE)
    assert last.shape[-2:] == (45, 75), "one field of the size of the whole image"
    assert torch.equal(drawn[-1], last)


def test_every_option_changes_the_image():
    plain = refine(editor(), pairs(), TILES, negative_prompt="blurry")[0].image
    changes: list[tuple[dict[str, Any], TileOptions]] = [
        ({"instruction": "add a hat"}, TILES),
        ({"negative_prompt": "zebra"}, TILES),
        ({"seed": 1}, TILES),
        ({"scheduler": "ddim"}, TILES),
        ({}, TileOptions(64, 24, 0.5)),
        ({}, TileOptions(128, 16, 0.5)),
        ({}, TileOptions(64, 16, 0.75)),
    ]
    for values, options in changes:
        own = {"negative_prompt": "blurry"} | values
        other = refine(editor(), pairs(), options, **own)[0].image
        assert np.abs(plain.astype(int) - other).max() > 2, (values, options)


# -- independence of frames, one shape ----------------------------------------------------


@pytest.mark.parametrize("size", [1, 4])
def test_a_frame_does_not_depend_on_the_frames_of_its_call(size):
    items = pairs(3)
    whole = refine(editor(), items, batch_size=size)
    assert [(f.index, f.pts) for f in whole] == [(f.index, f.pts) for f, _ in items]
    assert same(whole, [refine(editor(), [item], batch_size=size)[0] for item in items])
    assert same(whole[::-1], refine(editor(), items[::-1], batch_size=size))


def test_frames_may_have_their_own_instruction_negative_prompt_and_seed():
    texts, negatives, seeds = ["add a hat", "make it day"], ["", "red"], [0, 5]
    together = refine(
        editor(), pairs(2), overrides=list(map(Overrides, texts, negatives, seeds)), batch_size=2
    )
    for n, item in enumerate(pairs(2)):
        values = {"instruction": texts[n], "negative_prompt": negatives[n], "seed": seeds[n]}
        assert same([together[n]], refine(editor(), [item], **values, batch_size=2))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (37, 70), (64, 64), (65, 200), (300, 9)])
def test_images_of_any_size_keep_it_and_the_model_gets_one_shape(height, width):
    owner, shapes = fresh(), set()

    def hook(module, arguments):
        shapes.add(tuple(arguments[0].shape))

    for part in (owner.pipe.unet.conv_in, owner.pipe.vae.encoder, owner.pipe.vae.decoder):
        part.register_forward_pre_hook(hook)
    ((source, edit),) = pairs(1, height, width)
    (found,) = refine(owner, [(source, edit)], batch_size=2)
    assert found.image.shape == (height, width, 3)
    assert found.image.dtype == np.uint8 and found.image.flags.c_contiguous
    # Three branches of two tiles; two sources or starts; two latents to decode.
    assert shapes == {(6, 8, 32, 32), (2, 3, 64, 64), (2, 4, 32, 32)}


def test_sources_and_starts_are_left_alone():
    items = pairs()
    before = [image.copy() for image in (items[0][0].image, items[0][1].image)]
    refine(editor(), items)
    assert np.array_equal(before[0], items[0][0].image)
    assert np.array_equal(before[1], items[0][1].image)


def test_strips_give_what_one_sum_of_all_tiles_gives():
    grid = TileGrid(16, starts(50, 16, 10), starts(40, 16, 3))
    rows, columns = map(torch.from_numpy, grid.weights)
    weights = (rows, columns)
    values = torch.rand(len(grid.tiles), 3, 16, 16, generator=torch.Generator().manual_seed(1))
    total = torch.zeros(3, grid.height, grid.width)
    image = np.zeros((17, 6, 3), np.uint8)
    strip = _Strip(grid, weights, image)
    for tile, own in zip(grid.tiles, values, strict=True):
        add_tile(total, own, weights, tile)
        strip.add(tile, own)
    strip.flush(grid.height)
    expected = (total * 255).round().numpy().transpose(1, 2, 0)[MARGIN:33, MARGIN:22]
    assert np.array_equal(image, expected)
    assert strip._total.shape == (3, 16, 40), "a row of tiles, not the image"


# -- half precision -----------------------------------------------------------------------


def decoding(owner, values):
    """Let the VAE return ``values[n]`` everywhere in its n-th decoded tile; its calls."""
    calls = []

    def hook(module, arguments, output):
        value = values.get(len(calls))
        calls.append(output.dtype)
        return output if value is None else torch.full_like(output, value)

    owner.pipe.vae.decoder.register_forward_hook(hook)
    return calls


def test_a_tile_that_decodes_badly_is_decoded_again_in_float32_and_no_other():
    items = pairs()
    expected = refine(fresh(HALF), items)[0].image.astype(int)
    owner = fresh(HALF)
    calls = decoding(owner, {1: float("nan")})
    session = owner.session(recipe())
    found = session.refine(items, TILES)[0].image
    assert calls == [HALF, HALF, torch.float32, HALF, HALF, HALF, HALF]
    difference = np.abs(found - expected)
    assert 0 < difference.max() < 16
    # It begins at pixel 42 of the first row of tiles.
    changed = np.argwhere(difference.any(axis=2))
    assert (changed.min(axis=0) >= (0, 42 - MARGIN)).all()
    assert (changed.max(axis=0) < (64 - MARGIN, 42 + 64 - MARGIN)).all()
    assert session.notes == {
        40: "came out not finite (black) in bfloat16; decoded again in float32"
    }


def test_a_frame_the_unet_overflows_at_is_refined_again_in_float32_alone():
    items = pairs(2)
    expected = refine(fresh(HALF), items)
    owner, calls = fresh(HALF), []
    with torch.inference_mode():
        padded = np.pad(items[1][0].image, ((MARGIN, 0), (MARGIN, 0), (0, 0)), mode="symmetric")
        mark = owner.vae(tiny=False).encode([padded[:64, :64]])[0].float()

    def hook(module, arguments):
        sample = arguments[0]
        # The part of the first tile that no other tile shows.
        alone = (sample[0, 4:].float() - mark)[:, :13, :21]
        if sample.dtype == HALF and alone.abs().max() < 0.05:
            calls.append(1)
            return (torch.full_like(sample, float("nan")),)
        return None

    owner.pipe.unet.conv_in.register_forward_pre_hook(hook)
    session = owner.session(recipe())
    found = session.refine(items, TILES)
    assert calls
    assert same(found[:1], expected[:1])
    assert 0 < np.abs(found[1].image.astype(int) - expected[1].image).mean() < 8
    assert session.notes == {41: "came out not finite (black) in bfloat16; edited again in float32"}


def test_an_image_that_is_black_in_float32_too_is_left_as_it_is():
    owner = fresh(HALF)
    owner.pipe.vae.decoder.register_forward_hook(lambda *call: torch.full_like(call[2], -1.0))
    session = owner.session(recipe())
    assert session.refine(pairs(), TILES)[0].image.max() == 0
    assert session.notes == {40: "came out black in bfloat16 and in float32; left as it is"}


def test_a_frame_that_stays_not_finite_is_named_and_the_others_are_returned():
    owner = fresh()
    decoding(owner, {6: float("nan")})  # the first of six tiles
    with pytest.raises(NotFinite, match=r"frame 41\.") as caught:
        refine(owner, pairs(3))
    assert [f.index for f in caught.value.edited] == [40, 42]


# -- when something goes wrong ------------------------------------------------------------


def test_out_of_memory_halves_the_batch_of_tiles_and_not_that_of_frames():
    owner = fresh()

    def small_memory(module, arguments):
        if arguments[0].shape[0] > 3 * 2:  # three branches of two tiles
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = owner.pipe.unet.register_forward_pre_hook(small_memory)
    session = owner.session(recipe(batch_size=4))
    found = session.refine(pairs(), TILES)
    assert same(found, refine(editor(), pairs(), batch_size=2))
    assert list(session.warnings) == ["Out of memory with 4 tiles at once; continued with 2."]
    handle.remove()
    clip = frames(4)
    edited = owner.session(recipe(batch_size=4)).edit(clip)
    assert same(edited, editor().session(recipe(batch_size=4)).edit(clip))


def test_a_tile_too_large_for_memory_is_an_error():
    owner = fresh()

    def no_memory(module, arguments):
        raise MemoryError

    owner.pipe.unet.register_forward_pre_hook(no_memory)
    with pytest.raises(EditError, match="Out of memory with one tile of 64 pixels"):
        refine(owner, pairs())


def test_the_tile_pass_can_be_cancelled_between_two_calls_of_the_model():
    calls = []

    def checkpoint():
        calls.append(1)
        if len(calls) == 20:
            raise JobCancelled("stop")

    session = editor().session(recipe(), checkpoint=checkpoint)
    with pytest.raises(JobCancelled):
        session.refine(pairs(), TILES)
    assert len(calls) == 20


def test_a_text_that_is_too_long_gives_a_warning():
    session = editor().session(recipe(instruction="make it night and add a moon"))
    session.refine(pairs(), TILES)
    (warning,) = session.warnings
    assert warning.startswith("The instruction is truncated after 14 tokens")
