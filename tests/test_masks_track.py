"""A drawn mask follows the motion of its shot."""

import numpy as np

from ip2p_batch.masks.track import LEAST_SEEN, follow, small

from .tiny_pipelines import frames


def moving(count=12, shift=2):
    return [frame.image for frame in frames(count, 128, 160, shift=shift)]


def drawn(left=30):
    mask = np.zeros((128, 160), np.uint8)
    mask[40:90, left : left + 50] = 255
    return mask


def overlap(one, two):
    return ((one > 127) & (two > 127)).sum() / ((one > 127) | (two > 127)).sum()


def test_the_mask_moves_with_the_picture_forwards_and_backwards():
    clip = moving()
    for key, rest in ((clip[0], clip[1:]), (clip[-1], clip[-2::-1])):
        step = 2 if key is clip[0] else -2
        for n, one in enumerate(follow(drawn(50), small(key), map(small, rest)), 1):
            assert overlap(one.mask, drawn(50 + step * n)) > 0.93
            assert one.seen > 0.8


def test_the_mask_does_not_depend_on_frames_that_come_later():
    clip = [small(image) for image in moving(6)]
    whole = [one.mask for one in follow(drawn(), clip[0], clip[1:])]
    part = [one.mask for one in follow(drawn(), clip[0], clip[1:3])]
    assert all(np.array_equal(a, b) for a, b in zip(part, whole, strict=False))


def test_a_mask_whose_object_disappears_is_lost():
    clip = moving(3, shift=0)
    gone = clip[0].copy()
    gone[30:100, 20:90] = np.random.default_rng(1).integers(0, 256, (70, 70, 3))
    seen = [one.seen for one in follow(drawn(), small(clip[0]), [small(clip[1]), small(gone)])]
    assert seen[0] > 0.9 and seen[1] < LEAST_SEEN


def test_small_frames_are_used_as_they_are():
    image = moving(1)[0]
    assert small(image) is image
    assert small(np.zeros((500, 1000, 3), np.uint8)).shape == (128, 256, 3)
