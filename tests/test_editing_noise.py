"""Noise: one generator per frame, so that a frame's draws know nothing of its neighbours."""

import torch
from diffusers.utils.torch_utils import randn_tensor

from ip2p_batch.editing import noise

SHAPE = (4, 6, 5)


def test_frames_of_one_seed_share_their_starting_noise():
    drawn = noise.start([noise.generator(3) for _ in range(3)], SHAPE)
    assert drawn.shape == (3, *SHAPE)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_a_frames_noise_does_not_depend_on_its_slot():
    mixed = noise.start([noise.generator(s) for s in (1, 2, 3)], SHAPE)
    alone = noise.start([noise.generator(2)], SHAPE)
    assert torch.equal(mixed[1], alone[0])


def test_the_start_is_what_diffusers_draws_for_a_list_of_generators():
    theirs = randn_tensor((2, *SHAPE), generator=[torch.Generator().manual_seed(s) for s in (5, 6)])
    ours = noise.start([noise.generator(5), noise.generator(6)], SHAPE)
    assert torch.equal(ours, theirs)


def test_after_skipping_a_frame_draws_what_it_would_have_drawn_there():
    whole, late = [noise.generator(9)], [noise.generator(9)]
    noise.start(whole, SHAPE)
    steps = [randn_tensor((1, *SHAPE), generator=whole) for _ in range(5)]
    noise.skip(late, SHAPE, 3)
    assert torch.equal(randn_tensor((1, *SHAPE), generator=late), steps[3])
